"""The writers and the count of full copies: what they tell is what has happened."""

from __future__ import annotations

import json
import threading
from typing import cast

import pytest
import redis

from consul_redis_agent.decide.facts import Address
from tests.fleet import RedisNode

from .copies import Copies
from .writers import POOL, Writer, resolving


@pytest.mark.parametrize(("name", "threads"), [("kept", 1), ("pool", POOL)])
def test_a_writer_tells_each_write_once_and_counts_what_failed(name: str, threads: int) -> None:
    """Every fifth write fails. Each thread has numbers of its own, told apart by their remainder."""
    over, tried = threading.Event(), list[int]()

    def write(number: int) -> None:
        tried.append(number)
        if len(tried) >= 10 * threads and len({number % threads for number in tried}) == threads:
            over.set()
        if number % 5 == 0:
            raise redis.ConnectionError

    writer = Writer(name, write, every=0.0)
    running = writer.threads(over)
    assert len(running) == threads
    for thread in running:
        thread.start()
    assert over.wait(10)
    first = writer.report()
    for thread in running:
        thread.join()
    lines = [json.loads(line) for line in (first + writer.report()).splitlines()]
    assert {line[0] for line in lines} == {name}
    assert lines[-1][1] == sum(number % 5 == 0 for number in tried)
    told = [number for line in lines for number, _ in line[2:]]
    assert sorted(told) == sorted(number for number in tried if number % 5)
    assert len(set(tried)) == len(tried)
    assert writer.report() == ""


def test_a_name_is_resolved_whenever_the_client_connects() -> None:
    """Not once for all: that is what lets an application follow."""
    answers = iter([Address("127.0.0.1", 1), Address("127.0.0.1", 2)])
    connection = resolving(lambda: next(answers))()
    for port in (1, 2):
        with pytest.raises(redis.ConnectionError):
            connection.connect()  # type: ignore[no-untyped-call]
        assert connection.port == port


def test_full_copies_are_counted_over_all_nodes_since_the_beginning() -> None:
    """A process that was started again counts from 0, and one that is down not at all."""
    says: dict[str, dict[str, str] | None] = {"a": {"run_id": "1", "sync_full": "4"}, "b": None}

    class Node:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, *command: str) -> dict[str, str]:
            if (info := says[self.name]) is None:
                raise redis.ConnectionError
            return info

    copies = Copies([cast("RedisNode", Node(name)) for name in says])
    assert copies.made() == 0
    says |= {"a": {"run_id": "1", "sync_full": "5"}, "b": {"run_id": "2", "sync_full": "2"}}
    assert copies.made() == 3
    says["a"] = {"run_id": "3", "sync_full": "0"}
    assert copies.made() == 2
