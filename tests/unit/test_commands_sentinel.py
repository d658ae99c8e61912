"""`check` on the Sentinels: what their words mean together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consul_redis_agent.commands.check_sentinel import RIGHTS, _one, _together, sentinel_findings
from consul_redis_agent.commands.screen import Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import load
from consul_redis_agent.decide.facts import Address, Sentinel

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
AT = [Address(f"10.0.1.{number}", 26379) for number in range(3)]


def sentinel(
    number: int, master: Address | None = A, *, epoch: int = 1, error: str = "", tilt: bool = False
) -> Sentinel:
    peers = {f"s{n}": AT[n] for n in range(3) if n != number}
    return Sentinel(0, f"s{number}", AT[number], error=error, tilt=tilt, master=master, epoch=epoch, peers=peers)


def survey(*sentinels: Sentinel) -> Survey:
    return Survey("mymaster", sentinels, {AT[0]: {"shop": (A, "x"), "blog": (B, "y")}})


@pytest.mark.parametrize(
    ("mode", "listened", "level", "said"),
    [
        ("off", True, Level.OK, 'not asked: sentinel.mode is "off"'),
        ("auto", True, Level.WARN, "the first node that claims to be master stays"),
        ("required", True, Level.FAIL, "nothing is published"),
        ("auto", False, Level.FAIL, "the Redis node on which they are heard is not reached"),
    ],
)
async def test_no_sentinel_is_judged_by_the_mode(mode: str, listened: bool, level: Level, said: str) -> None:
    """Off: well. Auto: worth a look. Required, or nobody to hear them from: wrong."""
    config = load(None, {}, {"sentinel.mode": mode})
    (finding,) = await sentinel_findings(config, Survey(), listened=listened)
    assert finding.level is level
    assert said in finding.what


@pytest.mark.parametrize(
    ("seen", "level", "what", "mend"),
    [
        (sentinel(0), Level.OK, "names 10.0.0.1:6379 at epoch 1, knows 2 others", ""),
        (sentinel(0, tilt=True), Level.WARN, "reached, but in TILT: it has no vote", "its clock jumped"),
        (sentinel(0, B, epoch=0), Level.WARN, "names 10.0.0.2:6379 at epoch 0, knows 2 others: the others are ahead", ""),
        (
            sentinel(0, B, epoch=9),
            Level.WARN,
            "names 10.0.0.2:6379 at epoch 9, knows 2 others: ahead of the others, which have not followed",
            "wait until its failover is over",
        ),
        (
            replace(sentinel(0), down=True),
            Level.FAIL,
            "names 10.0.0.1:6379 at epoch 1, knows 2 others, and holds it for down",
            "if that node answers: can this Sentinel reach it and log in",
        ),
        (
            sentinel(0, None, error="does not monitor 'mymaster' (ERR No such master with that name)"),
            Level.FAIL,
            "reached, but does not monitor 'mymaster'; it knows blog, shop",
            "set redis.master_name to the right one",
        ),
        (
            sentinel(0, None, error="WRONGPASS invalid username-password pair or user is disabled."),
            Level.FAIL,
            "it refuses the login of 'app': wrong password, or no such user",
            "correct sentinel.username and sentinel.password_file",
        ),
    ],
)  # fmt: skip
def test_each_sentinel_has_its_line(seen: Sentinel, level: Level, what: str, mend: str) -> None:
    """Well, in TILT, behind the others, ahead of them, without the master name, or not letting the agent in."""
    found = survey(seen, sentinel(1), sentinel(2))
    if "WRONGPASS" in seen.error:
        found = Survey("mymaster", found.sentinels)
    finding = _one(seen, found, "app")
    assert (finding.level, finding.what) == (level, what)
    assert mend in finding.mend


def test_a_missing_right_names_the_line_that_gives_it() -> None:
    """The ACL line can be pasted."""
    finding = _one(sentinel(0), survey(sentinel(0)), "app", RIGHTS[0], RIGHTS[-1])
    assert finding.level is Level.FAIL
    assert finding.mend == "redis-cli -p 26379 ACL SETUSER app '+sentinel|ckquorum' +psubscribe '&*'"


def test_together_they_need_a_majority_of_all_that_are_known() -> None:
    """Agreement, disagreement, too few, and a quorum that a failover would not reach."""
    quorum = "OK 3 usable Sentinels. Quorum and failover authorization can be reached"
    well = [str(f) for f in _together(survey(*map(sentinel, range(3))), [quorum])]
    assert well == [
        "ok   sentinels: 3 of 3 have a vote, 2 are needed; they name 10.0.0.1:6379 as 'mymaster' at epoch 1",
        "ok   sentinels: quorum: 3 usable Sentinels. Quorum and failover authorization can be reached",
    ]
    few = [str(f) for f in _together(survey(sentinel(0), sentinel(1, tilt=True), sentinel(2, error="x")), [])]
    assert few == [
        "FAIL sentinels: 1 of 3 have a vote, 2 are needed: nothing new can be published; mend the Sentinels above"
    ]
    split = survey(sentinel(0, A, epoch=1), sentinel(1, error="x"), sentinel(2, B, epoch=2))
    assert "no majority names one master: 10.0.0.1:6379 (epoch 1), 10.0.0.2:6379 (epoch 2)" in str(
        next(iter(_together(split, [])))
    )
    ahead = survey(sentinel(0, A, epoch=1), sentinel(1, A, epoch=1), sentinel(2, B, epoch=999_999))
    assert str(next(iter(_together(ahead, [])))) == well[0]
    lost = list(_together(survey(*map(sentinel, range(3))), [quorum, "NOQUORUM 1 usable Sentinels."]))
    assert [str(f) for f in lost if f.level is Level.FAIL] == [
        (
            "FAIL sentinels: a failover would not be authorised: NOQUORUM 1 usable Sentinels.; "
            "bring the missing Sentinels back, or lower the quorum"
        )
    ]


async def test_a_sentinel_of_another_group_is_wrong_and_not_counted() -> None:
    """It is named with where to take it out; the Sentinels that only it knows go with it."""
    config = load(None, {}, {"sentinel.hosts": ["10.0.9.0:26379"]})
    others = [Address("10.0.9.0", 26379), Address("10.0.9.1", 26379)]
    foreign = tuple(Sentinel(0, str(at), at, master=B, epoch=9, run_ids={B: "x"}) for at in others)
    down = tuple(sentinel(n, None, error="nothing listens there") for n in range(3))
    found = Survey("mymaster", down, others=foreign)
    lines = [str(f) for f in await sentinel_findings(config, found, listened=True)]
    assert [line for line in lines if "10.0.9." in line] == [
        (
            "FAIL sentinel 10.0.9.0:26379: watches other nodes under the name 'mymaster', and is not counted; "
            "take it out of sentinel.hosts"
        )
    ]
    assert any("0 of 3 have a vote" in line for line in lines)
