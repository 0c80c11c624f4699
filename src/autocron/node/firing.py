"""The firing of schedules: the jobs of the slots that are due are stored, and the cursors moved."""

from collections.abc import Callable

from autocron.codec import encode_call
from autocron.model import Declaration, NewJob
from autocron.names import new_uuid
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.schedule import Firing, Planner

EMPTY_CALL = encode_call((), {})


class Scheduler:
    """Has the store do what the planner decides.

    Args:
        store: where the jobs are stored.
        planner: says what is due.
        config: knows the time by which they fire; reads the cursors again when they could not be moved.
        fired: called when there may be jobs, with True when the slots were skipped.
    """

    def __init__(
        self,
        store: StoreAccess,
        planner: Planner,
        config: Configuration,
        fired: Callable[[Firing, bool], None],
    ) -> None:
        self._store = store
        self._planner = planner
        self._config = config
        self._fired = fired

    def fire_due(self) -> None:
        """Fire every schedule that is due."""
        for firing in self._planner.due(self._config.now()):
            self._fire(firing)

    def _fire(self, firing: Firing) -> None:
        name, now = firing.declaration.name, self._config.now()
        jobs = [(slot, _job(firing.declaration, slot, now)) for slot in firing.slots]
        self._store.submit(
            lambda store: store.fire(name, firing.cursor, jobs, alone=firing.alone),
            lambda stored: self._settled(firing, skipped=stored is False and bool(jobs)),
            lambda: self._failed(firing),
        )

    def _settled(self, firing: Firing, *, skipped: bool) -> None:
        self._planner.settled(firing.declaration.name)
        self._fired(firing, skipped)

    def _failed(self, firing: Firing) -> None:
        self._settled(firing, skipped=False)
        self._config.load()


def _job(declared: Declaration, slot: float, now: float) -> NewJob:
    # A run that was missed is made up for now, and has as much time to begin as any other.
    begin_by = None if declared.expires is None else max(slot, now) + declared.expires
    return NewJob(new_uuid(), declared.task, EMPTY_CALL, slot, now, begin_by, declared.policy)
