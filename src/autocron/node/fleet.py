"""How many workers there should be, of which generation. Pure: it decides, the loop acts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

FIRST_BACKOFF = 0.1  # seconds
MAX_BACKOFF = 15.0


class WorkerState(StrEnum):
    """The life of a worker."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"  # gets no more jobs, ends when its job is done
    STOPPING = "stopping"


@dataclass
class Member:
    """A worker as the fleet sees it."""

    generation: int
    pool: str
    state: WorkerState = WorkerState.STARTING
    worn: bool = False  # has run enough


@dataclass(frozen=True)
class Plan:
    """What is to be done now."""

    spawn: list[str]  # the pools of the new workers
    retire: list[int] = field(default_factory=list[int])
    stop: list[int] = field(default_factory=list[int])


class Fleet:
    """The workers of this node."""

    def __init__(self) -> None:
        self.wanted: dict[str, int] = {}  # by pool
        self.generation = 1
        self.members: dict[int, Member] = {}
        self._failures = 0
        self._not_before = 0.0

    def spawned(self, worker: int, pool: str) -> None:
        """Note a new worker."""
        self.members[worker] = Member(self.generation, pool)

    def ready(self, worker: int) -> None:
        """Note that a worker has imported its modules."""
        self.members[worker].state = WorkerState.READY
        self._failures = 0

    def gone(self, worker: int, now: float) -> None:
        """Note the end of a worker. One that never became ready delays the next."""
        member = self.members.pop(worker)
        if member.state is WorkerState.STARTING:
            self._not_before = now + min(MAX_BACKOFF, FIRST_BACKOFF * 2**self._failures)
            self._failures += 1

    def wear_out(self, worker: int) -> None:
        """Replace a worker when its jobs are done."""
        self.members[worker].worn = True

    def renew(self) -> None:
        """Replace all workers, each when its job is done."""
        self.generation += 1
        self._failures = 0
        self._not_before = 0.0

    def plan(self, now: float, busy: Callable[[int], bool]) -> Plan:
        """Decide what to do so that each pool has the wanted number of workers of this generation."""
        active: dict[str, list[int]] = {pool: [] for pool in self.wanted}
        for worker, member in self.members.items():
            if self._is_current(member):
                active.setdefault(member.pool, []).append(worker)
        surplus = [worker for pool, workers in active.items() for worker in workers[self.wanted.get(pool, 0) :]]
        leaving = [worker for worker, member in self.members.items() if self._must_leave(member)] + surplus
        retire = [worker for worker in leaving if self.members[worker].state is not WorkerState.RETIRING]
        for worker in retire:
            self.members[worker].state = WorkerState.RETIRING
        stop = [worker for worker in leaving if not busy(worker)]
        for worker in stop:
            self.members[worker].state = WorkerState.STOPPING
        missing = [pool for pool, count in self.wanted.items() for _ in range(count - len(active[pool]))]
        return Plan(missing if now >= self._not_before else [], retire, stop)

    def next_look(self, now: float) -> float | None:
        """Say when a delayed worker may be spawned."""
        return self._not_before if self._not_before > now else None

    def _is_current(self, member: Member) -> bool:
        current = member.generation == self.generation and not member.worn
        return current and member.state in (WorkerState.STARTING, WorkerState.READY)

    def _must_leave(self, member: Member) -> bool:
        if member.state is WorkerState.STOPPING:
            return False
        return member.state is WorkerState.RETIRING or member.worn or member.generation != self.generation
