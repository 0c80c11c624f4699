"""The jobs that one worker has. Pure."""

from dataclasses import dataclass, field

from autocron.model import Claim

SHORT = 0.002  # seconds; a job that ends within this widens the window of its worker
LONG = 0.005  # seconds; behind a job that runs for longer, nothing waits
MAX_WINDOW = 128
PLENTY = 8  # jobs; a worker that has so many waits for none in the next moment
CLAIM_AHEAD = 8  # windows of jobs that are claimed beyond those that are sent


@dataclass
class Lane:
    """What a worker runs, and what waits in its socket.

    A worker with one thread reads no further while that runs a job, so jobs can be sent in advance, and taken back.
    What runs in several threads or on the event loop holds up nothing: it is sent when there is a place for it.

    Attributes:
        threads: how many sync jobs run at once.
        async_jobs: how many async jobs run at once.
        left: how many jobs it may still be given; None: any number.
        window: how many jobs may be with the one thread; the first is being run.
        jobs: these, in the order in which they were sent.
        in_threads: sync jobs that run beside each other.
        in_loop: async jobs that run beside each other.
        head_since: when the first of `jobs` was begun.
        open: it gets more jobs.
        alone: its only job must be the only one.
    """

    threads: int = 1
    async_jobs: int = 100
    left: int | None = None
    window: int = 1
    jobs: dict[str, Claim] = field(default_factory=dict[str, Claim])
    in_threads: dict[str, Claim] = field(default_factory=dict[str, Claim])
    in_loop: dict[str, Claim] = field(default_factory=dict[str, Claim])
    head_since: float = 0.0
    open: bool = True
    alone: bool = False

    @property
    def load(self) -> int:
        """How busy it is, to be compared: what waits for its one thread counts more than all that run side by side."""
        return (len(self.jobs) << 16) + len(self.in_threads) + len(self.in_loop)

    @property
    def empty(self) -> bool:
        """It has no job."""
        return not (self.jobs or self.in_threads or self.in_loop)

    def claims(self) -> list[Claim]:
        """Give all jobs that it has."""
        return [*self.jobs.values(), *self.in_threads.values(), *self.in_loop.values()]

    def has_place(self, *, is_async: bool) -> bool:
        """It may be given another job."""
        if not self.open or self.alone or self.left == 0:
            return False
        if is_async and (self.threads > 1 or not self.jobs):
            return len(self.in_loop) < self.async_jobs
        return len(self.jobs) < self.window if self.threads == 1 else len(self.in_threads) < self.threads

    def room(self, *, may_be_async: bool) -> int:
        """Say how many jobs should be with it or claimed for it, beyond those that it has."""
        if self.threads > 1:
            wanted = self.threads - len(self.in_threads)
        else:
            wanted = self.window * (CLAIM_AHEAD if self.window > 1 else 1) - len(self.jobs)
        if may_be_async and (self.threads > 1 or not self.jobs):
            # What comes may be of the other kind and then has to wait: as many as there are, so it doubles quickly.
            more = len(self.in_loop) or self.threads > 1
            wanted += min(more, self.async_jobs - len(self.in_loop))
        return wanted if self.left is None else min(wanted, self.left)

    def add(self, claim: Claim, now: float, *, is_async: bool) -> None:
        """Note a job that is sent."""
        if self.left is not None:
            self.left -= 1
        if is_async and (self.threads > 1 or not self.jobs):
            self.in_loop[claim.uuid] = claim
        elif self.threads > 1:
            self.in_threads[claim.uuid] = claim
        else:
            if not self.jobs:
                self.head_since = now
            self.jobs[claim.uuid] = claim

    def find(self, uuid: str) -> Claim | None:
        """Give a job that it has."""
        return self.jobs.get(uuid) or self.in_threads.get(uuid) or self.in_loop.get(uuid)

    def ended(self, uuid: str, elapsed: float, now: float) -> None:
        """Note that a job has been run, in so many seconds."""
        self.alone = False
        if self.jobs.pop(uuid, None) is None:
            self._pop_beside(uuid)
            return
        self.head_since = now
        if elapsed < SHORT:
            self.window = min(MAX_WINDOW, self.window * 2)
        elif elapsed > LONG:
            self.window = 1

    def take_back(self, uuid: str) -> Claim | None:
        """Give a job that was not begun."""
        self.window = 1
        self.alone = False
        claim = self.jobs.pop(uuid, None) or self._pop_beside(uuid)
        if claim and self.left is not None:
            self.left += 1
        return claim

    def _pop_beside(self, uuid: str) -> Claim | None:
        return self.in_threads.pop(uuid, None) or self.in_loop.pop(uuid, None)
