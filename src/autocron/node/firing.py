"""The firing of schedules: the jobs of the slots that are due are stored, and the cursors moved."""

import logging
from collections.abc import Callable

from autocron.node.access import RETRY_DELAY, StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.schedule import Firing, Planner
from autocron.node.storage import Log
from autocron.slots import job_of
from autocron.store.placing import Fired


class Scheduler:
    """Has the store do what the planner decides.

    Args:
        store: where the jobs are stored.
        planner: says what is due.
        config: knows the time by which they fire; reads the cursors again when they could not be moved.
        log: takes what there is to say.
        fired: called when there may be jobs.
    """

    def __init__(
        self,
        store: StoreAccess,
        planner: Planner,
        config: Configuration,
        log: Log,
        fired: Callable[[Firing, Fired], None],
    ) -> None:
        self._store = store
        self._planner = planner
        self._config = config
        self._log = log
        self._fired = fired
        self._put_off: dict[str, int] = {}  # how often firings were, by the schedule

    def fire_due(self) -> None:
        """Fire every schedule that is due."""
        for firing in self._planner.due(self._config.now()):
            self._fire(firing)

    def _fire(self, firing: Firing) -> None:
        name, now = firing.declaration.name, self._config.now()
        jobs = [(slot, job_of(firing.declaration, slot, now)) for slot in firing.slots]
        self._store.submit(
            lambda store: store.fire(name, firing.cursor, jobs, alone=firing.alone),
            lambda fired: self._settled(firing, fired),
            lambda: self._failed(firing),
        )

    def _settled(self, firing: Firing, fired: Fired) -> None:
        name = firing.declaration.name
        if fired is Fired.HELD:
            self._planner.put_off(firing, self._config.now() + RETRY_DELAY)
            self._put_off[name] = self._put_off.get(name, 0) + 1
            if self._put_off[name] == 2:  # most who call with a key hold it for some milliseconds
                self._log(logging.WARNING, f"{name} is due, but {_HELD}")
            return
        self._put_off.pop(name, None)
        self._planner.settled(name)
        self._fired(firing, fired)

    def _failed(self, firing: Firing) -> None:
        self._planner.failed(firing)
        self._config.load()


_HELD = (
    "a transaction that is still open has called its task with the same unique_key: it fires when that transaction has"
    " ended"
)
