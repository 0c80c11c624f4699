"""The node's loop: it waits for sockets, processes and time, and carries out what the pure parts decide.

Nothing here blocks: the store thread runs the SQL, and every socket is read and written without waiting.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
from collections import defaultdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from autocron import wire
from autocron.clock import Clock
from autocron.codec import encode_call
from autocron.errors import StoreError, StoreGone
from autocron.model import (
    Claim,
    Crashed,
    Interrupted,
    NewJob,
    NodeLost,
    NotBegun,
    Outcome,
    Run,
    Settings,
    StoredSchedule,
    Transition,
    Unrunnable,
)
from autocron.names import new_uuid
from autocron.node import program as programs
from autocron.node.apps import AppConnection, is_own_user
from autocron.node.dispatch import Dispatcher
from autocron.node.fleet import Fleet, WorkerState
from autocron.node.output import OutputLog
from autocron.node.process import WorkerProcess
from autocron.node.schedule import Firing, Planner
from autocron.node.storage import MaintenanceThread, StoreThread
from autocron.node.summary import summary
from autocron.retry import decide
from autocron.store.base import Exchange, Store
from autocron.store.paths import FIRST_WORKER_BYTE

TICK = 1.0  # seconds; the longest sleep, so that a step of the clock is seen
FIRST_APP_WAIT = 10.0  # seconds that a new node waits for the application that spawned it
ASK_TIME = 1.0  # seconds between asking a job to stop and killing its worker
RETRY_DELAY = 0.5  # seconds until the store is tried again after an error
MAX_CLAIMS = 512
WORKER_POLL = 0.05  # seconds; only where the system has no pidfd
EMPTY_CALL = encode_call((), {})


class Phase(StrEnum):
    """What the node is doing."""

    RUNNING = "running"
    DRAINING = "draining"  # claims nothing more; running jobs may finish
    ASKING = "asking"  # running jobs were asked to stop
    KILLING = "killing"  # their workers were killed
    FINISHING = "finishing"  # all that is left is to tell the store


class Node:
    """One node. run() returns when its work is over."""

    def __init__(
        self, listener: socket.socket, store: Store, maintenance_store: Store, database: Path, clock: Clock
    ) -> None:
        self._clock = clock
        self._database = database
        self._started_at = clock.now()
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._apps: set[AppConnection] = set()
        self._workers: dict[int, WorkerProcess] = {}
        self._numbers = 0
        self._dispatcher = Dispatcher()
        self._fleet = Fleet()
        self._planner = Planner()
        self._settings = Settings()
        self._program: wire.Program | None = None
        self._known_modules: list[str] = []
        self._foreground = False
        self._sources: dict[str, float] = {}
        self._phase = Phase.RUNNING
        self._phase_until: float | None = None
        self._no_app_since: float | None = clock.monotonic() + FIRST_APP_WAIT
        self._transitions: list[Transition] = []
        self._exchanging = False
        self._recovered = False
        self._look = True
        self._next_due: float | None = None
        self._not_before = 0.0
        self._subscribers: dict[str, set[AppConnection]] = defaultdict(set)
        self._asked: list[str] = []
        self._next_tick = clock.monotonic() + TICK
        self._told: tuple[Any, ...] = ()
        self._store_failing = False
        self._log_file = OutputLog(database)
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._store = StoreThread(store, self.wake)
        self._maintenance = MaintenanceThread(maintenance_store, clock, self._report_maintenance)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    # Life

    def wake(self) -> None:
        """Make the loop look; may be called from any thread and from a signal handler."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(b"\0")

    def serve(self, program: wire.Program) -> None:
        """Work for this program until a signal comes, applications or not."""
        self._foreground = True
        self._no_app_since = None
        self._adopt(program)

    def request_stop(self) -> None:
        """Drain and end; a second request ends the grace."""
        self._drain(0.0 if self._phase is not Phase.RUNNING else self._settings.grace)

    def run(self) -> None:
        """Work until nobody needs this node any more."""
        self._store.submit(_recover, self._recovered_from)
        while not self._over():
            for key, _ in self._selector.select(self._sleep()):
                key.data()
            self._store.complete()
            self._advance()
        self._close()

    def _over(self) -> bool:
        return self._phase is Phase.FINISHING and not self._transitions and not self._exchanging and not self._workers

    def _close(self) -> None:
        self._maintenance.close()
        self._store.close()
        self._log_file.close()

    def close_connections(self) -> None:
        """Tell the applications that all is over, by ending their streams; the very last thing."""
        for app in list(self._apps):
            app.close()

    def _sleep(self) -> float:
        now, wall = self._clock.monotonic(), self._clock.now()
        times = [self._next_tick - now]
        for moment in (
            self._dispatcher.next_look(),
            self._fleet.next_look(now),
            self._phase_until,
            self._linger_end(),
            self._not_before if self._not_before > now else None,
        ):
            if moment is not None:
                times.append(moment - now)
        if self._phase is Phase.RUNNING:
            if self._next_due is not None and self._dispatcher.room() and self._not_before <= now:
                times.append(self._next_due - wall)
            slot = self._planner.next_slot()
            if slot:
                times.append(slot[0] - wall)
        if any(worker.pidfd is None for worker in self._workers.values()):
            times.append(WORKER_POLL)
        return max(0.0, min(times))

    def _linger_end(self) -> float | None:
        if self._no_app_since is None or self._phase is not Phase.RUNNING:
            return None
        return self._no_app_since + self._settings.linger

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def _advance(self) -> None:
        """Carry out whatever is to be done now."""
        now = self._clock.monotonic()
        if now >= self._next_tick:
            self._tick(now)
        linger_end = self._linger_end()
        if linger_end is not None and now >= linger_end:
            self._drain(self._settings.grace)
        self._reap(now)
        if self._phase is Phase.RUNNING:
            self._fire_schedules()
            self._take_back_waiting(now)
            self._run_fleet(now)
        else:
            self._end_work(now)
        self._send_jobs(now)
        self._exchange(now)
        self._ask_about_subscriptions()

    def _tick(self, now: float) -> None:
        self._next_tick = now + TICK
        self._store.submit(_look_around, self._looked_around)
        for app in list(self._apps):
            self._watch_writes(app)
        self._bury()

    def _bury(self) -> None:
        """Reap what dead workers have left to this node."""
        own = {worker.pid for worker in self._workers.values()}
        with contextlib.suppress(ChildProcessError):
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid in own:
                    return  # it is reaped where its end is handled
                os.waitpid(dead.si_pid, 0)

    # Applications

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if not is_own_user(sock):
                self._log(logging.ERROR, "a process of another user tried to connect to this node and was refused")
                sock.close()
                return
            app = AppConnection(sock)
            self._apps.add(app)
            self._selector.register(app, selectors.EVENT_READ, lambda: self._from_app(app))

    def _from_app(self, app: AppConnection) -> None:
        try:
            messages = app.receive()
        except wire.WireError:
            messages = None
        if messages is None:
            self._app_gone(app)
            return
        for message in messages:
            self._handle(app, message)
        app.flush()
        self._watch_writes(app)

    def _watch_writes(self, app: AppConnection) -> None:
        if app not in self._apps:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if app.wants_to_write else 0)
        self._selector.modify(app, events, lambda: self._from_app(app))

    def _handle(self, app: AppConnection, message: wire.FromApp) -> None:
        match message:
            case wire.Wake():
                self._look = True
                self._maintenance.touched()
            case wire.Hello():
                self._hello(app, message)
            case wire.Declare(program=program):
                if app.accepted and self._program:
                    self._declare(program)
            case wire.Subscribe(uuid=uuid):
                self._subscribers[uuid].add(app)
                self._asked.append(uuid)
            case wire.Unsubscribe(uuid=uuid):
                self._subscribers[uuid].discard(app)
            case wire.Bye(now=at_once):
                self._bye(app, at_once=at_once)
            case wire.AskStatus():
                app.send(self._status())

    def _hello(self, app: AppConnection, hello: wire.Hello) -> None:
        others = self._program_apps()
        foreign = bool(others or self._foreground) and self._program is not None
        if foreign and self._program and programs.is_foreign(self._program, hello.program):
            app.hello = hello
            app.send(
                wire.Welcome(
                    os.getpid(),
                    f"another program in {self._program.cwd} works on {self._database}; jobs are stored, but its"
                    f" workers cannot run those of {hello.program.cwd}: give each program a database of its own",
                )
            )
            return
        app.hello, app.accepted = hello, True
        self._no_app_since = None
        if self._phase in (Phase.DRAINING, Phase.ASKING):
            self._resume()
        self._adopt(hello.program)
        app.send(wire.Welcome(os.getpid()))
        self._look = True
        self._store.submit(_read_all, self._looked_around)

    def _adopt(self, new: wire.Program) -> None:
        old = self._program
        self._program = programs.merge(old, new, alone=not self._program_apps_but_newest())
        if old is None:
            return
        changed = programs.changed_sources(self._sources)
        if changed or programs.needs_new_workers(old, self._program):
            self._renew()
        else:
            self._import_more(old)

    def _declare(self, program: wire.Program) -> None:
        old = self._program
        assert old is not None
        self._program = programs.merge(old, program, alone=False)
        self._import_more(old)

    def _import_more(self, old: wire.Program) -> None:
        assert self._program is not None
        modules = [name for name in self._program.modules if name not in old.modules]
        main = self._program.main if self._program.main != old.main else None
        if modules or main:
            for worker in self._workers.values():
                worker.try_send(wire.Import(modules, main))

    def _program_apps(self) -> list[AppConnection]:
        return [app for app in self._apps if app.accepted]

    def _program_apps_but_newest(self) -> bool:
        return len(self._program_apps()) > 1 or self._foreground

    def _bye(self, app: AppConnection, *, at_once: bool) -> None:
        app.leaving = True
        if any(not other.leaving for other in self._program_apps()) or self._foreground:
            app.send(wire.Farewell())
            return
        self._drain(0.0 if at_once else self._settings.grace)

    def _app_gone(self, app: AppConnection) -> None:
        self._selector.unregister(app)
        self._apps.discard(app)
        app.close()
        self._look = True  # its last wake-up may have been lost with it
        for uuid in [uuid for uuid, apps in self._subscribers.items() if app in apps]:
            self._subscribers[uuid].discard(app)
        if app.accepted and not self._program_apps() and not self._foreground:
            self._no_app_since = self._clock.monotonic()
            self._offer_to_refused()

    def _offer_to_refused(self) -> None:
        refused = [app for app in self._apps if app.hello and not app.accepted]
        if refused:
            hello = refused[0].hello
            assert hello is not None
            self._hello(refused[0], hello)

    def _status(self) -> wire.Status:
        workers = [
            wire.WorkerStatus(
                worker.pid,
                self._fleet.members[number].state.value,
                [claim.uuid for claim in self._dispatcher.jobs_of(number)],
            )
            for number, worker in self._workers.items()
        ]
        applications = [app.hello.pid for app in self._apps if app.hello]
        return wire.Status(os.getpid(), self._started_at, self._phase.value, applications, workers)

    def _log(self, level: int, text: str) -> None:
        self._to_an_app(wire.Log(level, text), f"{logging.getLevelName(level)} {text}\n".encode())

    def _report_maintenance(self, text: str) -> None:
        self._store.submit(lambda _: None, lambda _: self._log(logging.ERROR, text))

    def _to_an_app(self, message: wire.Log | wire.Output, plain: bytes) -> None:
        for app in self._apps:
            if app.accepted and not self._foreground:
                app.send(message)
                self._watch_writes(app)
                return
        if self._foreground:
            with contextlib.suppress(OSError):
                os.write(message.stream if isinstance(message, wire.Output) else 2, plain)
            return
        self._log_file.write(plain)

    # Workers

    def _run_fleet(self, now: float) -> None:
        if self._program is None or not self._recovered:
            return
        self._fleet.wanted = self._settings.workers
        plan = self._fleet.plan(now, lambda number: bool(self._dispatcher.jobs_of(number)))
        for number in plan.retire:
            self._dispatcher.close(number)
            self._take_back(number)
        for number in plan.stop:
            self._workers[number].finish()
        for _ in range(plan.spawn):
            self._spawn()

    def _renew(self) -> None:
        self._fleet.renew()
        self._sources = {}

    def _spawn(self) -> None:
        assert self._program is not None
        modules = [*dict.fromkeys([*self._program.modules, *self._known_modules])]
        program = msgspec.structs.replace(self._program, modules=modules)
        self._numbers += 1
        taken = {worker.slot for worker in self._workers.values()}
        slot = next(slot for slot in range(FIRST_WORKER_BYTE, FIRST_WORKER_BYTE + len(taken) + 1) if slot not in taken)
        setup = wire.Setup(program, str(self._database), slot, self._settings.max_payload)
        try:
            worker = WorkerProcess(self._numbers, slot, self._fleet.generation, setup)
        except OSError as error:
            self._log(logging.ERROR, f"a worker could not be started with {program.python}: {error}")
            self._fleet.spawned(self._numbers)
            self._fleet.gone(self._numbers, self._clock.monotonic())
            return
        self._workers[worker.number] = worker
        self._fleet.spawned(worker.number)
        self._selector.register(worker.channel, selectors.EVENT_READ, lambda: self._from_worker(worker))
        for stream, descriptor in worker.outputs.items():
            self._selector.register(
                descriptor, selectors.EVENT_READ, lambda stream=stream: self._from_output(worker, stream)
            )
        if worker.pidfd is not None:
            self._selector.register(worker.pidfd, selectors.EVENT_READ, lambda: self._worker_ended(worker))

    def _from_worker(self, worker: WorkerProcess) -> None:
        now = self._clock.monotonic()
        messages = worker.receive()
        if not messages:
            self._unwatch(worker.channel)  # the stream has ended; the process tells how
        for message in messages:
            match message:
                case wire.Ended():
                    self._job_ended(worker, message, now)
                case wire.Report():
                    self._reported(worker, message)

    def _from_output(self, worker: WorkerProcess, stream: int) -> None:
        data = worker.read_output(stream)
        if data is None:
            self._unwatch(worker.outputs[stream])
        elif data:
            self._to_an_app(wire.Output(stream, data), data)

    def _job_ended(self, worker: WorkerProcess, ended: wire.Ended, now: float) -> None:
        claim = self._dispatcher.ended(worker.number, ended.uuid, ended.elapsed, now)
        if claim is None or claim.attempt != ended.attempt:
            self._log(logging.WARNING, f"a late outcome of job {ended.uuid} was refused")
            return
        if isinstance(ended.outcome, Unrunnable):
            self._log(
                logging.ERROR,
                f"job {claim.uuid} of {claim.task} is parked: {ended.outcome.reason}."
                " It runs when a version of the code that has it is started",
            )
        self._settle(claim, ended.outcome, ended.started_at, ended.finished_at)

    def _settle(self, claim: Claim, outcome: Outcome, started_at: float, finished_at: float) -> None:
        self._transitions.append(decide(Run(claim, outcome, started_at, finished_at), self._settings))

    def _reported(self, worker: WorkerProcess, report: wire.Report) -> None:
        if worker.generation != self._fleet.generation:
            return
        self._sources.update(report.sources)
        for module, error in report.errors.items():
            self._log(logging.ERROR, f"the worker could not import {module}, its tasks cannot run:\n{error}")
        now = self._clock.now()

        def declare(store: Store) -> tuple[Settings, list[StoredSchedule], list[str]]:
            store.declare(report.schedules, report.imported, report.missing, report.tasks, now)
            return _read_all(store)

        def done(result: tuple[Settings, list[StoredSchedule], list[str]] | StoreError) -> None:
            self._looked_around(result)
            if not isinstance(result, StoreError):
                self._make_ready(worker)

        self._store.submit(declare, done)

    def _make_ready(self, worker: WorkerProcess) -> None:
        member = self._fleet.members.get(worker.number)
        if member and member.state is WorkerState.STARTING:
            self._fleet.ready(worker.number)
            self._dispatcher.add(worker.number)
        self._tell_what_is_on()

    def _tell_what_is_on(self) -> None:
        declarations = self._planner.declarations
        state = (self._fleet.generation, self._settings.workers, [one.name for one in declarations])
        ready = sum(member.state is WorkerState.READY for member in self._fleet.members.values())
        if state == self._told or ready < self._settings.workers:
            return
        self._told = state
        text, hints = summary(self._settings.workers, declarations, self._planner.next_slot(), self._clock.now())
        self._log(logging.INFO, f"{text}, database {self._database}")
        for hint in hints:
            self._log(logging.WARNING, hint)

    def _reap(self, now: float) -> None:
        for worker in list(self._workers.values()):
            if worker.pidfd is None:
                self._worker_ended(worker)

    def _worker_ended(self, worker: WorkerProcess) -> None:
        how = worker.ended()
        if how is None:
            return
        now, wall = self._clock.monotonic(), self._clock.now()
        self._from_worker(worker)
        self._take_back(worker.number)
        for stream in worker.outputs:
            while data := worker.read_output(stream):
                self._to_an_app(wire.Output(stream, data), data)
        for claim in self._dispatcher.remove(worker.number):
            outcome = Interrupted() if worker.asked_to_stop else Crashed(how)
            if not worker.asked_to_stop:
                self._log(logging.ERROR, f"worker {worker.pid} ended ({how}) while it ran {claim.task} {claim.uuid}")
            self._settle(claim, outcome, claim.claimed_at, wall)
        if not worker.asked_to_stop and self._fleet.members[worker.number].state is WorkerState.STARTING:
            self._log(logging.ERROR, f"worker {worker.pid} ended ({how}) before it was ready; a new one is tried")
        self._fleet.gone(worker.number, now)
        del self._workers[worker.number]
        for watched in (worker.channel, worker.pidfd, *worker.outputs.values()):
            self._unwatch(watched)
        worker.close()

    def _unwatch(self, watched: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            if watched is not None:
                self._selector.unregister(watched)

    # Jobs

    def _send_jobs(self, now: float) -> None:
        if self._phase is not Phase.RUNNING:
            for claim in self._dispatcher.empty():
                self._settle(claim, NotBegun(), claim.claimed_at, claim.claimed_at)
            return
        refused: list[tuple[int, Claim]] = []
        for number, claim in self._dispatcher.assign(now):
            if not self._workers[number].try_send(wire.Begin(claim)):
                refused.append((number, claim))
        for number, claim in refused:
            self._dispatcher.put_back(self._dispatcher.took_back(number, [claim.uuid]))

    def _take_back_waiting(self, now: float) -> None:
        for number in self._dispatcher.stuck(now):
            self._take_back(number)

    def _take_back(self, number: int) -> None:
        """Take what the worker has not begun out of its socket; what is no job is sent again."""
        worker = self._workers[number]
        messages = worker.take_back()
        begins = [message.claim.uuid for message in messages if isinstance(message, wire.Begin)]
        self._dispatcher.put_back(self._dispatcher.took_back(number, begins))
        for message in messages:
            if not isinstance(message, wire.Begin):
                worker.try_send(message)

    def _exchange(self, now: float) -> None:
        """Store what has ended and claim what is due, one transaction at a time."""
        if self._exchanging or not self._recovered or now < self._not_before:
            return
        count = self._wanted_claims()
        if not count and not self._transitions:
            return
        transitions, self._transitions = self._transitions, []
        if count:
            self._look = False
        self._exchanging = True
        wall = self._clock.now()
        self._store.submit(
            lambda store: store.exchange(transitions, count, wall),
            lambda result: self._exchanged(transitions, count, result),
        )

    def _wanted_claims(self) -> int:
        if self._phase is not Phase.RUNNING:
            return 0
        due = self._look or (self._next_due is not None and self._next_due <= self._clock.now())
        return min(MAX_CLAIMS, self._dispatcher.room()) if due else 0

    def _exchanged(self, transitions: list[Transition], count: int, result: Exchange | StoreError) -> None:
        self._exchanging = False
        if isinstance(result, StoreError):
            self._transitions[:0] = transitions
            self._look = True
            self._store_failed(result)
            return
        self._store_works()
        self._maintenance.touched()
        self._next_due = result.next_due
        self._look = self._look or len(result.claims) == count > 0
        self._dispatcher.put(result.claims)
        for uuid in result.refused:
            self._log(logging.WARNING, f"a late outcome of job {uuid} was refused by the database")
        for transition in transitions:
            self._notify(transition.uuid)

    def _store_failed(self, error: StoreError) -> None:
        self._not_before = self._clock.monotonic() + RETRY_DELAY
        if not self._store_failing:
            self._store_failing = True
            self._log(logging.ERROR, f"the database cannot be used now, this is tried again: {error}")
        if isinstance(error, StoreGone):
            self._abandon()

    def _store_works(self) -> None:
        if self._store_failing:
            self._store_failing = False
            self._log(logging.WARNING, "the database can be used again")

    def _abandon(self) -> None:
        """The database is not there any more: end at once, there is nothing left to store to."""
        for worker in self._workers.values():
            worker.kill()
        self._phase, self._phase_until = Phase.KILLING, None
        self._transitions = []

    # Waiters

    def _notify(self, uuid: str) -> None:
        if uuid in self._subscribers:
            self._asked.append(uuid)

    def _ask_about_subscriptions(self) -> None:
        if not self._asked:
            return
        asked, self._asked = self._asked, []
        self._store.submit(lambda store: store.final_among(asked), self._tell_done)

    def _tell_done(self, uuids: set[str] | StoreError) -> None:
        if isinstance(uuids, StoreError):
            return  # waiters look for themselves each second
        for uuid in uuids:
            for app in self._subscribers.pop(uuid, ()):
                app.send(wire.Done(uuid))
                self._watch_writes(app)

    # Schedules and what else changes in the store

    def _recovered_from(self, result: tuple[int, list[str]] | StoreError) -> None:
        if isinstance(result, StoreError):
            self._store_failed(result)
            self._store.submit(_recover, self._recovered_from)
            return
        lost, self._known_modules = result
        self._recovered = True
        self._store.submit(_read_all, self._looked_around)
        if lost:
            self._log(logging.WARNING, f"{lost} jobs that a node held when it died are queued again")

    def _looked_around(self, result: tuple[Settings, list[StoredSchedule], list[str]] | StoreError | None) -> None:
        if isinstance(result, StoreError):
            self._store_failed(result)
            return
        if result is None:
            return
        self._settings, schedules, _ = result
        self._planner.load(schedules)
        self._look = True
        self._asked.extend(self._subscribers)
        if self._settings.locked and self._phase is Phase.RUNNING:
            self._log(logging.WARNING, "the autocron lock is on: the node ends, delayed calls run in their callers")
            for app in list(self._apps):
                app.send(wire.Locked())
            self._drain(self._settings.grace)

    def _fire_schedules(self) -> None:
        if not self._recovered or self._now_failing():
            return
        for firing in self._planner.due(self._clock.now()):
            self._fire(firing)

    def _now_failing(self) -> bool:
        return self._clock.monotonic() < self._not_before

    def _fire(self, firing: Firing) -> None:
        name, now = firing.declaration.name, self._clock.now()
        jobs = [(slot, NewJob(new_uuid(), firing.declaration.task, EMPTY_CALL, slot, now)) for slot in firing.slots]

        def done(fired: bool | StoreError | None) -> None:
            if isinstance(fired, StoreError):
                self._store_failed(fired)
                self._store.submit(_read_all, self._looked_around)
            elif fired is False and jobs:
                self._log(logging.INFO, f"{name} was due, but its last run is not over: skipped")
            self._look = True

        self._store.submit(lambda store: store.fire(name, firing.cursor, jobs, alone=firing.alone), done)

    # The end

    def _drain(self, grace: float) -> None:
        if self._phase in (Phase.KILLING, Phase.FINISHING):
            return
        now = self._clock.monotonic()
        if self._phase is Phase.RUNNING:
            for number in list(self._workers):
                self._dispatcher.close(number)
                self._take_back(number)
        self._phase = Phase.DRAINING
        until = now + grace
        self._phase_until = until if self._phase_until is None else min(self._phase_until, until)

    def _resume(self) -> None:
        self._phase, self._phase_until = Phase.RUNNING, None
        self._fleet.renew()

    def _end_work(self, now: float) -> None:
        """One step of the orderly end: grace, then ask, then kill, then finish."""
        over = self._phase_until is not None and now >= self._phase_until
        if self._dispatcher.idle and self._phase in (Phase.DRAINING, Phase.ASKING):
            self._finish(now)
        elif over and self._phase is Phase.DRAINING:
            self._phase, self._phase_until = Phase.ASKING, now + ASK_TIME
            for worker in self._workers.values():
                worker.interrupt()
        elif (over and self._phase is Phase.ASKING) or (over and self._phase is Phase.FINISHING):
            for worker in self._workers.values():
                worker.kill()
            self._phase_until = None
            if self._phase is Phase.ASKING:
                self._phase = Phase.KILLING
        elif self._phase is Phase.KILLING and not self._workers:
            self._finish(now)

    def _finish(self, now: float) -> None:
        self._phase, self._phase_until = Phase.FINISHING, now + ASK_TIME
        for worker in self._workers.values():
            worker.finish()


def _recover(store: Store) -> tuple[int, list[str]]:
    """Queue the jobs of a node that is no more again."""
    lost = 0
    settings = store.settings()
    while claims := store.running(MAX_CLAIMS):
        transitions = [decide(Run(claim, NodeLost(), claim.claimed_at, claim.claimed_at), settings) for claim in claims]
        store.exchange(transitions, 0, 0.0)
        lost += len(claims)
    return lost, store.modules()


def _read_all(store: Store) -> tuple[Settings, list[StoredSchedule], list[str]]:
    return store.settings(), store.schedules(), store.modules()


def _look_around(store: Store) -> tuple[Settings, list[StoredSchedule], list[str]] | None:
    """Are the files still there, and has somebody else changed something?"""
    store.check()
    return _read_all(store) if store.changed() else None


def install_signals(node: Node) -> None:
    """Make SIGTERM and SIGINT stop the node in order; a hang-up of a terminal is nothing to it."""

    def stop(*_: object) -> None:
        node.request_stop()
        node.wake()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
