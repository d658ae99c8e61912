"""Whether an answer of DNS is the one true master: held against Sentinel and against the node itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from consul_redis_agent.commands.lookup import Answer
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.decide.facts import Address, Node, Role
from consul_redis_agent.decide.identity import is_loopback, only_here

Looks = Mapping[Address, "Node | str"]
"""What each node that DNS names says of itself, or why it said nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """``true``: DNS names the one true master and nothing else. ``sentence`` says so, or what is wrong."""

    true: bool
    sentence: str
    warning: str = ""
    """What stands in the way of some applications all the same."""


def judge(answers: Sequence[Answer], looks: Looks, survey: Survey, mode: str, consul_address: str = "") -> Judgement:
    """Judge all answers to one question. ``mode`` is ``sentinel.mode`` of the configuration.

    ``consul_address`` is where other hosts know the own Consul agent, "" where that is not known: if it is a loopback one,
    there are no others.
    """
    judgement = _judge(answers, looks, survey, mode)
    if not judgement.true:
        return judgement
    (answer, *_) = answers
    host = answer.target if answer.elsewhere else answer.host
    why, alone = only_here(host), not consul_address or is_loopback(consul_address)
    if why and not (alone and is_loopback(host)):
        return Judgement(False, f"{judgement.sentence}, but applications are told {host}, {why}")
    if answer.elsewhere:
        what = f"Consul's DNS has no address for the target {answer.target}"
        return replace(judgement, warning=f"{what}; who asks nobody else does not find the master")
    return judgement


def _judge(answers: Sequence[Answer], looks: Looks, survey: Survey, mode: str) -> Judgement:
    addresses = list(dict.fromkeys(answer.address for answer in answers))
    if not addresses:
        named = f", though Sentinel names {survey.master}" if survey.master else ""
        return Judgement(False, f"no master: DNS names nobody{named}")
    if len(addresses) > 1:
        each = ", ".join(f"{address} ({describe(looks[address])})" for address in addresses)
        return Judgement(False, f"{len(addresses)} masters: {each}; only one can be true")
    (address,) = addresses
    node = looks[address]
    if wrong := _not_a_master(node):
        named = f"; Sentinel names {survey.master}" if survey.master and survey.master != address else ""
        return Judgement(False, f"{address} {wrong}{named}")
    run_id = node.run_id if isinstance(node, Node) else ""
    if survey.names(address, run_id):
        return Judgement(True, f"{address} is the one true master")
    if survey.master:
        return Judgement(False, f"{address} says master, but Sentinel names {survey.master}")
    if survey.sentinels:
        counted = f"no majority of the {survey.known} Sentinels names one node ({survey.need} are needed)"
        return Judgement(False, f"{address} says master, but {counted}")
    if mode == "required":
        return Judgement(False, f"{address} says master, but no Sentinel was found to confirm it")
    why = "Sentinel is off" if mode == "off" else "no Sentinel watches it"
    return Judgement(True, f"{address} is the one master; its own word counts, since {why}")


def describe(node: Node | str) -> str:
    """What a node says of itself, in a few words."""
    return _not_a_master(node) or "says master"


def _not_a_master(node: Node | str) -> str:
    if isinstance(node, str):
        return f"cannot be asked: {node}"
    if node.role is Role.REPLICA:
        return f"is a replica of {node.follows}" if node.follows else "is a replica"
    return "is still loading its data" if node.loading else ""
