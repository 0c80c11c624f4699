"""What the loop hears of a store that fails."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autocron.errors import StoreBusy, StoreError, StoreGone
from autocron.node.access import RETRY_DELAY, StoreAccess
from autocron.store.driver import Conflict


class Loop:
    """A loop whose store gives, or fails with, what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.now = 100.0
        self.result: Any = None
        thread = cast("Any", SimpleNamespace(submit=self._run))
        clock = cast("Any", SimpleNamespace(monotonic=lambda: self.now))
        self.access = StoreAccess(thread, clock, self._log, lambda: self.events.append("gone"))

    def _log(self, _level: int, text: str) -> None:
        self.events.append(text.partition(":")[0])

    def _run(self, _work: object, done: Callable[[Any], None]) -> None:
        done(self.result)

    def ask(self, result: object) -> list[str]:
        """Have something done; give what happened."""
        self.result = result
        self.events.clear()
        self.access.submit(lambda _: None, lambda _: self.events.append("done"), lambda: self.events.append("failed"))
        return [*self.events]


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_result_is_handed_over(loop: Loop) -> None:
    assert loop.ask("rows") == ["done"]
    assert not loop.access.failing
    assert loop.access.not_before < loop.now


def test_a_failure_is_told_once_until_something_could_be_written(loop: Loop) -> None:
    told = "the database cannot be used now, this is tried again"
    assert loop.ask(StoreBusy("locked")) == ["failed", told]
    assert loop.ask(StoreError("full")) == ["failed"]
    assert loop.ask("what reading gives") == ["done"]
    assert loop.access.failing
    loop.access.works()
    assert loop.events[1:] == ["the database can be used again"]
    assert loop.ask(StoreBusy("locked")) == ["failed", told]


def test_who_gives_way_to_others_tries_again_at_once_but_not_for_ever(loop: Loop) -> None:
    assert loop.ask(Conflict("deadlock")) == ["failed"]
    assert not loop.access.failing
    assert loop.access.not_before < loop.now
    loop.access.works()
    assert loop.ask(Conflict("deadlock")) == ["failed"]
    assert loop.ask(Conflict("deadlock")) == ["failed", "the database cannot be used now, this is tried again"]
    assert loop.access.not_before > loop.now


def test_each_failure_delays_the_next_attempt(loop: Loop) -> None:
    for loop.now in (200.0, 300.0):
        loop.ask(StoreBusy("locked"))
        assert loop.access.not_before == loop.now + RETRY_DELAY


def test_a_database_that_is_gone_is_the_end(loop: Loop) -> None:
    assert loop.ask(StoreGone("deleted"))[-1] == "gone"
