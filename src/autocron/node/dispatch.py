"""Which worker gets which job. Pure: events and the time come in, decisions go out.

A worker that finishes jobs quickly gets a growing window of jobs in advance, so that no round trip is lost between two
short jobs. One that is busy for longer has a window of one, and what it has not begun is taken back for others.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from autocron.model import Claim

SHORT = 0.002  # seconds; a job that ends within this widens the window of its worker
LONG = 0.005  # seconds; behind a job that runs for longer, nothing waits
MAX_WINDOW = 128
PLENTY = 64  # jobs; a worker that has so many waits for none in the next moment
CLAIM_AHEAD = 4  # windows of jobs that are claimed beyond those that are sent


@dataclass
class Lane:
    """The jobs that one worker has, in the order in which they were sent; the first one is being run."""

    window: int = 1
    jobs: dict[str, Claim] = field(default_factory=dict[str, Claim])
    head_since: float = 0.0
    open: bool = True

    @property
    def has_place(self) -> bool:
        """It may be given another job."""
        return self.open and len(self.jobs) < self.window


class Dispatcher:
    """Distributes claimed jobs over workers."""

    def __init__(self) -> None:
        self._buffer: deque[Claim] = deque()
        self._lanes: dict[int, Lane] = {}

    def add(self, worker: int) -> None:
        """Give jobs to this worker from now on."""
        self._lanes[worker] = Lane()

    def close(self, worker: int) -> None:
        """Give no more jobs to this worker."""
        if worker in self._lanes:
            self._lanes[worker].open = False

    def remove(self, worker: int) -> list[Claim]:
        """Forget a worker; give the jobs that it had."""
        lane = self._lanes.pop(worker, None)
        return list(lane.jobs.values()) if lane else []

    def jobs_of(self, worker: int) -> list[Claim]:
        """Give the jobs that a worker has; the first one is being run."""
        lane = self._lanes.get(worker)
        return list(lane.jobs.values()) if lane else []

    @property
    def idle(self) -> bool:
        """No job is with any worker."""
        return not any(lane.jobs for lane in self._lanes.values())

    @property
    def flooded(self) -> bool:
        """Every worker has plenty of short jobs."""
        lanes = self._lanes.values()
        return bool(lanes) and all(len(lane.jobs) >= PLENTY for lane in lanes)

    def uuids(self) -> set[str]:
        """Give the names of all claimed jobs."""
        return {claim.uuid for claim in self._buffer}.union(*(lane.jobs for lane in self._lanes.values()))

    def room(self) -> int:
        """Say how many jobs should be claimed now."""
        lanes = [lane for lane in self._lanes.values() if lane.open]
        wanted = sum(lane.window * (CLAIM_AHEAD if lane.window > 1 else 1) - len(lane.jobs) for lane in lanes)
        return max(0, wanted - len(self._buffer))

    def put(self, claims: Iterable[Claim]) -> None:
        """Add claimed jobs."""
        self._buffer.extend(claims)

    def put_back(self, claims: list[Claim]) -> None:
        """Add jobs that were with a worker and not begun; they come first."""
        self._buffer.extendleft(reversed(claims))

    def assign(self, now: float) -> list[tuple[int, Claim]]:
        """Decide which jobs to send to which workers now."""
        sent: list[tuple[int, Claim]] = []
        lanes = [(len(lane.jobs), worker) for worker, lane in self._lanes.items() if lane.has_place]
        heapq.heapify(lanes)
        while self._buffer and lanes:
            worker = lanes[0][1]
            lane = self._lanes[worker]
            claim = self._buffer.popleft()
            if not lane.jobs:
                lane.head_since = now
            lane.jobs[claim.uuid] = claim
            sent.append((worker, claim))
            if lane.has_place:
                heapq.heapreplace(lanes, (len(lane.jobs), worker))
            else:
                heapq.heappop(lanes)
        return sent

    def ended(self, worker: int, uuid: str, attempt: int, elapsed: float, now: float) -> Claim | None:
        """Note that a worker has run a job, in `elapsed` seconds; give its claim, if it has it."""
        lane = self._lanes.get(worker)
        claim = lane.jobs.get(uuid) if lane else None
        if lane is None or claim is None or claim.attempt != attempt:
            return None
        del lane.jobs[uuid]
        lane.head_since = now
        if elapsed < SHORT:
            lane.window = min(MAX_WINDOW, lane.window * 2)
        elif elapsed > LONG:
            lane.window = 1
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
        return [claim for uuid in uuids if (claim := lane.jobs.pop(uuid, None))]

    def next_look(self) -> float | None:
        """Say when stuck() may give something, as a moment of the clock that was handed in."""
        times = [lane.head_since + LONG for lane in self._lanes.values() if len(lane.jobs) > 1]
        return min(times, default=None)

    def empty(self) -> list[Claim]:
        """Give up the jobs that were not sent to any worker."""
        claims = list(self._buffer)
        self._buffer.clear()
        return claims
