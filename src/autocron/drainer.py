"""Running stored jobs in the process of a test: the parts of a node that decide, with what they decide done at once."""

from collections.abc import Callable
from typing import Any

import msgspec

from autocron import inline
from autocron.clock import SystemClock
from autocron.job import Job
from autocron.log import logger
from autocron.model import Claim, News, Outcome, Settings, Unrunnable
from autocron.node.access import StoreAccess
from autocron.node.configuration import Configuration
from autocron.node.exchange import Exchanger
from autocron.node.expiry import Expiry
from autocron.node.firing import Scheduler
from autocron.node.schedule import Planner
from autocron.store.base import Store
from autocron.store.claiming import ANY
from autocron.task import Registry
from autocron.worker.steps import StoredSteps
from autocron.workflow import parents_in

FOR_EVER = 1e10  # seconds


class MovableClock(SystemClock):
    """The machine's clock, moved on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return super().now() + self._ahead

    def move(self, moment: float) -> None:
        """Let it be this moment, unless it is later already."""
        self._ahead = max(self._ahead, moment - super().now())


class _AtOnce:
    """Stands where a node has its store thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, work: Callable[[Store], Any], done: Callable[[Any], None]) -> None:
        """Do the work, and go on with what it gave; an error is the test's."""
        done(work(self._store))


class Drainer:
    """Fires, claims, runs and finishes by a clock that can be moved.

    Args:
        store: where the jobs are.
        registry: has the functions and the schedules, which fire from now on.
        clock: tells what is due.
    """

    def __init__(self, store: Store, registry: Registry, clock: MovableClock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._began_at = clock.now()  # schedules fire from here on
        self._runs = 0
        self._progress = False
        self._planner = Planner()
        access = StoreAccess(_AtOnce(store), clock, logger.log, lambda: None)
        self._config = config = Configuration(access, self._planner, clock, logger.log, lambda _: None)
        self._expiry = Expiry(access, config, clock, logger.log, self._progressed)
        self._exchanger = Exchanger(access, config, clock, logger.log, lambda _, result: self._run(result.claims))
        self._scheduler = Scheduler(access, self._planner, config, logger.log, self._progressed)

    def run(self, until: float | None) -> int:
        """Run what is due, and with `until` what is due by then."""
        before = self._runs
        self._declare()
        while self._step() or self._move(until):
            pass
        if until is not None:
            self._clock.move(until)
        return self._runs - before

    def look(self) -> None:
        """Read the schedules again."""
        self._config.load()

    def _declare(self) -> None:
        registry = self._registry
        self._store.set({"result_ttl": FOR_EVER, "failed_ttl": FOR_EVER})  # the clock may go on by years
        schedules, names = list(registry.schedules.values()), list(registry.functions)
        self._store.declare(schedules, registry.modules(), [], names, self._began_at)
        self.look()

    def _step(self) -> bool:
        """Do something that is due; False when there is nothing."""
        self._progress = False
        self._scheduler.fire_due()
        self._expiry.look()
        self._expiry.sweep()
        self._exchanger.exchange({ANY: 1})
        return self._progress

    def _progressed(self, *_: Any) -> None:
        self._progress = True

    def _move(self, until: float | None) -> bool:
        """Go to the next moment at which something is due; False when it is later."""
        now, slot = self._clock.now(), self._planner.next_slot()
        moments = (slot[0] if slot else None, self._exchanger.next_due(ANY), self._expiry.next)
        coming = [moment for moment in moments if moment is not None and moment > now]
        if until is None or not coming or min(coming) > until:
            return False
        self._clock.move(min(coming))
        return True

    def _run(self, claims: list[Claim]) -> None:
        for claim in claims:
            started_at = self._clock.now()
            outcome = self._attempt(claim, started_at)
            self._exchanger.settle(claim, outcome, started_at, self._clock.now())
            self._runs += 1
            self._progressed()

    def _attempt(self, claim: Claim, now: float) -> Outcome:
        function = self._registry.functions.get(claim.task)
        if function is None:
            return Unrunnable(f"unknown task {claim.task!r}")
        job = Job(claim, StoredSteps(lambda: self._store, Settings().max_payload, claim))
        parents = self._store.get_all(parents_in(claim.arguments))
        outcome = inline.attempt(claim, job, parents, function, now)
        if job.last_progress is not None:
            progress = msgspec.json.encode(job.last_progress).decode()
            self._exchanger.tell(News(claim.uuid, claim.attempt, progress, None))
        return outcome
