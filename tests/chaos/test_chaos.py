"""Every fault, done to real servers on hosts of their own, and judged over everything that DNS said meanwhile."""

from __future__ import annotations

import pytest

from .arenas import Arenas
from .episode import run
from .figures import Figures
from .mix import mix, plan
from .options import Case, Kind, Options

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

OPTIONS = Options.read()


if OPTIONS.faults:

    @pytest.mark.parametrize("case", OPTIONS.cases(), ids=str)
    def test_fault(case: Case, arenas: Arenas[Kind], figures: Figures) -> None:
        """Never two names, never one without authority, the right one once all is well, and nothing that should not be."""
        arena = arenas.take(case.kind, f"{OPTIONS.seed + case.number} {case.fault.name}")
        verdict, story = run(arena, case.fault)
        figures.note(case.fault.name, str(case.kind), verdict, story)
        assert not verdict.problems, story


if OPTIONS.mixes:

    @pytest.mark.parametrize("seed", OPTIONS.seeds())
    def test_mix(seed: int, arenas: Arenas[Kind], figures: Figures) -> None:
        """Whatever comes together: never two names, never an older one again, and the right one once all is well."""
        kind = OPTIONS.kind(seed)
        arena = arenas.take(kind, seed)
        verdict, story = run(arena, mix(seed))
        story = "\n".join([*map(str, plan(seed)), story])
        figures.note("random mix", str(kind), verdict, story, seed)
        assert not verdict.problems, story


def test_a_mix_can_be_replayed() -> None:
    """The same seed gives the same plan, and every harm in it is ended."""
    for seed in range(50):
        steps = plan(seed)
        assert [*map(str, steps)] == [*map(str, plan(seed))]
        assert len([s for s in steps if s.ends]) == len([s for s in steps if s.harm.end and not s.ends])
