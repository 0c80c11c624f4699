"""The ends of jobs that a worker has not sent: what the node reads, and what it has seen already."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from autocron import wire
from autocron.model import Succeeded
from autocron.node.process import WorkerProcess
from autocron.outbox import Outbox, create
from autocron.worker.ends import Ends

if TYPE_CHECKING:
    from collections.abc import Iterator


def ended(number: int, result: str = "null") -> wire.Ended:
    return wire.Ended(f"job-{number}", 1, Succeeded(result), 1.0, 2.0, 1.0)


@pytest.fixture
def sides() -> Iterator[SimpleNamespace]:
    """Give the two sides: the ends of a worker, and the process as a node knows it, without the process."""
    with ExitStack() as stack:
        descriptor = create()
        theirs, ours = (stack.enter_context(closing(Outbox(descriptor))) for _ in range(2))
        os.close(descriptor)
        sockets = wire.channel_pair()
        to_node = stack.enter_context(closing(wire.Channel(sockets[0], wire.ToWorker)))
        node = WorkerProcess.__new__(WorkerProcess)
        node._outbox, node._ends_seen = ours, 0
        node.channel = stack.enter_context(closing(wire.Channel(sockets[1], wire.SentByWorker)))
        yield SimpleNamespace(worker=Ends(to_node, theirs), node=node)


def test_the_last_of_several_brings_all(sides: SimpleNamespace) -> None:
    for number in range(3):
        sides.worker.send(ended(number), 0.0, more_follow=number < 2)
    assert sides.node.receive() == [ended(0), ended(1), ended(2)]
    assert sides.node.look_into_outbox() == []


def test_one_alone_is_sent_at_once(sides: SimpleNamespace) -> None:
    sides.worker.send(ended(0), 0.0, more_follow=False)
    assert sides.node.channel.receive(socket.MSG_DONTWAIT) == ended(0)


def test_what_was_read_before_it_was_sent_does_not_come_twice(sides: SimpleNamespace) -> None:
    sides.worker.send(ended(0), 0.0, more_follow=True)
    assert sides.node.receive() == []
    assert sides.node.look_into_outbox() == [ended(0)]
    assert sides.node.look_into_outbox() == []
    sides.worker.send(ended(1), 0.0, more_follow=True)
    assert sides.node.look_into_outbox() == [ended(1)]
    sides.worker.send(ended(2), 0.0, more_follow=False)
    assert sides.node.receive() == [ended(2)]
    sides.worker.send(ended(3), 0.0, more_follow=True)
    assert sides.node.look_into_outbox() == [ended(3)]


def test_what_was_sent_comes_before_what_is_in_the_outbox(sides: SimpleNamespace) -> None:
    for number in range(2):
        sides.worker.send(ended(number), 0.0, more_follow=number < 1)
    sides.worker.send(ended(2), 0.0, more_follow=True)
    assert sides.node.look_into_outbox() == []
    assert sides.node.receive() == [ended(0), ended(1)]
    assert sides.node.look_into_outbox() == [ended(2)]


def test_a_millisecond_is_long_enough(sides: SimpleNamespace) -> None:
    sides.worker.send(ended(0), 10.0, more_follow=True)
    sides.worker.send(ended(1), 10.002, more_follow=True)
    assert sides.node.receive() == [ended(0), ended(1)]


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_large_results_do_not_fit(sides: SimpleNamespace, size: int) -> None:
    sent = [ended(number, "x" * size) for number in range(12)]
    got: list[wire.Ended] = []
    for one in sent:
        sides.worker.send(one, 0.0, more_follow=True)
        got += sides.node.receive()
    sides.worker.flush()
    assert got + sides.node.receive() == sent


def test_something_else_in_the_outbox_is_an_error(sides: SimpleNamespace) -> None:
    sides.node._outbox.add(b"\xc1")
    with pytest.raises(wire.WireError, match="not an end"):
        sides.node.look_into_outbox()
