"""The workers: spawned as the fleet wants them, given the jobs that the dispatcher chooses, buried when they die."""

import contextlib
import logging
import os
import selectors
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from autocron import wire
from autocron.clock import Clock
from autocron.model import (
    CANCELLED,
    Cancelled,
    Claim,
    Crashed,
    CrashedTogether,
    Interrupted,
    News,
    NotBegun,
    Outcome,
    Settings,
    Why,
)
from autocron.node.deadlines import Deadlines
from autocron.node.fleet import Fleet, WorkerState
from autocron.node.lane import Lane
from autocron.node.pools import Pools, pools_of
from autocron.node.process import WorkerProcess
from autocron.node.program import ImportedCode
from autocron.store.paths import FIRST_WORKER_BYTE
from autocron.store.place import Place


class Events(Protocol):
    """What the crew tells the node."""

    def settle(self, claim: Claim, outcome: Outcome, started_at: float, finished_at: float) -> None:
        """A job has an outcome."""

    def reported(self, report: wire.Report, make_ready: Callable[[], None]) -> None:
        """A worker of this generation has imported the program; it gets jobs when `make_ready` is called."""

    def said(self, news: News) -> None:
        """A running job has said something about itself."""

    def woken(self) -> None:
        """A task has stored a call."""

    def show(self, stream: int, data: bytes) -> None:
        """A task has printed something."""

    def log(self, level: int, text: str) -> None:
        """There is something to say."""


class Crew:
    """All workers of this node."""

    def __init__(self, selector: selectors.BaseSelector, place: Place, clock: Clock, events: Events) -> None:
        self._selector = selector
        self._place = place
        self._clock = clock
        self._events = events
        self._workers: dict[int, WorkerProcess] = {}
        self._spawned = 0
        self._dispatcher = Pools()
        self._fleet = Fleet()
        self._deadlines = Deadlines()
        self._shape: tuple[int | None, ...] | None = None  # the settings with which workers were spawned
        self.code = ImportedCode()

    @property
    def gone(self) -> bool:
        """No worker is left."""
        return not self._workers

    @property
    def idle(self) -> bool:
        """No job is with any worker."""
        return self._dispatcher.idle

    @property
    def flooded(self) -> bool:
        """Every worker has plenty of short jobs."""
        return self._dispatcher.flooded

    @property
    def has_unsent(self) -> bool:
        """There are jobs that wait for a worker."""
        return self._dispatcher.has_unsent

    @property
    def generation(self) -> int:
        """Which version of the program the workers run."""
        return self._fleet.generation

    @property
    def is_complete(self) -> bool:
        """All workers that are wanted are at work."""
        members = self._fleet.members.values()
        return sum(member.state is WorkerState.READY for member in members) >= sum(self._fleet.wanted.values())

    @property
    def must_be_polled(self) -> bool:
        """The system does not tell when a worker ends."""
        return any(worker.pidfd is None for worker in self._workers.values())

    def status(self) -> list[wire.WorkerStatus]:
        """Say how each worker is."""
        return [
            wire.WorkerStatus(
                worker.pid,
                self._fleet.members[number].state.value,
                [claim.uuid for claim in self._dispatcher.jobs_of(number)],
                self._fleet.members[number].pool,
            )
            for number, worker in self._workers.items()
        ]

    def next_look(self, now: float) -> list[float]:
        """Say when there will be something to do even if nothing happens."""
        looks = (self._dispatcher.next_look(), self._fleet.next_look(now), self._deadlines.next_look())
        return [moment for moment in looks if moment is not None]

    # Jobs

    def uuids(self) -> set[str]:
        """Give the names of all jobs that are here."""
        return self._dispatcher.uuids()

    def runs(self, uuid: str) -> bool:
        """Is this job with a worker?"""
        return self._dispatcher.worker_of(uuid) is not None

    def room(self) -> dict[str, int]:
        """Say how many jobs of which pools should be claimed now."""
        return self._dispatcher.room()

    def take(self, claims: list[Claim]) -> None:
        """Take over claimed jobs."""
        self._dispatcher.put(claims)

    def send_jobs(self, now: float) -> None:
        """Send jobs to workers; what waits behind a long job is given to others."""
        for number in self._dispatcher.stuck(now):
            self._hear(self._workers[number], to_the_last=True)  # it may have answered while this node was busy
        for number in self._dispatcher.stuck(now):
            self._take_back(number)
        batches = defaultdict[int, list[Claim]](list)
        for number, claim in self._dispatcher.assign(now):
            batches[number].append(claim)
        for number, claims in batches.items():
            if not self._workers[number].begin(claims):
                self._take_back(number)

    def cancel(self, uuid: str, grace: float) -> bool:
        """Let a job stop, or not begin; False if it is not here."""
        number = self._dispatcher.worker_of(uuid)
        if number is not None:
            self._take_back(number)
        if claim := self._dispatcher.withdraw(uuid):
            self._events.settle(claim, Cancelled(CANCELLED), claim.claimed_at, self._clock.now())
        elif number is not None and (claim := self._dispatcher.claim_of(number, uuid)):
            self._stop(number, claim, "cancelled", grace)
        return claim is not None

    def enforce(self, grace: float, now: float) -> None:
        """Stop what runs for too long; end the workers of jobs that do not stop within the grace."""
        for number, claim in self._deadlines.due(now):
            self._stop(number, claim, "timeout", grace)
        for number in self._deadlines.overdue(now):
            if (worker := self._workers.get(number)) and not worker.at_end:
                worker.destroy()

    def _stop(self, number: int, claim: Claim, why: Why, grace: float) -> None:
        if self._deadlines.ask(number, claim, why, grace, self._clock.monotonic()):
            self._workers[number].stop_job(wire.Stop(claim.uuid, claim.attempt, why))

    def give_up_waiting(self) -> None:
        """Give back every job that no worker has begun."""
        for number in self._workers:
            self._dispatcher.close(number)
            self._take_back(number)
        self._give_back(self._dispatcher.empty())

    def _give_back(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._events.settle(claim, NotBegun(), claim.claimed_at, claim.claimed_at)

    def _take_back(self, number: int) -> None:
        """Take back what the worker has not begun."""
        self._dispatcher.put_back(self._dispatcher.took_back(number, self._workers[number].take_back()))

    # Workers

    def man(self, program: wire.Program, settings: Settings) -> None:
        """Spawn what is missing, let go what is too much or of an older generation."""
        self._fleet.wanted = pools_of(settings)
        self._give_back(self._dispatcher.serve(self._fleet.wanted))
        shape = settings.threads, settings.async_jobs, settings.max_jobs, settings.max_memory
        if self._shape not in (None, shape):
            self.renew()
        self._shape = shape
        worn = self._dispatcher.worn()
        for number in worn:
            self._fleet.wear_out(number)
        plan = self._fleet.plan(self._clock.monotonic(), lambda number: bool(self._dispatcher.jobs_of(number)))
        for number in plan.retire:
            self._dispatcher.close(number)
            if number not in worn:
                self._take_back(number)
        for number in plan.stop:
            self._workers[number].finish()
        for pool in plan.spawn:
            self._spawn(program, settings, pool)

    def renew(self) -> None:
        """Replace all workers, each when its job is done; they get no more jobs from now on."""
        self._fleet.renew()
        for number in self._workers:
            self._dispatcher.close(number)
        self._dispatcher.async_tasks.clear()
        self.code.clear()

    def import_more(self, modules: list[str], main: wire.MainModule | None) -> None:
        """Let the workers import more of the program."""
        for number, worker in self._workers.items():
            if not worker.try_send(wire.Import(modules, main)):  # it has not read for long: another one takes its place
                self._fleet.wear_out(number)

    def finish(self) -> None:
        """Let all workers end when they are done."""
        for worker in self._workers.values():
            worker.finish()

    def interrupt(self) -> None:
        """Ask all running jobs to stop."""
        for worker in self._workers.values():
            worker.interrupt()

    def kill(self) -> None:
        """Kill all workers."""
        for worker in self._workers.values():
            worker.kill()

    def _spawn(self, program: wire.Program, settings: Settings, pool: str) -> None:
        self._spawned += 1
        number = self._spawned
        sizes = (settings.max_payload, settings.threads, settings.max_memory)
        setup = wire.Setup(program, self._place.address, str(self._place.files), self._free_slot(), *sizes)
        self._fleet.spawned(number, pool)
        try:
            lane = Lane(settings.threads, settings.async_jobs, settings.max_jobs)
            worker = WorkerProcess(number, lane, self._fleet.generation, self.code.comparisons, setup)
        except OSError as error:
            self._events.log(logging.ERROR, f"a worker could not be started with {program.python}: {error}")
            self._fleet.gone(number, self._clock.monotonic())
            return
        self._workers[number] = worker
        self._watch(worker.channel, lambda: self._hear(worker))
        for stream, descriptor in worker.outputs.items():
            self._watch(descriptor, partial(self._forward_output, worker, stream))
        if worker.pidfd is not None:
            self._watch(worker.pidfd, lambda: self._bury(worker))

    def _free_slot(self) -> int:
        taken = {worker.slot for worker in self._workers.values()}
        return next(slot for slot in range(FIRST_WORKER_BYTE, FIRST_WORKER_BYTE + len(taken) + 1) if slot not in taken)

    def _watch(self, watched: Any, action: Callable[[], None]) -> None:
        self._selector.register(watched, selectors.EVENT_READ, action)

    def _unwatch(self, watched: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            if watched is not None:
                self._selector.unregister(watched)

    def _hear(self, worker: WorkerProcess, *, to_the_last: bool = False) -> None:
        """Take what a worker has sent and, to the last, what it has not sent yet."""
        try:
            self._receive(worker, worker.receive())
            if to_the_last:
                self._receive(worker, worker.look_into_outbox())
        except wire.WireError as error:
            self._events.log(
                logging.ERROR, f"worker {worker.pid} is ended, something else writes to its socket: {error}"
            )
            worker.destroy()
        if worker.at_end:
            self._unwatch(worker.channel)  # the process tells how it ended

    def _receive(self, worker: WorkerProcess, messages: Sequence[wire.FromWorker]) -> None:
        now = self._clock.monotonic()
        for message in messages:
            match message:
                case wire.Ended():
                    self._ended(worker, message, now)
                case wire.Report():
                    self._report(worker, message)
                case wire.Begun(uuid=uuid):
                    if claim := self._dispatcher.claim_of(worker.number, uuid):
                        self._deadlines.begun(worker.number, claim, now)
                case wire.Stopping(uuid=uuid, report=report):
                    self._deadlines.explain(uuid, report)
                case wire.Worn(size=size):
                    self._events.log(logging.INFO, f"worker {worker.pid} has {size >> 20} MiB and is replaced")
                    self._fleet.wear_out(worker.number)
                case wire.Said(news=news):
                    self._events.said(news)
                case wire.Wake():
                    self._events.woken()

    def _ended(self, worker: WorkerProcess, ended: wire.Ended, now: float) -> None:
        claim = self._dispatcher.ended(worker.number, ended.uuid, ended.attempt, ended.elapsed, now)
        if claim is None:
            self._events.log(logging.WARNING, f"a late outcome of job {ended.uuid} was refused")
            return
        outcome = self._deadlines.ended(claim.uuid, ended.outcome)
        self._events.settle(claim, outcome, ended.started_at, ended.finished_at)

    def _report(self, worker: WorkerProcess, report: wire.Report) -> None:
        if worker.generation != self._fleet.generation:
            return
        if self.code.came_late(report, worker.comparisons):
            self.renew()
            return
        worker.comparisons = self.code.comparisons
        self._dispatcher.async_tasks.update(report.async_tasks)
        for module, error in self.code.take(report):
            text = f"the worker could not import {module}, its tasks cannot run:\n{error}"
            self._events.log(logging.ERROR, text)
        self._events.reported(report, lambda: self._make_ready(worker.number))

    def _make_ready(self, number: int) -> None:
        member = self._fleet.members.get(number)
        if member and member.state is WorkerState.STARTING:
            self._fleet.ready(number)
            self._dispatcher.add(number, self._workers[number].lane, member.pool)

    def _forward_output(self, worker: WorkerProcess, stream: int) -> None:
        data = worker.read_output(stream)
        if data is None:
            self._unwatch(worker.outputs[stream])
        elif data:
            self._events.show(stream, data)

    # Ends

    def bury(self) -> None:
        """Look for workers that have ended, and reap what dead ones have left to this node."""
        for worker in list(self._workers.values()):
            self._bury(worker)
        own = {worker.pid for worker in self._workers.values()}
        with contextlib.suppress(ChildProcessError):
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid in own:
                    return  # it ended just now; its own turn comes
                os.waitpid(dead.si_pid, 0)

    def _bury(self, worker: WorkerProcess) -> None:
        how = worker.ended()
        if how is None:
            return
        self._hear(worker, to_the_last=True)
        self._take_back(worker.number)
        for stream in worker.outputs:
            while data := worker.read_output(stream):
                self._events.show(stream, data)
        self._settle_jobs_of(worker, how)
        if not worker.asked_to_stop and self._fleet.members[worker.number].state is WorkerState.STARTING:
            self._events.log(
                logging.ERROR, f"worker {worker.pid} ended ({how}) before it was ready; a new one is tried"
            )
        self._fleet.gone(worker.number, self._clock.monotonic())
        del self._workers[worker.number]
        for watched in (worker.channel, worker.pidfd, *worker.outputs.values()):
            self._unwatch(watched)
        worker.close()

    def _settle_jobs_of(self, worker: WorkerProcess, how: str) -> None:
        """What is left with a dead worker was begun. If that was one job, it is to blame."""
        claims = self._dispatcher.remove(worker.number)
        stopped = {claim.uuid: outcome for claim in claims if (outcome := self._deadlines.lost(claim.uuid))}
        by_node = worker.asked_to_stop or bool(stopped)
        others = Interrupted() if by_node else Crashed(how) if len(claims) == 1 else CrashedTogether(how)
        for claim in claims:
            outcome = stopped.get(claim.uuid, others)
            if not by_node:
                message = f"worker {worker.pid} ended ({how}) while it ran {claim.task} {claim.uuid}"
                self._events.log(logging.ERROR, message)
            if isinstance(outcome, CrashedTogether):
                self._dispatcher.suspect(claim.uuid)
            self._events.settle(claim, outcome, claim.claimed_at, self._clock.now())
