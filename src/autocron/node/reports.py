"""What workers report after their imports: it is stored, and then they get jobs."""

from collections.abc import Callable

from autocron import wire
from autocron.clock import Clock
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration, Stored
from autocron.store.base import Store


class Reports:
    """The reports that are not stored yet.

    Args:
        store: takes the tasks and schedules that were found.
        config: is read again with that.
        clock: new schedules start now.
        declared: called when the worker is ready.
    """

    def __init__(
        self, store: StoreAccess, config: Configuration, clock: Clock, declared: Callable[[wire.Report], None]
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._declared = declared
        self._waiting: list[tuple[wire.Report, Callable[[], None]]] = []

    def add(self, report: wire.Report, make_ready: Callable[[], None]) -> None:
        """Take a report; `make_ready` is called when it is stored."""
        self._waiting.append((report, make_ready))

    def declare(self) -> None:
        """Store what has come."""
        waiting, self._waiting = self._waiting, []
        for report, make_ready in waiting:
            self._declare(report, make_ready)

    def _declare(self, report: wire.Report, make_ready: Callable[[], None]) -> None:
        now = self._clock.now()

        def declare(store: Store) -> Stored:
            hooks, tasks = report.failure_hooks, list(report.tasks)
            store.declare(report.schedules, report.imported, report.missing, tasks, now, failure_hooks=hooks)
            return self._config.read(store)

        def done(stored: Stored) -> None:
            self._config.take(stored)
            make_ready()
            self._declared(report)

        self._store.submit(declare, done, lambda: self.add(report, make_ready))
