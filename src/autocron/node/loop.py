"""The node's loop: it waits for sockets, processes and time, and carries out what the pure parts decide.

Nothing here blocks: the store thread runs the SQL, and every socket is read and written without waiting.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from autocron import wire
from autocron.clock import Clock
from autocron.codec import encode_call
from autocron.errors import BadSetting, StoreError, StoreGone
from autocron.model import Claim, NewJob, NodeLost, Outcome, Run, Settings, StoredSchedule, Transition
from autocron.names import new_uuid
from autocron.node import program as programs
from autocron.node.apps import AppConnection
from autocron.node.audience import Audience
from autocron.node.crew import Crew
from autocron.node.ending import Ending, Step
from autocron.node.output import OutputLog
from autocron.node.schedule import Firing, Planner
from autocron.node.storage import MaintenanceThread, StoreThread
from autocron.node.summary import summary
from autocron.retry import decide, fail_instead
from autocron.store.base import Exchange, Store

TICK = 1.0  # seconds; the longest sleep, so that a step of the clock is seen
FIRST_APP_WAIT = 10.0  # seconds that a new node waits for the application that spawned it
RETRY_DELAY = 0.5  # seconds until the store is tried again after an error
MAX_CLAIMS = 512
WORKER_POLL = 0.05  # seconds; only where the system does not tell that a process has ended
EMPTY_CALL = encode_call((), {})


class Read(msgspec.Struct, frozen=True):
    """What the store says about how to run."""

    settings: Settings | BadSetting
    schedules: list[StoredSchedule]
    modules: list[str]


class Recovered(msgspec.Struct, frozen=True):
    """What was made of the jobs of a node that is no more, and what its applications were."""

    lost: list[Transition]
    unstorable: dict[str, str]
    parked: list[str]
    modules: list[str]


class Node:
    """One node. run() returns when its work is over."""

    def __init__(
        self, listener: socket.socket, store: Store, maintenance_store: Store, database: Path, clock: Clock
    ) -> None:
        self._clock = clock
        self._database = database
        self._started_at = clock.now()
        self._selector = selectors.DefaultSelector()
        self._log_file = OutputLog(database)
        self._audience = Audience(listener, self._selector, self._log_file, self._handle, self._app_gone)
        self._crew = Crew(self._selector, database, clock, self)
        self._planner = Planner()
        self._settings = Settings()
        self._bad_setting = ""  # the complaint about one that cannot be used
        self._program: wire.Program | None = None
        self._known_modules: list[str] = []
        self._foreground = False
        self._ending = Ending()
        self._stop_requests = 0  # by signals
        self._no_app_since: float | None = clock.monotonic() + FIRST_APP_WAIT
        self._transitions: list[Transition] = []
        self._failed_instead: set[str] = set()  # jobs whose outcome the store did not take
        self._exchanging = False
        self._recovering = False
        self._recovered = False
        self._look = True  # there may be jobs that are due
        self._next_due: float | None = None
        self._store_failing = False
        self._abandoned = False
        self._undeclared: list[tuple[wire.Report, Callable[[], None]]] = []
        self._import_errors: set[tuple[str, str]] = set()
        self._not_before = 0.0  # the store is not tried again before
        self._asked: list[str] = []  # somebody waits for these jobs, which may have come to their end
        self._next_tick = clock.monotonic() + TICK
        self._told: object = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._store = StoreThread(store, self.wake)
        self._maintenance = MaintenanceThread(maintenance_store, database, clock, self._maintenance_says)

    # Life

    def wake(self) -> None:
        """Make the loop look; may be called from any thread and from a signal handler."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(b"\0")

    def serve(self, program: wire.Program) -> None:
        """Work for this program until a signal comes, applications or not."""
        self._foreground = self._audience.on_terminal = True
        self._no_app_since = None
        self._adopt(program, alone=True)

    def request_stop(self) -> None:
        """Drain and end; a second request ends the grace. May be called from a signal handler."""
        self._stop_requests += 1
        self.wake()

    def run(self) -> None:
        """Work until nobody needs this node any more."""
        while not self._is_over():
            for key, _ in self._selector.select(self._sleep()):
                # An event before this one may have closed the descriptor; its number may belong to another by now.
                if current := self._selector.get_map().get(key.fileobj):
                    current.data()
            self._store.complete()
            self._advance()
        self._maintenance.close()
        self._store.close()
        self._log_file.close()

    def close_connections(self) -> None:
        """Tell the applications that all is over, by ending their streams; the very last thing."""
        self._audience.close()

    def _is_over(self) -> bool:
        if not self._ending.finishing or not self._crew.gone:
            return False
        # With a database that fails until the end, the next node finds the jobs as lost with this one.
        gave_up = self._store_failing and self._ending.out_of_time
        return gave_up or (not self._transitions and not self._exchanging)

    def _sleep(self) -> float:
        """Say for how many seconds nothing needs to be done unless something happens."""
        now, wall = self._clock.monotonic(), self._clock.now()
        moments = [self._next_tick, *self._crew.next_look(now)]
        moments += [moment for moment in (self._ending.until, self._linger_end()) if moment is not None]
        if self._not_before > now:
            moments.append(self._not_before)
        elif self._ending.running:
            moments += [moment - wall + now for moment in self._due_moments()]
        if self._crew.must_be_polled:
            moments.append(now + WORKER_POLL)
        return max(0.0, min(moments) - now)

    def _due_moments(self) -> list[float]:
        slot = self._planner.next_slot()
        moments = [slot[0]] if slot else []
        if self._next_due is not None and self._crew.room():
            moments.append(self._next_due)
        return moments

    def _linger_end(self) -> float | None:
        if self._no_app_since is None or not self._ending.running:
            return None
        return self._no_app_since + self._settings.linger

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def _advance(self) -> None:
        """Carry out whatever is to be done now."""
        now = self._clock.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._store.submit(_look_around, self._looked_around)
            self._crew.bury()
        elif self._crew.must_be_polled:
            self._crew.bury()
        self._look_for_the_end(now)
        if self._ending.running:
            self._work(now)
        else:
            self._end_work(now)
        self._exchange(now)
        self._ask_about_awaited()

    def _look_for_the_end(self, now: float) -> None:
        linger_end = self._linger_end()
        if linger_end is not None and now >= linger_end:
            self._drain(self._settings.grace)
        while self._stop_requests:
            self._stop_requests -= 1
            self._drain(self._settings.grace if self._ending.running else 0.0, final=True)

    def _work(self, now: float) -> None:
        if now >= self._not_before:
            self._use_store()
        if not self._recovered:
            return
        if self._program is not None:
            modules = [*dict.fromkeys([*self._program.modules, *self._known_modules])]
            self._crew.man(msgspec.structs.replace(self._program, modules=modules), self._settings)
        self._crew.send_jobs(now)

    def _use_store(self) -> None:
        if not self._recovered:
            self._recover()
            return
        undeclared, self._undeclared = self._undeclared, []
        for report, make_ready in undeclared:
            self._declare(report, make_ready)
        for firing in self._planner.due(self._clock.now()):
            self._fire(firing)

    # Applications

    def _handle(self, app: AppConnection, message: wire.FromApp) -> None:
        match message:
            case wire.Wake():
                self.woken()
            case wire.Look():
                self._store.submit(_read, self._looked_around)
            case wire.Hello():
                self._hello(app, message)
            case wire.Declare(program=program):
                if app.accepted:
                    self._adopt(program, alone=False)
            case wire.Subscribe(uuid=uuid):
                self._audience.subscribe(app, uuid)
                self._asked.append(uuid)
            case wire.Unsubscribe(uuid=uuid):
                self._audience.unsubscribe(app, uuid)
            case wire.Bye(now=at_once):
                self._bye(app, at_once=at_once)
            case wire.AskStatus():
                self._audience.send(app, self._status())

    def _hello(self, app: AppConnection, hello: wire.Hello) -> None:
        app.hello = hello
        alone = not self._audience.apps and not self._foreground
        if not alone and self._program and programs.is_foreign(self._program, hello.program):
            self._audience.send(app, wire.Welcome(os.getpid(), self._refusal(self._program, hello.program)))
            return
        app.accepted = True
        self._no_app_since = None
        if self._ending.resume():
            self._resume()
        changed = programs.changed_sources(self._crew.sources)
        self._adopt(hello.program, alone=alone, renew=bool(changed))
        self._audience.send(app, wire.Welcome(os.getpid()))
        self._look = True
        self._store.submit(_read, self._looked_around)

    def _refusal(self, ours: wire.Program, theirs: wire.Program) -> str:
        return (
            f"another program, in {ours.cwd}, works on {self._database}; its workers cannot run the tasks of"
            f" {theirs.cwd}: give each program a database of its own"
        )

    def _adopt(self, new: wire.Program, *, alone: bool, renew: bool = False) -> None:
        """Take over what an application says about the program."""
        old = self._program
        self._program = program = programs.merge(old, new, alone=alone)
        if old is None:
            return
        if renew or programs.needs_new_workers(old, program):
            self._renew()
            return
        modules = [name for name in program.modules if name not in old.modules]
        main = program.main if program.main != old.main else None
        if modules or main:
            self._crew.import_more(modules, main)

    def _renew(self) -> None:
        self._import_errors.clear()
        self._crew.renew()

    def _bye(self, app: AppConnection, *, at_once: bool) -> None:
        app.leaving = True
        if self._foreground or any(not other.leaving for other in self._audience.apps):
            self._audience.send(app, wire.Farewell())
        else:
            self._drain(0.0 if at_once else self._settings.grace)

    def _app_gone(self, app: AppConnection) -> None:
        self._look = True  # its last wake-up may have been lost with it
        if not app.accepted or self._audience.apps or self._foreground:
            return
        self._no_app_since = self._clock.monotonic()
        for refused in self._audience.refused[:1]:
            assert refused.hello is not None
            self._hello(refused, refused.hello)

    def _status(self) -> wire.Status:
        pids, workers = self._audience.pids(), self._crew.status()
        return wire.Status(os.getpid(), self._started_at, self._ending.phase.value, pids, workers)

    # What the crew tells

    def woken(self) -> None:
        """There may be something to do."""
        self._look = True
        self._maintenance.touched()

    def show(self, stream: int, data: bytes) -> None:
        """Show what a task has printed."""
        self._audience.show(stream, data)

    def log(self, level: int, text: str) -> None:
        """Say something in an application's log."""
        self._audience.log(level, text)

    def settle(self, claim: Claim, outcome: Outcome, started_at: float, finished_at: float) -> None:
        """Decide what becomes of a job and have it stored."""
        self._transitions.append(decide(Run(claim, outcome, started_at, finished_at), self._settings))

    def reported(self, report: wire.Report, make_ready: Callable[[], None]) -> None:
        """Store what a worker has found; when that is done, it gets jobs."""
        for module, error in report.errors.items():
            if (module, error) not in self._import_errors:  # each worker says so
                self._import_errors.add((module, error))
                self.log(logging.ERROR, f"the worker could not import {module}, its tasks cannot run:\n{error}")
        self._undeclared.append((report, make_ready))

    def _declare(self, report: wire.Report, make_ready: Callable[[], None]) -> None:
        now = self._clock.now()

        def declare(store: Store) -> Read:
            store.declare(report.schedules, report.imported, report.missing, report.tasks, now)
            return _read(store)

        def declared(result: Read | StoreError) -> None:
            self._looked_around(result)
            if isinstance(result, StoreError):
                self._undeclared.append((report, make_ready))
                return
            make_ready()
            self._tell_what_is_on()

        self._store.submit(declare, declared)

    def _tell_what_is_on(self) -> None:
        declarations = self._planner.declarations
        state = (self._crew.generation, self._settings.workers, [one.name for one in declarations])
        if state == self._told or not self._crew.is_complete:
            return
        self._told = state
        text, hints = summary(self._settings.workers, declarations, self._planner.next_slot(), self._clock.now())
        self.log(logging.INFO, f"{text}, database {self._database}")
        for hint in hints:
            self.log(logging.WARNING, hint)

    # The store

    def _exchange(self, now: float) -> None:
        """Store what has ended and claim what is due, one transaction at a time."""
        if self._exchanging or not self._recovered or now < self._not_before:
            return
        count = self._wanted_claims()
        if not count and not self._transitions:
            return
        transitions, self._transitions = self._transitions, []
        self._look = self._look and not count
        self._exchanging = True
        wall = self._clock.now()
        self._store.submit(
            lambda store: store.exchange(transitions, count, wall),
            lambda result: self._exchanged(transitions, count, result),
        )

    def _wanted_claims(self) -> int:
        if not self._ending.running:
            return 0
        due = self._look or (self._next_due is not None and self._next_due <= self._clock.now())
        return min(MAX_CLAIMS, self._crew.room()) if due else 0

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
        self._crew.take(result.claims)
        if self._ending.running:
            self._crew.send_jobs(self._clock.monotonic())
        else:
            self._crew.give_up_waiting()
        for uuid in result.refused:
            self.log(logging.WARNING, f"a late outcome of job {uuid} was refused by the database")
        if result.unstorable or result.parked:
            self._bad_rows(transitions, result)
        self._asked += self._audience.awaited(transition.uuid for transition in transitions)

    def _bad_rows(self, transitions: list[Transition], result: Exchange | Recovered) -> None:
        """Let the jobs fail whose outcome the store does not take, or report them if it does not take that either."""
        for text in result.parked:
            self.log(logging.ERROR, text)
        for transition in transitions:
            uuid, why = transition.uuid, result.unstorable.get(transition.uuid)
            if why and uuid in self._failed_instead:
                self.log(logging.ERROR, f"job {uuid} stays as running until the next node starts: {why}")
            elif why:
                self.log(logging.ERROR, f"the outcome of job {uuid} could not be stored, so it fails: {why}")
                self._failed_instead.add(uuid)
                self._transitions.append(fail_instead(transition, why, self._clock.now(), self._settings))

    def _store_failed(self, error: StoreError) -> None:
        self._not_before = self._clock.monotonic() + RETRY_DELAY
        if not self._store_failing:
            self._store_failing = True
            self.log(logging.ERROR, f"the database cannot be used now, this is tried again: {error}")
        if isinstance(error, StoreGone):
            self._abandon()

    def _store_works(self) -> None:
        if self._store_failing:
            self._store_failing = False
            self.log(logging.WARNING, "the database can be used again")

    def _maintenance_says(self, level: int, text: str) -> None:
        self._store.submit(lambda _: None, lambda _: self.log(level, text))

    def _ask_about_awaited(self) -> None:
        if self._asked:
            asked, self._asked = self._asked, []
            self._store.submit(lambda store: store.final_among(asked), self._tell_done)

    def _tell_done(self, uuids: set[str] | StoreError) -> None:
        if not isinstance(uuids, StoreError):  # those who wait look for themselves each second
            self._audience.tell_done(uuids)

    def _recover(self) -> None:
        if not self._recovering:
            self._recovering = True
            self._store.submit(_recover, self._recovered_from)

    def _recovered_from(self, result: Recovered | StoreError) -> None:
        self._recovering = False
        if isinstance(result, StoreError):
            self._store_failed(result)
            return
        self._store_works()
        self._recovered = True
        self._known_modules = result.modules
        self._bad_rows(result.lost, result)
        self._store.submit(_read, self._looked_around)
        if lost := len(result.lost):
            self.log(logging.WARNING, f"{lost} jobs that a node held when it died are queued again")

    def _looked_around(self, result: Read | StoreError | None) -> None:
        if isinstance(result, StoreError):
            self._store_failed(result)
            return
        if result is None:
            return
        self._set(result.settings)
        for complaint in self._planner.load(result.schedules):
            self.log(logging.ERROR, complaint)
        self._look = True
        self._asked += self._audience.all_awaited
        if self._settings.locked and self._ending.running:
            self.log(logging.WARNING, "the autocron lock is on: the node ends, delayed calls run in their callers")
            self._drain(self._settings.grace)

    def _set(self, settings: Settings | BadSetting) -> None:
        before, self._bad_setting = self._bad_setting, str(settings) if isinstance(settings, BadSetting) else ""
        if isinstance(settings, Settings):
            self._settings = settings
        elif self._bad_setting != before:
            self.log(logging.ERROR, f"{settings}. Until then this node works with the settings that it had before")

    def _fire(self, firing: Firing) -> None:
        name, now = firing.declaration.name, self._clock.now()
        jobs = [(slot, NewJob(new_uuid(), firing.declaration.task, EMPTY_CALL, slot, now)) for slot in firing.slots]

        def done(fired: bool | StoreError | None) -> None:
            self._planner.settled(name)
            if isinstance(fired, StoreError):
                self._store_failed(fired)
                self._store.submit(_read, self._looked_around)
            elif fired is False and jobs and self._crew.is_complete:
                self.log(logging.INFO, f"{name} was due, but its last run is not over: skipped")
            self._look = True

        self._store.submit(lambda store: store.fire(name, firing.cursor, jobs, alone=firing.alone), done)

    # The end

    def _drain(self, grace: float, *, final: bool = False) -> None:
        """Begin to end: claim nothing more, give back what was not begun, let running jobs finish for the grace."""
        if self._ending.begin(self._clock.monotonic(), grace, final=final):
            self._crew.give_up_waiting()

    def _resume(self) -> None:
        """An application has come back while the node drained."""
        self._renew()
        for app in self._audience.apps:
            if app.leaving:
                self._audience.send(app, wire.Farewell())

    def _abandon(self) -> None:
        """The database is not there any more: end at once, there is nothing left to store to."""
        self._abandoned = True
        self._crew.kill()
        self._ending.abandon()

    def _end_work(self, now: float) -> None:
        """Take the next step of the orderly end."""
        idle = self._crew.idle and not self._exchanging
        match self._ending.step(now, idle=idle, gone=self._crew.gone):
            case Step.INTERRUPT:
                self._crew.interrupt()
            case Step.KILL:
                self._crew.kill()
            case Step.FINISH:
                self._crew.finish()
            case None:
                pass
        if self._abandoned:
            self._transitions.clear()


def _recover(store: Store) -> Recovered:
    """Queue the jobs of a node that is no more again."""
    settings, unstorable = _settings(store), dict[str, str]()
    settings = settings if isinstance(settings, Settings) else Settings()
    claims, parked = store.recover()
    lost = [decide(Run(claim, NodeLost(), claim.claimed_at, claim.claimed_at), settings) for claim in claims]
    for start in range(0, len(lost), MAX_CLAIMS):
        unstorable |= store.exchange(lost[start : start + MAX_CLAIMS], 0, 0.0).unstorable
    return Recovered(lost, unstorable, parked, store.modules())


def _read(store: Store) -> Read:
    return Read(_settings(store), store.schedules(), store.modules())


def _settings(store: Store) -> Settings | BadSetting:
    try:
        return store.settings()
    except BadSetting as error:
        return error


def _look_around(store: Store) -> Read | None:
    """Are the files still there, and has somebody else changed something?"""
    store.check()
    return _read(store) if store.changed() else None


def install_signals(node: Node) -> None:
    """Make SIGTERM and SIGINT stop the node in order; the hang-up of a terminal is nothing to it."""

    def stop(*_: object) -> None:
        node.request_stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
