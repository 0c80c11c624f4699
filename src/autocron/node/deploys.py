"""What the code makes of the jobs that wait: those that it cannot run are parked before they are due."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from autocron import wire
from autocron.clock import Clock
from autocron.model import QueuedCall
from autocron.node.access import StoreAccess
from autocron.node.storage import Log
from autocron.signatures import misfit
from autocron.store.base import Store

BATCH = 500  # jobs at a time: a millisecond or two, so that claims wait for no more than that
REST = 10  # times as long as the last ones took, until the next: what is due must run meanwhile
TOLD = 5  # reasons
_BY_THE_CODE = ("unknown task", "its arguments do not fit", "its arguments cannot be read", "its row cannot be used")


class Deploys:
    """Checks the queued jobs, some at a time, when a new generation has other code than was there at the last check.

    Args:
        store: where they are.
        generation: says which one the reports are of.
        clock: tells how long that takes.
        log: takes what there is to say.
        released: called when jobs were let go.
    """

    def __init__(
        self, store: StoreAccess, generation: Callable[[], int], clock: Clock, log: Log, released: Callable[[], None]
    ) -> None:
        self._store = store
        self._generation_now = generation
        self._clock = clock
        self._log = log
        self._released = released
        self._generation = -1
        self._tasks: dict[str, str] = {}
        self._mark = ""  # of the code that the jobs are checked against
        self._after: str | None = None  # the last job that was checked; None: all are
        self._under_way = False
        self._begun_at = self._rested_at = 0.0
        self._parked = Counter[str]()

    def reported(self, report: wire.Report) -> None:
        """Take what a worker has found; nothing was looked at where start() stands above the first task of a script."""
        if not (report.imported or report.missing or report.errors):
            return
        generation = self._generation_now()
        known = self._tasks if generation == self._generation else {}
        tasks = {**known, **report.tasks}
        if generation == self._generation and tasks == known:
            return
        self._generation, self._tasks = generation, tasks
        text = msgspec.json.encode((sorted(tasks.items()), sorted(report.sources.items())))
        self._mark = hashlib.sha256(text).hexdigest()
        self._after = ""
        self._parked.clear()

    def next_look(self) -> list[float]:
        """Say when to check some more."""
        return [] if self._after is None or self._under_way else [self._rested_at]

    def check(self) -> None:
        """Check some more, if there is something to check."""
        now = self._clock.monotonic()
        if self._after is None or self._under_way or now < self._rested_at:
            return
        self._under_way, self._begun_at = True, now
        after, mark, tasks = self._after, self._mark, self._tasks
        self._store.submit(
            lambda store: _check(store, after, mark, tasks), lambda found: self._checked(mark, found), self._failed
        )

    def _failed(self) -> None:
        self._under_way = False

    def _checked(self, mark: str, found: "Found") -> None:
        self._under_way = False
        now = self._clock.monotonic()
        self._rested_at = now + REST * (now - self._begun_at)
        if mark != self._mark:  # of a generation that has passed meanwhile: begin again
            return
        self._after = found.last
        self._parked.update(found.parked)
        if found.released:
            self._released()
        if found.last is None and self._parked:
            self._tell()

    def _tell(self) -> None:
        reasons = [f"{task}: {number} job{'s' * (number > 1)}" for task, number in self._parked.most_common(TOLD)]
        more = f", and {len(self._parked) - TOLD} more reasons" if len(self._parked) > TOLD else ""
        text = f"queued jobs are parked, as the code cannot run them ({'; '.join(reasons)}{more})"
        self._log(logging.ERROR, f"{text}. They run when a version of the code that can run them is started")
        self._parked.clear()


class Found(msgspec.Struct, frozen=True):
    """What came of some jobs."""

    last: str | None  # None: there are no more
    parked: list[str] = []  # why, for each
    released: bool = False


def _check(store: Store, after: str, mark: str, tasks: dict[str, str]) -> Found:
    if not after and store.checked_code() == mark:
        return Found(None)
    calls = store.calls(after, BATCH)
    reasons = {call.uuid: reason for call in calls if (reason := verdict(call, tasks)) != call.held}
    if reasons:
        store.hold(reasons)
    last = calls[-1].uuid if len(calls) == BATCH else None
    if last is None:
        store.set_checked_code(mark)
    by_uuid = {call.uuid: call for call in calls}
    parked = [_told(by_uuid[uuid].task, reason) for uuid, reason in reasons.items() if reason]
    return Found(last, parked, len(parked) < len(reasons))


def _told(task: str, reason: str) -> str:
    return reason if task in reason else f"{task}: {reason}"


def verdict(call: QueuedCall, tasks: dict[str, str]) -> str | None:
    """Say why the code cannot run a job, if it can't.

    Args:
        call: a job. What is not queued, cannot be read or is parked for another reason stays as it is.
        tasks: what the code has, with what they take.
    """
    if call.positional is None or (call.held is not None and not call.held.startswith(_BY_THE_CODE)):
        return call.held
    if call.task not in tasks:
        return f"unknown task {call.task!r}"
    if any(name.startswith("$") for name in call.keywords):  # stored as pairs: the worker will see
        return None
    why = misfit(tasks[call.task], call.positional, call.keywords)
    return f"its arguments do not fit: {why}" if why else None
