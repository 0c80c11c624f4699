"""Which worker gets which job. Pure: events and the time come in, decisions go out.

A worker that finishes jobs quickly gets a growing window of jobs in advance, so that no round trip is lost between two
short jobs. One that is busy for longer has a window of one, and what it has not begun is taken back for others.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence

from autocron.model import Claim
from autocron.node.lane import LONG, PLENTY, Lane


class _Waiting:
    """The jobs of one kind that are not sent yet."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.jobs = deque[tuple[int, Claim]]()  # each with its place among all

    @property
    def first(self) -> float:
        """The place of the next one."""
        return self.jobs[0][0] if self.jobs else math.inf


class Dispatcher:
    """Distributes claimed jobs over workers.

    Attributes:
        async_tasks: the tasks whose jobs run on an event loop.
    """

    def __init__(self, async_tasks: set[str] | None = None) -> None:
        self.async_tasks = set[str]() if async_tasks is None else async_tasks
        self._sync, self._async = _Waiting(is_async=False), _Waiting(is_async=True)
        self._first = self._last = 0  # places that are taken
        self._suspects: set[str] = set()  # each of them must run alone
        self._alone = deque[Claim]()  # those of them that wait
        self._lanes: dict[int, Lane] = {}

    def add(self, worker: int, lane: Lane) -> None:
        """Give jobs to this worker from now on."""
        self._lanes[worker] = lane

    def close(self, worker: int) -> None:
        """Give no more jobs to this worker."""
        if worker in self._lanes:
            self._lanes[worker].open = False

    def remove(self, worker: int) -> list[Claim]:
        """Forget a worker; give the jobs that it had."""
        lane = self._lanes.pop(worker, None)
        return lane.claims() if lane else []

    def jobs_of(self, worker: int) -> list[Claim]:
        """Give the jobs that a worker has."""
        lane = self._lanes.get(worker)
        return lane.claims() if lane else []

    def worker_of(self, uuid: str) -> int | None:
        """Give the worker that has a job."""
        return next((worker for worker, lane in self._lanes.items() if lane.find(uuid)), None)

    def claim_of(self, worker: int, uuid: str) -> Claim | None:
        """Give the claim of a job that a worker has."""
        lane = self._lanes.get(worker)
        return lane.find(uuid) if lane else None

    def withdraw(self, uuid: str) -> Claim | None:
        """Give up a job that was not sent to any worker."""
        for kind in (self._sync, self._async):
            for entry in kind.jobs:
                if entry[1].uuid == uuid:
                    kind.jobs.remove(entry)
                    return entry[1]
        claim = next((claim for claim in self._alone if claim.uuid == uuid), None)
        if claim is not None:
            self._alone.remove(claim)
        return claim

    def worn(self) -> list[int]:
        """Give the workers that have had as many jobs as they may."""
        return [worker for worker, lane in self._lanes.items() if lane.open and lane.left == 0]

    @property
    def idle(self) -> bool:
        """No job is with any worker."""
        return all(lane.empty for lane in self._lanes.values())

    @property
    def has_unsent(self) -> bool:
        """There are jobs that were not sent to any worker."""
        return bool(self._sync.jobs or self._async.jobs or self._alone)

    @property
    def flooded(self) -> bool:
        """Every worker has plenty of short jobs."""
        lanes = self._lanes.values()
        return bool(lanes) and all(len(lane.jobs) >= PLENTY for lane in lanes)

    def uuids(self) -> set[str]:
        """Give the names of all claimed jobs."""
        with_workers = [claim for lane in self._lanes.values() for claim in lane.claims()]
        return {claim.uuid for claim in [*self._waiting(), *with_workers]}

    def room(self) -> int:
        """Say how many jobs should be claimed now."""
        may_be_async = bool(self.async_tasks)
        wanted = sum(lane.room(may_be_async=may_be_async) for lane in self._lanes.values() if lane.open)
        return max(0, wanted - len(self._sync.jobs) - len(self._async.jobs) - len(self._alone))

    def put(self, claims: Sequence[Claim]) -> None:
        """Add claimed jobs."""
        if not (self._suspects or self.async_tasks):
            self._sync.jobs.extend(enumerate(claims, self._last + 1))
            self._last += len(claims)
            return
        for claim in claims:
            if claim.uuid in self._suspects:
                self._alone.append(claim)
            else:
                self._last += 1
                self._kind_of(claim).jobs.append((self._last, claim))

    def put_back(self, claims: list[Claim]) -> None:
        """Add jobs that were with a worker and not begun; they come first."""
        for claim in reversed(claims):
            if claim.uuid in self._suspects:
                self._alone.appendleft(claim)
            else:
                self._first -= 1
                self._kind_of(claim).jobs.appendleft((self._first, claim))

    def suspect(self, uuid: str) -> None:
        """Run this job alone the next time: it is one of several that ran when their worker died."""
        self._suspects.add(uuid)

    def assign(self, now: float) -> list[tuple[int, Claim]]:
        """Decide which jobs to send to which workers now."""
        sent = list[tuple[int, Claim]]()
        reserved = self._assign_alone(now, sent) if self._alone else None
        kinds = [kind for kind in (self._sync, self._async) if kind.jobs]
        while kinds:
            kind = min(kinds, key=lambda kind: kind.first)
            others = min((other.first for other in kinds if other is not kind), default=math.inf)
            if not self._give(kind, others, now, sent, reserved):
                kinds.remove(kind)
        return sent

    def _give(
        self, kind: _Waiting, until: float, now: float, sent: list[tuple[int, Claim]], reserved: Lane | None
    ) -> bool:
        """Send the jobs of a kind that come before `until`; False when there are no more or none has a place."""
        jobs, is_async = kind.jobs, kind.is_async
        lanes = [
            (lane.load, worker, lane)
            for worker, lane in self._lanes.items()
            if lane is not reserved and lane.has_place(is_async=is_async)
        ]
        heapq.heapify(lanes)
        while lanes and jobs and jobs[0][0] < until:
            _, worker, lane = lanes[0]
            claim = jobs.popleft()[1]
            lane.add(claim, now, is_async=is_async)
            sent.append((worker, claim))
            if lane.has_place(is_async=is_async):
                heapq.heapreplace(lanes, (lane.load, worker, lane))
            else:
                heapq.heappop(lanes)
        return bool(lanes and jobs)

    def _assign_alone(self, now: float, sent: list[tuple[int, Claim]]) -> Lane | None:
        """Send jobs that must run alone to empty workers; give the worker that must become empty for the next one."""
        lanes = [(lane.load, worker) for worker, lane in self._lanes.items() if lane.open and not lane.alone]
        for _, worker in sorted(lanes):
            lane = self._lanes[worker]
            if not lane.empty or not self._alone:
                return lane if self._alone else None
            claim = self._alone.popleft()
            lane.add(claim, now, is_async=claim.task in self.async_tasks)
            lane.alone = True
            sent.append((worker, claim))
        return None

    def ended(self, worker: int, uuid: str, attempt: int, elapsed: float, now: float) -> Claim | None:
        """Note that a worker has run a job, in `elapsed` seconds; give its claim, if it has it."""
        lane = self._lanes.get(worker)
        claim = lane.find(uuid) if lane else None
        if lane is None or claim is None or claim.attempt != attempt:
            return None
        lane.ended(uuid, elapsed, now)
        self._suspects.discard(uuid)
        if self.async_tasks:
            self._move_on(lane)
        return claim

    def stuck(self, now: float) -> list[int]:
        """Give the workers from which waiting jobs should be taken back."""
        return [worker for worker, lane in self._lanes.items() if len(lane.jobs) > 1 and now >= lane.head_since + LONG]

    def took_back(self, worker: int, uuids: Iterable[str]) -> list[Claim]:
        """Note which jobs were taken back from a worker before it began them; give their claims."""
        lane = self._lanes.get(worker)
        if lane is None:
            return []
        lane.window = 1
        claims = [claim for uuid in uuids if (claim := lane.take_back(uuid))]
        if self.async_tasks:
            self._move_on(lane)
        return claims

    def next_look(self) -> float | None:
        """Say when stuck() may give something, as a moment of the clock that was handed in."""
        times = [lane.head_since + LONG for lane in self._lanes.values() if len(lane.jobs) > 1]
        return min(times, default=None)

    def empty(self) -> list[Claim]:
        """Give up the jobs that were not sent to any worker."""
        claims = self._waiting()
        for queue in (self._sync.jobs, self._async.jobs, self._alone):
            queue.clear()
        return claims

    def _waiting(self) -> list[Claim]:
        """Give the jobs that were not sent to any worker, in their order."""
        waiting = sorted([*self._sync.jobs, *self._async.jobs], key=lambda entry: entry[0])
        return [*self._alone, *(claim for _, claim in waiting)]

    def _kind_of(self, claim: Claim) -> _Waiting:
        return self._async if claim.task in self.async_tasks else self._sync

    def _move_on(self, lane: Lane) -> None:
        """The worker reads on: async jobs that were behind a sync one are begun, up to the next sync one."""
        while lane.jobs:
            uuid, claim = next(iter(lane.jobs.items()))
            if claim.task not in self.async_tasks:
                return
            lane.in_loop[uuid] = lane.jobs.pop(uuid)
