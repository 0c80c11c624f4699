"""The firing of schedules: the jobs of the slots that are due are stored, and the cursors moved."""

from collections.abc import Callable

from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.schedule import Firing, Planner
from autocron.slots import job_of


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
        jobs = [(slot, job_of(firing.declaration, slot, now)) for slot in firing.slots]
        self._store.submit(
            lambda store: store.fire(name, firing.cursor, jobs, alone=firing.alone),
            lambda stored: self._settled(firing, skipped=stored is False and bool(jobs)),
            lambda: self._failed(firing),
        )

    def _settled(self, firing: Firing, *, skipped: bool) -> None:
        self._planner.settled(firing.declaration.name)
        self._fired(firing, skipped)

    def _failed(self, firing: Firing) -> None:
        self._planner.failed(firing)
        self._config.load()
