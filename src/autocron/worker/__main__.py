"""Start a worker: ``python -m autocron.worker CHANNEL LIFE PERMITS OUTBOX``, descriptors. Only the node does this."""

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from autocron import wire
from autocron.active import Active
from autocron.app import become_worker
from autocron.bell import look
from autocron.errors import JobCancelled, TaskTimeout
from autocron.eventloop import EventLoop
from autocron.model import Claim, Outcome
from autocron.outbox import Outbox
from autocron.permits import Taker
from autocron.retry import policy_of
from autocron.store import paths
from autocron.store.place import Place as Database
from autocron.store.place import open_store
from autocron.worker import capture, stacks
from autocron.worker.ends import Ends
from autocron.worker.importer import Importer
from autocron.worker.memory import memory
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import Interruption, LoopTask, MainThread, Place, PoolThread
from autocron.worker.runner import Runner, is_async
from autocron.worker.steps import StoredSteps

if TYPE_CHECKING:
    from autocron.store.base import Store

PR_SET_PDEATHSIG = 1
_MAIN_THREAD = MainThread()


class Worker:
    """Takes jobs out of its channel and sends their outcomes back, until the node closes it.

    Async jobs run on the event loop, sync ones here or, when there is more than one thread, in these. While a sync job
    runs here, nothing is taken out of the channel: the node can take it back.
    """

    def __init__(
        self, channel: wire.Channel, permits: Taker, ends: Ends, setup: wire.Setup, store: "Callable[[], Store]"
    ) -> None:
        self._running = capture.install().running
        self._channel = channel
        self._permits = permits
        self._ends = ends
        self._more_follow = False  # jobs that came together with the one that is being begun
        self._store = store
        self._setup = setup
        self._reporter = Reporter(lambda news: channel.send(wire.Said(news)))
        self._importer = Importer(setup.program)
        self._loop = EventLoop()
        self._threads = ThreadPoolExecutor(setup.threads, "autocron-job") if setup.threads > 1 else None
        before = _before_each_job(setup.program)
        self._runner = Runner(setup.max_payload, *before, self._loop, lambda uuids: store().get_all(uuids))
        self._here: RunningJob | None = None  # the job on the main thread
        self._beside = set[Future[None]]()  # the jobs that run elsewhere
        self._reporting = threading.Lock()
        self._modules_seen = 0
        self._unknown: dict[str, wire.Stop] = {}  # by uuid: asked to stop while it did not run
        signal.signal(signal.SIGTERM, self._asked_to_stop)

    def work(self) -> None:
        """Import the program, report, then run jobs."""
        self._report(self._importer.import_all())
        while (message := self._channel.receive()) is not None:
            match message:
                case wire.Begin(claims=claims, round=round_):
                    self._begin_all(claims, round_)
                case wire.Import(modules=modules, main=main):
                    self._report(self._importer.import_more(modules, main))
                case _:
                    raise wire.WireError(f"a worker cannot do anything with {message!r}")
        wait(self._beside)

    def stop(self, stop: wire.Stop) -> None:
        """Stop a job. Called by the thread that listens to the node while jobs run."""
        job = self._running.get(stop.uuid)
        if job is None:
            self._unknown[stop.uuid] = stop  # it was just received, or has just ended
        elif job.attempt == stop.attempt and stop.why == "cancelled":
            job.cancelled = True
            job.stop(JobCancelled)
        elif job.attempt == stop.attempt:
            job.report = stacks.report(job)
            self._channel.send(wire.Stopping(stop.uuid, job.report))
            job.stop(TaskTimeout)

    def _begin_all(self, claims: list[Claim], round_: int) -> None:
        for number, claim in enumerate(claims, 1):
            if not self._permits.take(round_):
                break
            self._more_follow = number < len(claims)
            self._begin(claim)
        self._ends.flush()

    def _begin(self, claim: Claim) -> None:
        if is_async(claim.task):
            self._begin_beside(self._loop.submit(self._arun(claim)))
        elif self._threads is not None:
            self._begin_beside(self._threads.submit(self._run_beside, claim))
        else:
            self._run(claim, _MAIN_THREAD)

    def _begin_beside(self, job: Future[None]) -> None:
        self._beside.add(job)
        job.add_done_callback(self._beside.discard)

    def _run_beside(self, claim: Claim) -> None:
        self._run(claim, PoolThread())

    def _run(self, claim: Claim, place: Place) -> None:
        started_at, started = time.time(), time.perf_counter()
        job = self._enter(claim, place)
        outcome = self._runner.run(claim, job)
        self._ended(claim, job, outcome, started_at, time.perf_counter() - started)

    async def _arun(self, claim: Claim) -> None:
        import asyncio

        started_at, started = time.time(), time.perf_counter()
        task = asyncio.current_task()
        assert task is not None
        job = self._enter(claim, LoopTask(task))
        outcome = await self._runner.arun(claim, job)
        self._ended(claim, job, outcome, started_at, time.perf_counter() - started)

    def _enter(self, claim: Claim, place: Place) -> RunningJob:
        job = RunningJob(claim, StoredSteps(self._store, self._setup.max_payload, claim), self._reporter, place)
        self._running[claim.uuid] = job
        if place is _MAIN_THREAD:
            self._here = job
        if claim.policy is not None and policy_of(claim.policy).timeout is not None:
            self._channel.send(wire.Begun(claim.uuid))
        if claim.uuid in self._unknown:
            self.stop(self._unknown.pop(claim.uuid))
        return job

    def _ended(self, claim: Claim, job: RunningJob, outcome: Outcome, started_at: float, elapsed: float) -> None:
        if self._here is job:
            self._here = None
        del self._running[claim.uuid]
        _flush()
        self._reporter.finish(job)
        ended = wire.Ended(claim.uuid, claim.attempt, outcome, started_at, started_at + elapsed, elapsed)
        if job.place is _MAIN_THREAD:
            self._ends.send(ended, started_at + elapsed, more_follow=self._more_follow)
        else:
            self._channel.send(ended)
        if len(sys.modules) != self._modules_seen:
            self._report(self._importer.report())
        if self._setup.max_memory and (size := memory()) > self._setup.max_memory:
            self._channel.send(wire.Worn(size))

    def _report(self, report: wire.Report) -> None:
        self._modules_seen = len(sys.modules)
        _flush()
        with self._reporting:
            self._channel.send(report)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Handle the signal: a stop of the job here, or the wish of the node that all jobs end."""
        here = self._here
        if here is None or here.stopped is None:
            for job in list(self._running.values()):
                if job is not here:
                    job.stop(Interruption)
            if not self._running:
                os._exit(0)
            if here is not None:
                here.stopped = Interruption
        if here is not None and here.stopped is not None and here.inside:
            raise here.stopped


def main() -> None:
    """Set the process up, then work."""
    channel_fd, life_fd, permits_fd, outbox_fd = descriptors = [int(number) for number in sys.argv[1:5]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    life = socket.socket(fileno=life_fd)
    _die_with_node()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = wire.Channel(socket.socket(fileno=channel_fd), wire.ToWorker)
    setup = channel.receive()
    if not isinstance(setup, wire.Setup):
        return
    place = Database(setup.address, Path(setup.files))
    if not paths.try_lock(place.files, setup.slot):
        raise SystemExit("the place of this worker is taken")
    sys.path[:] = [*setup.program.sys_path, *(path for path in sys.path if path not in setup.program.sys_path)]
    database = Active(
        None,
        "normal",
        max_payload=setup.max_payload,
        ring=partial(_wake, channel),
        look=partial(look, place.files),
        opener=partial(open_store, place),  # to load a driver takes as long as all else here; few tasks need it
    )
    become_worker(database)
    ends = Ends(channel, Outbox(outbox_fd))
    os.close(outbox_fd)
    worker = Worker(channel, Taker(permits_fd), ends, setup, lambda: database.store)
    threading.Thread(target=_listen, args=(life, worker.stop), name="autocron-life", daemon=True).start()
    worker.work()
    _flush()
    # Threads that tasks have left running must not keep the process.
    os._exit(0)


def _wake(channel: wire.Channel) -> bool:
    with contextlib.suppress(OSError):  # the node is gone, and so is this worker in a moment
        channel.send(wire.Wake())
        return True
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib.suppress takes twice as long, and each job comes here)
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a task may have closed or replaced it; that is no reason to lose an outcome


def _die_with_node() -> None:
    """Have the kernel end this process with the node, where it can."""
    node = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != node:
            os._exit(0)


def _listen(life: socket.socket, stop: Callable[[wire.Stop], None]) -> None:
    """Hear what the node says while jobs run; end when it ends."""
    reader = wire.FrameReader(wire.Stop)
    while data := life.recv(4096):
        for message in reader.feed(data):
            stop(message)
    os._exit(0)


def _before_each_job(program: wire.Program) -> tuple[Callable[[], None], Callable[[], Awaitable[None]]]:
    """Django drops database connections that have timed out at each request; a job is one too."""

    async def nothing() -> None:
        pass

    if not program.django_settings:
        return lambda: None, nothing
    close: Callable[[], None] = importlib.import_module("django.db").close_old_connections
    # Django keeps the connections of coroutines in a thread of its own.
    aclose: Callable[[], Awaitable[None]] = importlib.import_module("asgiref.sync").sync_to_async(close)
    return close, aclose


if __name__ == "__main__":
    main()
