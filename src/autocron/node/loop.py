"""The node's loop: it waits for sockets, processes and time, and carries out what the pure parts decide.

Nothing here blocks: the store thread runs the SQL, and every socket is read and written without waiting.
"""

import contextlib
import logging
import math
import os
import select
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from autocron import wire
from autocron.clock import Clock
from autocron.errors import StoreError
from autocron.model import Finished, Transition
from autocron.node.access import StoreAccess
from autocron.node.applications import Applications
from autocron.node.audience import Audience
from autocron.node.cancelling import Cancelling
from autocron.node.colleagues import Colleagues
from autocron.node.configuration import Configuration
from autocron.node.connection import AppConnection
from autocron.node.crew import Crew
from autocron.node.deploys import Deploys
from autocron.node.doubt import Doubt
from autocron.node.ending import Ending, Step
from autocron.node.exchange import MAX_CLAIMS, Exchanger
from autocron.node.expiry import Expiry
from autocron.node.firing import Scheduler
from autocron.node.output import OutputLog
from autocron.node.pools import pools_of
from autocron.node.program import is_whole, with_known
from autocron.node.recovery import Recovery
from autocron.node.reports import Reports
from autocron.node.schedule import Firing, Planner
from autocron.node.sharing import Sharing
from autocron.node.storage import MaintenanceThread, StoreThread
from autocron.node.summary import summary
from autocron.store.base import Store
from autocron.store.exchange import Exchange
from autocron.store.place import Place
from autocron.store.placing import Fired

if TYPE_CHECKING:
    from autocron.store.postgres_nodes import Membership

TICK = 1.0  # seconds; the longest sleep, so that a step of the clock is seen
REST = 0.0008  # seconds between two looks while all workers have plenty to do
REST_BESIDE_CALLS = 0.003  # the same while applications store calls
REST_BESIDE_STORE = 0.005  # seconds; longer than most exchanges, whose end ends the rest
SYNC_DELAY = 0.01  # seconds between a commit and its fsync
ADVANCE_EVERY = 0.005  # seconds; at the latest, what moves no jobs is done, however many jobs are to be moved
CALLED_LATELY = 0.1  # seconds
CLAIMS_BESIDE_CALLS = 160
WORKER_POLL = 0.05  # seconds; only where the system does not tell that a process has ended


class Node:
    """One node. run() returns when its work is over."""

    def __init__(
        self,
        listener: socket.socket,
        store: Store,
        maintenance_store: Store,
        place: Place,
        clock: Clock,
        *,
        membership: "Membership | None" = None,
    ) -> None:
        self._clock = clock
        self._place = place
        self._started_at = clock.now()
        self._next_tick = clock.monotonic() + TICK
        self._advance_by = 0.0
        self._sync_at = math.inf  # what was committed is synced
        self._ending = Ending()
        self._called_at = -CALLED_LATELY  # when an application has last stored a call
        self._stop_requests = 0  # by signals
        self._asked: list[str] = []  # somebody waits for these jobs, which may have come to their end
        self._calls: deque[Callable[[], None]] = deque()  # from other threads
        self._named = set[str]()  # the modules that were asked for on the command line
        self._told: object = None  # what was on when that was told last
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._forget_wakes)
        self._wakes = select.poll()
        self._wakes.register(self._wake_read, select.POLLIN)
        self._log_file = OutputLog(place.files)
        self._audience = Audience(listener, self._selector, self._log_file, self._handle, self._app_gone)
        self._crew = Crew(self._selector, place, clock, self)
        self._apps = Applications(self._audience, self._crew, self._ending, place, clock)
        self._store_thread = StoreThread(store, self.wake)
        self._maintenance = MaintenanceThread(maintenance_store, place, clock, self._maintenance_says)
        self._store = access = StoreAccess(self._store_thread, clock, self.log, self._abandon)
        self._planner = Planner()
        self._config = config = Configuration(access, self._planner, clock, self.log, self._loaded)
        self._expiry = Expiry(access, config, clock, self.log, self._expired)
        self._exchanger = Exchanger(access, config, clock, self.log, self._exchanged)
        self._doubt = Doubt(access, self._exchanger, self._crew)
        self._recovery = Recovery(access, self._exchanger, config, self.log, clock)
        self._cancelling = Cancelling(access, config, self._crew, clock)
        self._reports = Reports(access, config, clock, self._declared)
        self._deploys = Deploys(access, lambda: self._crew.generation, clock, self.log, self.woken)
        self._scheduler = Scheduler(access, self._planner, config, self.log, self._fired)
        self._sharing = Sharing(self._crew, self._exchanger, self._recovery, self._audience, self._store_thread)
        if membership:
            colleagues = Colleagues(membership, clock, self.call, self.log, self._sharing)
            self._sharing.join(colleagues)
            self._exchanger.work_beside(StoreAccess(colleagues, clock, self.log, self._abandon))
        # These things that the crew tells go straight to those who take them.
        self.settle, self.said, self.reported = self._exchanger.settle, self._exchanger.tell, self._reports.add

    # Life

    def wake(self) -> None:
        """Make the loop look; may be called from any thread and from a signal handler."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(b"\0")

    def call(self, function: Callable[[], None]) -> None:
        """Have the loop call this; may be called from any thread."""
        self._calls.append(function)
        self.wake()

    def serve(self, program: wire.Program) -> None:
        """Work for this program until a signal comes, applications or not."""
        self._audience.on_terminal = True
        self._named = {*program.modules}
        self._apps.serve(program)

    def request_stop(self) -> None:
        """Drain and end; a second request ends the grace. May be called from a signal handler."""
        self._stop_requests += 1
        self.wake()

    def run(self) -> None:
        """Work until nobody needs this node any more."""
        while not self._is_over():
            if self._rest() and self._clock.monotonic() < self._advance_by:
                self._hear(0.0)
            else:
                self._advance()
                self._hear(self._sleep())
                self._advance_by = self._clock.monotonic() + ADVANCE_EVERY
            self._store_thread.complete()
            while self._calls:
                self._calls.popleft()()
            self._move_jobs()
        self._maintenance.close()
        self._sharing.close()
        self._store_thread.close()
        self._log_file.close()

    def _hear(self, timeout: float) -> None:
        """Take what has come, or comes within so many seconds."""
        for key, _ in self._selector.select(timeout):
            # An event before this one may have closed the descriptor; its number may belong to another by now.
            if current := self._selector.get_map().get(key.fileobj):
                current.data()

    def _rest(self) -> bool:
        """Let answers gather: fewer and larger batches cost less, and applications find the database free.

        Returns:
            Somebody waits for this loop: the store, most likely.
        """
        if self._crew.flooded:
            time.sleep(REST_BESIDE_CALLS if self._is_called() else REST)
        elif self._exchanger.under_way and not self._crew.has_unsent:  # nothing can be done with them before that ends
            return bool(self._wakes.poll(REST_BESIDE_STORE * 1000))
        return False

    def _is_called(self) -> bool:
        return self._clock.monotonic() < self._called_at + CALLED_LATELY

    def close_connections(self) -> None:
        """Tell the applications that all is over, by ending their streams; the very last thing."""
        self._audience.close()

    def _is_over(self) -> bool:
        if not self._ending.finishing or not self._crew.gone:
            return False
        # With a database that fails until the end, the next node finds the jobs as lost with this one.
        gave_up = self._store.failing and self._ending.out_of_time
        return gave_up or self._exchanger.idle

    def _sleep(self) -> float:
        """Say for how many seconds nothing needs to be done unless something happens."""
        now, wall = self._clock.monotonic(), self._clock.now()
        moments = [self._next_tick, self._sync_at, *self._crew.next_look(now), *self._sharing.next_look()]
        moments += [moment for moment in (self._ending.until, self._linger_end()) if moment is not None]
        if self._store.not_before > now:
            moments.append(self._store.not_before)
        elif self._ending.running:
            moments += [moment - wall + now for moment in self._due_moments()]
            if self._recovery.done:
                moments += self._deploys.next_look()
        if self._crew.must_be_polled:
            moments.append(now + WORKER_POLL)
        return max(0.0, min(moments) - now)

    def _due_moments(self) -> list[float]:
        slot = self._planner.next_slot()
        moments = [slot[0] - self._config.ahead] if slot else []
        if not self._exchanger.under_way:  # its end wakes the loop; until then there is nothing to do about what is due
            due = (self._exchanger.next_due(pool) for pool in self._crew.room())
            moments += [moment for moment in due if moment is not None]
        if self._expiry.next is not None:
            moments.append(self._expiry.next)
        return moments

    def _linger_end(self) -> float | None:
        if self._apps.none_since is None or not self._ending.running:
            return None
        return self._apps.none_since + self._config.settings.linger

    def _forget_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)

    def _move_jobs(self) -> None:
        """Send what was claimed, store what has ended, claim what is due: the store begins while this loop rests."""
        now = self._clock.monotonic()
        if self._recovery.done:
            if self._ending.running:
                self._crew.send_jobs(now)
            if now >= self._store.not_before:
                self._exchanger.exchange(self._room())

    def _advance(self) -> None:
        """Carry out whatever else is to be done now."""
        now = self._clock.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._config.refresh()
            self._crew.bury()
            if self._config.settings.reload and self._ending.running:
                self._apps.look_for_changes()
        elif self._crew.must_be_polled:
            self._crew.bury()
        self._crew.enforce(self._config.settings.grace, now)
        self._look_for_the_end(now)
        if self._ending.running:
            self._work(now)
        else:
            self._end_work(now)
        self._move_jobs()
        self._ask_about_awaited()
        self._sharing.tell(now, is_working=self._ending.running)
        if now >= self._sync_at:
            self._sync_at = math.inf
            self._maintenance.sync()

    def _work(self, now: float) -> None:
        if now >= self._store.not_before:
            self._use_store()
        if not self._recovery.done:
            return
        if (program := self._apps.program) and self._config.is_known:
            self._crew.man(with_known(program, self._recovery.modules), self._config.settings)

    def _room(self) -> dict[str, int]:
        """Say how many jobs of which pools to claim."""
        if not self._ending.running:
            return {}
        most = CLAIMS_BESIDE_CALLS if self._is_called() else MAX_CLAIMS
        rooms = {pool: room - self._exchanger.wanted(pool) for pool, room in self._crew.room().items()}
        return {pool: min(room, most) for pool, room in rooms.items() if room > 0 and self._exchanger.may_claim(pool)}

    def _use_store(self) -> None:
        if self._recovery.done:
            self._reports.declare()
            self._scheduler.fire_due()
            self._expiry.sweep()
            self._deploys.check()
            self._doubt.settle()
        elif self._sharing.may_work:
            self._recovery.begin()

    # What applications say

    def _handle(self, app: AppConnection, message: wire.FromApp) -> None:
        match message:
            case wire.Wake():
                self._called_at = self._clock.monotonic()
                self.woken()
            case wire.Look():
                self._config.load()
            case wire.Hello():
                if self._apps.hello(app, message):
                    self._look_again()
            case wire.Declare(program=program):
                self._apps.declare(app, program)
            case wire.Subscribe(uuid=uuid):
                self._audience.subscribe(app, uuid)
                self._asked.append(uuid)
                self._sharing.subscribed(uuid, self._clock.monotonic())
            case wire.Unsubscribe(uuid=uuid):
                self._audience.unsubscribe(app, uuid)
            case wire.Bye(now=at_once):
                if self._apps.bye(app):
                    self._drain(0.0 if at_once else self._config.settings.grace)
            case wire.AskStatus():
                self._audience.send(app, self._status())

    def _app_gone(self, app: AppConnection) -> None:
        self._exchanger.look = True  # its last wake-up may have been lost with it
        if self._apps.gone(app):
            self._look_again()

    def _look_again(self) -> None:
        """See what was stored before this application came, without telling this node."""
        self._exchanger.look = True
        self._config.load()

    def _status(self) -> wire.Status:
        pids, workers = self._audience.pids(), self._crew.status()
        return wire.Status(os.getpid(), self._started_at, self._ending.phase.value, pids, workers)

    # What the crew tells

    def woken(self) -> None:
        """There may be something to do."""
        self._exchanger.look = True
        self._sharing.there_may_be_work()
        self._committed()

    def _committed(self) -> None:
        """Something is in the log that is not synced."""
        if self._sync_at == math.inf:
            self._sync_at = self._clock.monotonic() + SYNC_DELAY

    def show(self, stream: int, data: bytes) -> None:
        """Show what a task has printed."""
        self._audience.show(stream, data)

    def log(self, level: int, text: str) -> None:
        """Say something in an application's log."""
        self._audience.log(level, text)

    # What has come from the store

    def _loaded(self, to_stop: list[str]) -> None:
        self._cancelling.ask(to_stop)
        self._exchanger.look = True
        self._expiry.look()
        self._asked += self._audience.all_awaited
        if not self._ending.running:
            return
        if target := self._config.moving_to:
            self.log(logging.WARNING, f"all jobs are being moved to {target}: the node ends")
            self._drain(self._config.settings.grace)
        elif self._config.settings.locked:
            until = "until somebody says `autocron DATABASE set locked off`"
            self.log(logging.WARNING, f"the autocron lock is on: the node ends, and calls run in their callers {until}")
            self._drain(self._config.settings.grace)

    def _exchanged(self, transitions: Sequence[Transition], result: Exchange) -> None:
        self._committed()
        self._cancelling.exchanged(transitions)
        self._crew.take(result.claims)
        if result.may_expire:
            self._expiry.look()
        if self._exchanger.look:
            self._sharing.there_may_be_work()
        self._sharing.ended(result.awaited)
        if not (self._ending.running and self._recovery.done):  # not done any more: others run what was claimed
            self._crew.give_up_waiting()
        unclear = {*result.refused, *result.unstorable}
        final = [one.uuid for one in transitions if isinstance(one, Finished) and one.uuid not in unclear]
        self._audience.tell_done([*final, *result.cancelled])
        self._asked += self._audience.awaited(result.refused)

    def _fired(self, firing: Firing, fired: Fired) -> None:
        if fired is Fired.SKIPPED and firing.slots and self._crew.is_complete:
            self.log(logging.INFO, f"{firing.declaration.name} was due, but its last run is not over: skipped")
        self._exchanger.look = True
        if firing.declaration.expires is not None:
            self._expiry.look()

    def _expired(self, uuids: Iterable[str]) -> None:
        self._committed()
        self._asked += self._audience.awaited(uuids)

    def _declared(self, report: wire.Report) -> None:
        for module in self._named.intersection(report.missing):
            self._named.discard(module)  # each worker says so
            where = "there is no such module in the current folder, nor elsewhere in sys.path"
            self.log(logging.ERROR, f"the worker could not import {module}, its tasks cannot run: {where}")
        if self._apps.program and is_whole(report, self._apps.program):
            self._deploys.reported(report)
        self._sharing.declared(report)
        self._tell_what_is_on()

    def _tell_what_is_on(self) -> None:
        declarations, pools = self._planner.declarations, pools_of(self._config.settings)
        state = (self._crew.generation, pools, [one.name for one in declarations])
        if state == self._told or not self._crew.is_complete:
            return
        self._told = state
        text, hints = summary(pools, declarations, self._planner.next_slot(), self._config.now())
        self.log(logging.INFO, f"{text}, database {self._place}")
        for hint in hints:
            self.log(logging.WARNING, hint)

    def _ask_about_awaited(self) -> None:
        asked, self._asked = self._asked, []
        asked = [uuid for uuid in asked if not self._crew.runs(uuid)]  # those who wait will be told of its end
        asked += self._sharing.take_ended()
        if asked:
            self._store_thread.submit(lambda store: store.final_among(asked), self._tell_done)

    def _tell_done(self, uuids: set[str] | StoreError) -> None:
        if not isinstance(uuids, StoreError):  # those who wait look for themselves each second
            self._audience.tell_done(uuids)

    def _maintenance_says(self, level: int, text: str) -> None:
        self.call(lambda: self.log(level, text))

    # The end

    def _look_for_the_end(self, now: float) -> None:
        linger_end, grace = self._linger_end(), self._config.settings.grace
        if linger_end is not None and now >= linger_end:
            self._drain(grace)
        while self._stop_requests:
            self._stop_requests -= 1
            self._drain(grace if self._ending.running else 0.0, final=True)

    def _drain(self, grace: float, *, final: bool = False) -> None:
        """Begin to end: claim nothing more, give back what was not begun, let running jobs finish for the grace."""
        if self._ending.begin(self._clock.monotonic(), grace, final=final):
            self._crew.give_up_waiting()

    def _abandon(self) -> None:
        """The database is not there any more: end at once, there is nothing left to store to."""
        self._exchanger.abandon()
        self._crew.kill()
        self._ending.abandon()

    def _end_work(self, now: float) -> None:
        """Take the next step of the orderly end."""
        idle = self._crew.idle and not self._exchanger.under_way
        match self._ending.step(now, idle=idle, gone=self._crew.gone):
            case Step.INTERRUPT:
                self._crew.interrupt()
            case Step.KILL:
                self._crew.kill()
            case Step.FINISH:
                self._crew.finish()
            case None:
                pass


def install_signals(node: Node) -> None:
    """Make SIGTERM and SIGINT stop the node in order; the hang-up of a terminal is nothing to it."""

    def stop(*_: object) -> None:
        node.request_stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
