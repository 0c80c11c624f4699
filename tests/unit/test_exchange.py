"""When the store is given an exchange, and what becomes of those that fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from autocron.clock import SystemClock
from autocron.model import Claim, Settings, Succeeded, Transition
from autocron.node.exchange import WORTHWHILE, Exchanger
from autocron.store.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autocron.node.access import StoreAccess
    from autocron.node.configuration import Configuration


class Hand:
    """Stands for the store's thread: what is handed over is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[Any], Any], Callable[[Any], None], Callable[[], None]]] = []

    def submit(self, work: Callable[[Any], Any], done: Callable[[Any], None], failed: Callable[[], None]) -> None:
        self.waiting.append((work, done, failed))

    def works(self) -> None:
        pass

    def next(self, *, fails: bool = False) -> tuple[list[str], dict[str, int]]:
        """Do the oldest exchange; give the jobs that it was to store, and what it was to claim."""
        asked: list[tuple[list[str], dict[str, int]]] = []

        def exchange(transitions: Sequence[Transition], wanted: dict[str, int], *_: Any) -> Exchange:
            asked.append(([one.uuid for one in transitions], wanted))
            return Exchange([], [])

        work, done, failed = self.waiting.pop(0)
        result = work(SimpleNamespace(exchange=exchange))
        failed() if fails else done(result)
        return asked[0]


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def exchanger(hand: Hand) -> Exchanger:
    config = cast("Configuration", SimpleNamespace(settings=Settings()))
    return Exchanger(cast("StoreAccess", hand), config, SystemClock(), lambda *_: None, lambda *_: None)


def end(exchanger: Exchanger, *uuids: str) -> list[str]:
    for uuid in uuids:
        exchanger.settle(Claim(uuid, 1, "app.work", "[]", 1.0), Succeeded("null"), 2.0, 3.0)
    return [*uuids]


def many(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(WORTHWHILE)]


def test_a_few_ends_wait_for_the_exchange_that_is_under_way(exchanger: Exchanger, hand: Hand) -> None:
    end(exchanger, "a")
    exchanger.exchange({})
    end(exchanger, "b")
    assert not exchanger.may_claim("")
    exchanger.exchange({})
    assert len(hand.waiting) == 1
    hand.next()
    exchanger.exchange({})
    assert hand.next() == (["b"], {})


def test_many_are_handed_over_before_it_is_done_but_only_once(exchanger: Exchanger, hand: Hand) -> None:
    first, second, third = (many(name) for name in "abc")
    for uuids in (first, second, third):
        end(exchanger, *uuids)
        wanted = {"": 5} if exchanger.may_claim("") else {}
        exchanger.exchange(wanted)
    assert exchanger.wanted("") == 5
    assert exchanger.uuids() == {*first, *second, *third}
    assert [hand.next(), hand.next()] == [(first, {"": 5}), (second, {})]
    assert not hand.waiting
    exchanger.exchange({})
    assert hand.next() == (third, {})
    assert exchanger.idle


def test_what_failed_is_stored_first(exchanger: Exchanger, hand: Hand) -> None:
    first, second = end(exchanger, *many("a")), many("b")
    exchanger.exchange({})
    end(exchanger, *second)
    exchanger.exchange({})
    end(exchanger, "c")
    hand.next(fails=True)
    assert exchanger.in_doubt
    hand.next()
    exchanger.exchange({})
    assert hand.next() == ([*first, "c"], {})
