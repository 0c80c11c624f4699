"""The loop's way to the store: what fails is told once, and tried again a little later."""

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from autocron.clock import Clock
from autocron.errors import StoreError, StoreGone, StoreMoved
from autocron.node.storage import Log
from autocron.store.base import Store
from autocron.store.driver import Conflict

T = TypeVar("T")
RETRY_DELAY = 0.5  # seconds until the store is tried again after an error


class Executor(Protocol):
    """What runs work on the store."""

    def submit(self, work: Callable[[Store], Any], done: Callable[[Any], None]) -> None:
        """Run `work` with the store, and call `done` with what it gave, or with the StoreError."""
        ...


class StoreAccess:
    """Has the store thread work, and knows whether the store can be used.

    Args:
        thread: runs the work.
        clock: tells when to try again.
        log: takes what there is to say.
        gone: called when the files are not there any more, or all was moved elsewhere.
    """

    def __init__(self, thread: Executor, clock: Clock, log: Log, gone: Callable[[], None]) -> None:
        self._thread = thread
        self._clock = clock
        self._log = log
        self._gone = gone
        self.failing = False
        self._gave_way = False
        self.not_before = 0.0  # the store is not tried again before this moment of the monotonic clock

    def submit(
        self, work: Callable[[Store], T], done: Callable[[T], None], failed: Callable[[], None] | None = None
    ) -> None:
        """Run `work` with the store; the loop then calls `done` with what it gave, or `failed`."""

        def completed(result: T | StoreError) -> None:
            if not isinstance(result, StoreError):
                done(result)
                return
            if failed:
                failed()
            self._fail(result)

        self._thread.submit(work, completed)

    def works(self) -> None:
        """Note that something could be written."""
        self._gave_way = False
        if self.failing:
            self.failing = False
            self._log(logging.WARNING, "the database can be used again")

    def _fail(self, error: StoreError) -> None:
        if isinstance(error, Conflict) and not self._gave_way:
            self._gave_way = True  # to be tried again at once: the database is well
            return
        self.not_before = self._clock.monotonic() + RETRY_DELAY
        if not self.failing:
            self.failing = True
            self._log(logging.ERROR, f"the database cannot be used now, this is tried again: {error}")
        if isinstance(error, StoreGone | StoreMoved):
            self._gone()
