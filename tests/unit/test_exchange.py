"""When the store is given an exchange, and what becomes of those that fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from autocron.clock import SystemClock
from autocron.model import Claim, News, Settings, Succeeded, Transition
from autocron.node.exchange import WORTH_AHEAD, WORTH_BESIDE, Exchanger
from autocron.store.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autocron.node.access import StoreAccess
    from autocron.node.configuration import Configuration


class Hand:
    """Stands for a way to the store: what is handed over is done when the test says so."""

    def __init__(self) -> None:
        self.not_before = 0.0
        self.waiting: list[tuple[Callable[[Any], Any], Callable[[Any], None], Callable[[], None]]] = []

    def submit(self, work: Callable[[Any], Any], done: Callable[[Any], None], failed: Callable[[], None]) -> None:
        self.waiting.append((work, done, failed))

    def works(self) -> None:
        pass

    def next(
        self, *, fails: bool = False, due: dict[str, float] | None = None, refused: Sequence[str] = ()
    ) -> tuple[list[str], dict[str, int]]:
        """Do the oldest exchange; give the jobs that it was to store, and what it was to claim.

        Args:
            fails: it is not known whether it was stored.
            due: when there is something to be claimed.
            refused: what changed nothing.
        """
        asked: list[tuple[list[str], dict[str, int]]] = []

        def exchange(transitions: Sequence[Transition], wanted: dict[str, int], *_: Any) -> Exchange:
            asked.append(([one.uuid for one in transitions], wanted))
            return Exchange([*refused], [], due or {})

        work, done, failed = self.waiting.pop(0)
        result = work(SimpleNamespace(exchange=exchange))
        failed() if fails else done(result)
        return asked[0]


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def config() -> SimpleNamespace:
    return SimpleNamespace(settings=Settings(), has_limits=False)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def exchanger(hand: Hand, config: SimpleNamespace, logged: list[str]) -> Exchanger:
    def log(_level: int, text: str) -> None:
        logged.append(text)

    return Exchanger(cast("StoreAccess", hand), cast("Configuration", config), SystemClock(), log, lambda *_: None)


@pytest.fixture
def other_hand(exchanger: Exchanger) -> Hand:
    """Stand for the way beside."""
    other = Hand()
    exchanger.work_beside(cast("StoreAccess", other))
    return other


def end(exchanger: Exchanger, *uuids: str) -> list[str]:
    for uuid in uuids:
        exchanger.settle(Claim(uuid, 1, "app.work", "[]", 1.0), Succeeded("null"), 2.0, 3.0)
    return [*uuids]


def many(name: str, count: int = WORTH_AHEAD) -> list[str]:
    return [f"{name}-{number}" for number in range(count)]


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


def test_many_ends_are_stored_beside_a_claim(exchanger: Exchanger, hand: Hand, other_hand: Hand) -> None:
    exchanger.exchange({"": 5})
    few = end(exchanger, *many("a", WORTH_BESIDE - 1))
    exchanger.exchange({})
    assert not other_hand.waiting
    last = end(exchanger, "last")
    assert not exchanger.may_claim("")
    exchanger.exchange({})
    more = end(exchanger, *many("b", WORTH_BESIDE))
    exchanger.exchange({})
    assert len(other_hand.waiting) == 1
    assert hand.next() == ([], {"": 5})
    exchanger.exchange({"": 7})
    assert hand.next() == ([], {"": 7})
    assert other_hand.next() == ([*few, *last], {})
    exchanger.exchange({})
    assert other_hand.next() == (more, {})
    assert exchanger.idle


def test_a_claim_leaves_many_ends_to_the_way_beside(exchanger: Exchanger, hand: Hand, other_hand: Hand) -> None:
    few = end(exchanger, *many("a", WORTH_AHEAD - 1))
    exchanger.exchange({"": 5})
    ends = end(exchanger, *many("b", WORTH_AHEAD))
    assert hand.next() == (few, {"": 5})
    exchanger.exchange({"": 5})
    assert hand.next() == ([], {"": 5})
    assert other_hand.next() == (ends, {})
    assert exchanger.idle


@pytest.mark.parametrize("why_not", ["limits", "errors", "news"])
def test_nothing_goes_beside_where_it_must_not(
    exchanger: Exchanger, hand: Hand, other_hand: Hand, config: SimpleNamespace, why_not: str
) -> None:
    if why_not == "limits":
        config.has_limits = True
    elif why_not == "errors":
        other_hand.not_before = SystemClock().monotonic() + 60
    else:
        exchanger.tell(News("a", 1, "1", None))
    exchanger.exchange({"": 5})
    ends = end(exchanger, *many("a", WORTH_BESIDE))
    exchanger.exchange({})
    assert not other_hand.waiting
    assert [hand.next()[0], hand.next()[0]] == [[], ends]


def test_what_a_job_says_goes_no_other_way_than_its_end(exchanger: Exchanger, hand: Hand, other_hand: Hand) -> None:
    exchanger.exchange({"": 5})
    end(exchanger, *many("a", WORTH_BESIDE))
    exchanger.tell(News("b", 1, "1", None))
    exchanger.exchange({})
    assert (len(hand.waiting), len(other_hand.waiting)) == (2, 0)


def test_what_became_due_beside_a_claim_is_not_forgotten(exchanger: Exchanger, hand: Hand, other_hand: Hand) -> None:
    exchanger.exchange({"": 5})
    end(exchanger, *many("a", WORTH_BESIDE))
    exchanger.exchange({})
    other_hand.next(due={"default": 50.0})
    hand.next(due={"default": 70.0, "mail": 60.0})  # as it was before
    assert exchanger.due == {"default": 50.0, "mail": 60.0}
    exchanger.exchange({"": 5})
    hand.next(due={"default": 70.0})
    assert exchanger.due == {"default": 70.0}


def test_an_end_that_failed_beside_is_stored_again_and_no_wonder_if_it_had_been(
    exchanger: Exchanger, hand: Hand, other_hand: Hand, logged: list[str]
) -> None:
    exchanger.exchange({"": 5})
    ends = end(exchanger, *many("a", WORTH_BESIDE))
    exchanger.exchange({})
    other_hand.next(fails=True)
    other_hand.not_before = SystemClock().monotonic() + 60
    assert exchanger.in_doubt
    hand.next()
    exchanger.exchange({})
    assert hand.next(refused=ends) == (ends, {})
    assert not logged
    end(exchanger, "a-0")
    exchanger.exchange({})
    hand.next(refused=["a-0"])
    assert logged == ["a late outcome of job a-0 was refused by the database"]
