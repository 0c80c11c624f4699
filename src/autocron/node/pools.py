"""Which workers serve which queues: a dispatcher for each pool of workers. Pure.

Without the setting `queues` there is one pool, ANY, which serves all queues; with it there is one for each queue that
it names, and it has the queue's name.
"""

from collections.abc import Iterable, Mapping, Sequence

from autocron.model import Claim, Settings
from autocron.node.dispatch import Dispatcher
from autocron.node.lane import Lane
from autocron.store.claiming import ANY


def pools_of(settings: Settings) -> dict[str, int]:
    """Give the pools with the numbers of their workers."""
    return dict(settings.queues) or {ANY: settings.workers}


class Pools:
    """The dispatchers of all pools, as one."""

    def __init__(self) -> None:
        self.async_tasks: set[str] = set()  # the tasks whose jobs run on an event loop
        self._pools: dict[str, Dispatcher] = {}
        self._pool_of: dict[int, Dispatcher] = {}  # by worker
        self._homeless: list[Claim] = []  # of queues that no pool serves any more

    def serve(self, pools: Iterable[str]) -> list[Claim]:
        """Have these pools; give the jobs of queues that none of them serves."""
        wanted = dict.fromkeys(pools)
        if wanted.keys() != self._pools.keys():
            waiting = [claim for pool in self._pools.values() for claim in pool.empty()]
            self._pools = {name: self._pools.get(name) or Dispatcher(self.async_tasks) for name in wanted}
            self.put_back(waiting)
        homeless, self._homeless = self._homeless, []
        return homeless

    def add(self, worker: int, lane: Lane, pool: str) -> None:
        """Give jobs of a pool to this worker from now on."""
        dispatcher = self._pools.get(pool)
        if dispatcher is not None:
            self._pool_of[worker] = dispatcher
            dispatcher.add(worker, lane)

    def close(self, worker: int) -> None:
        """Give no more jobs to this worker."""
        if pool := self._pool_of.get(worker):
            pool.close(worker)

    def remove(self, worker: int) -> list[Claim]:
        """Forget a worker; give the jobs that it had."""
        pool = self._pool_of.pop(worker, None)
        return pool.remove(worker) if pool else []

    def jobs_of(self, worker: int) -> list[Claim]:
        """Give the jobs that a worker has."""
        pool = self._pool_of.get(worker)
        return pool.jobs_of(worker) if pool else []

    def worker_of(self, uuid: str) -> int | None:
        """Give the worker that has a job."""
        found = (pool.worker_of(uuid) for pool in self._in_use())
        return next((worker for worker in found if worker is not None), None)

    def claim_of(self, worker: int, uuid: str) -> Claim | None:
        """Give the claim of a job that a worker has."""
        pool = self._pool_of.get(worker)
        return pool.claim_of(worker, uuid) if pool else None

    def withdraw(self, uuid: str) -> Claim | None:
        """Give up a job that was not sent to any worker."""
        return next((claim for pool in self._pools.values() if (claim := pool.withdraw(uuid))), None)

    def worn(self) -> list[int]:
        """Give the workers that have had as many jobs as they may."""
        return [worker for pool in self._in_use() for worker in pool.worn()]

    def suspect(self, uuid: str) -> None:
        """Run this job alone the next time: it is one of several that ran when their worker died."""
        for pool in self._in_use():
            pool.suspect(uuid)

    @property
    def idle(self) -> bool:
        """No job is with any worker."""
        return all(pool.idle for pool in self._in_use())

    @property
    def flooded(self) -> bool:
        """Every worker has plenty of short jobs."""
        return bool(self._pools) and all(pool.flooded for pool in self._pools.values())

    @property
    def has_unsent(self) -> bool:
        """There are jobs that were not sent to any worker."""
        return any(pool.has_unsent for pool in self._pools.values())

    def uuids(self) -> set[str]:
        """Give the names of all claimed jobs."""
        here = {claim.uuid for claim in self._homeless}
        return here.union(*(pool.uuids() for pool in self._in_use()))

    def room(self) -> dict[str, int]:
        """Say how many jobs of each pool should be claimed now, where it is any."""
        return {name: room for name, pool in self._pools.items() if (room := pool.room())}

    def put(self, claims: Sequence[Claim]) -> None:
        """Add claimed jobs."""
        if (only := self._pools.get(ANY)) is not None:
            only.put(claims)
            return
        for claim in claims:
            pool = self._pools.get(claim.queue)
            pool.put([claim]) if pool else self._homeless.append(claim)

    def put_back(self, claims: list[Claim]) -> None:
        """Add jobs that were with a worker and not begun; they come first."""
        if (only := self._pools.get(ANY)) is not None:
            only.put_back(claims)
            return
        for claim in reversed(claims):
            pool = self._pools.get(claim.queue)
            pool.put_back([claim]) if pool else self._homeless.append(claim)

    def assign(self, now: float) -> list[tuple[int, Claim]]:
        """Decide which jobs to send to which workers now."""
        return [sent for pool in self._pools.values() for sent in pool.assign(now)]

    def ended(self, worker: int, uuid: str, attempt: int, elapsed: float, now: float) -> Claim | None:
        """Note that a worker has run a job, in `elapsed` seconds; give its claim, if it has it."""
        pool = self._pool_of.get(worker)
        return pool.ended(worker, uuid, attempt, elapsed, now) if pool else None

    def stuck(self, now: float) -> list[int]:
        """Give the workers from which waiting jobs should be taken back."""
        return [worker for pool in self._in_use() for worker in pool.stuck(now)]

    def took_back(self, worker: int, uuids: Iterable[str]) -> list[Claim]:
        """Note which jobs were taken back from a worker before it began them; give their claims."""
        pool = self._pool_of.get(worker)
        return pool.took_back(worker, uuids) if pool else []

    def next_look(self) -> float | None:
        """Say when stuck() may give something, as a moment of the clock that was handed in."""
        moments = [moment for pool in self._in_use() if (moment := pool.next_look()) is not None]
        return min(moments, default=None)

    def empty(self) -> list[Claim]:
        """Give up the jobs that were not sent to any worker."""
        homeless, self._homeless = self._homeless, []
        return [*homeless, *(claim for pool in self._pools.values() for claim in pool.empty())]

    def _in_use(self) -> list[Dispatcher]:
        """Give the pools, and those that are served no more but have workers that are still busy."""
        return [*dict.fromkeys([*self._pools.values(), *self._pool_of.values()])]


def unserved(due: Mapping[str, float], pools: Iterable[str], now: float) -> list[str]:
    """Give the queues that have jobs which are due, and no workers."""
    served = set(pools)
    return [] if ANY in served else sorted(queue for queue, at in due.items() if at <= now and queue not in served)
