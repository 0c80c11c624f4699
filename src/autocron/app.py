"""The application's side: start, stop, and what becomes of a call."""

import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import copy_context
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec

from autocron import codec
from autocron.active import Active
from autocron.batch import Lazy, Pending, batched, open_batch
from autocron.clock import Clock, SystemClock
from autocron.errors import BadSetting, ConfigError
from autocron.here import Here
from autocron.link import Link
from autocron.log import logger
from autocron.model import Call, Durability, NewJob, Parent, StoredJob
from autocron.model import Settings as StoredSettings
from autocron.names import new_uuid
from autocron.program import SERVER_COMMANDS, describe, management_command
from autocron.result import TaskResult, find_result
from autocron.settings import Settings, wanted_settings
from autocron.store.paths import Database
from autocron.store.place import Place, find_place
from autocron.task import AnyTask, Registry, calling_module, registry
from autocron.wire import Program

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from autocron.store.base import Store
    from autocron.store.driver import Joined

T = TypeVar("T")
STOP_EXTRA = 3.0  # seconds beside the grace: the node asks, kills, and says good-bye
CALL_THREADS = 8


class App:
    """This process, as far as autocron is concerned."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._active: Active | None = None
        self._is_worker = False
        self._is_inline = False  # told to run calls here: no warning is due
        self._told_deleted = False  # that the working directory is gone
        self._started_in: set[str] = set()
        self._here = Here(registry, clock, self)
        self._renew()
        self.take_calls()

    def take_calls(self) -> None:
        """Carry out the calls of all tasks, and hear of what is declared."""
        self._registry.caller = self
        self._registry.on_change = self._declare
        self._declare()

    def _renew(self) -> None:
        """Make what must not be shared with a parent process."""
        self._pid = os.getpid()
        self._starting = threading.RLock()
        self._executor: ThreadPoolExecutor | None = None

    def after_fork(self) -> None:
        """Begin anew in a forked child: it connects at its next call."""
        self._renew()
        active = self._active
        if active is not None:
            active.renew()
            if active.link is not None:
                active.link.forget()
                active.link = self._new_link(active, active.link.place)

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked where no hooks ran
            self.after_fork()

    # Starting and stopping

    def start(
        self,
        database: Database | None,
        workers: int | None,
        durability: Durability,
        settings: Settings,
        module: str | None,
        *,
        schema: str | None = None,
    ) -> bool:
        """Begin background work; see start()."""
        self._check_process()
        if self._is_worker:
            return False
        wanted = wanted_settings(workers, durability, settings)
        place = find_place(database, schema)
        if module:
            self._started_in.add(module)
        with self._starting:
            active = self._activate(place, durability)
            command = management_command()
            self._is_inline = command == "test"
            if command is not None and command not in SERVER_COMMANDS:
                self._active = None if self._is_inline else active
                return False
            self._active = active
            only_stores = workers == 0 or not _may_run_jobs(active.store, place)
            self._store_settings(active, wanted)
            if only_stores:
                active.store.close()
                return False
            active.link = active.link or self._new_link(active, place)
            try:
                return active.link.open()
            finally:
                active.store.close()  # a server may fork now; each process opens the database when it needs it

    def _activate(self, place: Place, durability: Durability) -> Active:
        known = self._active
        if known is None:
            return Active(place, durability)
        if known.place != place:
            raise ConfigError(
                f"this process works with {known.place} already; call autocron.stop() before you start with {place}"
            )
        if known.durability != durability:
            return Active(place, durability, known.link)
        return known

    def _store_settings(self, active: Active, wanted: dict[str, Any]) -> None:
        stored = msgspec.structs.asdict(_repaired_settings(active.store, wanted))
        changed = {name: value for name, value in wanted.items() if stored[name] != value}
        if changed:
            active.store.set(changed)
            told = ", ".join(f"{name} {stored[name]} -> {value}" for name, value in changed.items())
            logger.info("%s (stored in %s)", told, active.place)
            stored |= changed
        active.max_payload, active.grace = stored["max_payload"], stored["grace"]
        active.result_ttl = stored["result_ttl"]

    def _new_link(self, active: Active, place: Place) -> Link:
        return Link(place, self._describe, lambda: _why_at_rest(active.store, place))

    def _describe(self) -> Program:
        program = describe(self._registry, self._started_in)
        if not self._told_deleted and not Path(program.cwd).is_dir():
            self._told_deleted = True
            logger.warning(
                "the working directory of this process, %s, was deleted: calls are stored, but workers start in / and"
                " find only code that is elsewhere in sys.path. Start the application again in a folder that exists",
                program.cwd,
            )
        return program

    def _declare(self) -> None:
        active = self._active
        if active is not None and active.link is not None:
            active.link.declare()

    def stop(self) -> None:
        """End background work; see stop()."""
        self._check_process()
        if self._is_worker:
            return
        with self._starting:
            active, self._active = self._active, None
            self._is_inline = True
            if active is None:
                return
            try:
                if active.link is not None:
                    active.link.leave(active.grace + STOP_EXTRA)
            finally:
                active.close()

    def become_worker(self, database: Active) -> None:
        """Let calls made here be stored in this database; start() does nothing any more."""
        self._is_worker = True
        self._active = database

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    @property
    def database(self) -> Active:
        """The database in use.

        Raises:
            ConfigError: there is none.
        """
        self._check_process()
        if self._active is None:
            raise ConfigError(
                "this needs a database, and autocron.start(...) has not been called in this process; in tests,"
                " autocron.testing.captured() gives one"
            )
        return self._active

    # Calls

    def enqueue(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        """Store a call, or run it here when no work is done in the background."""
        self._check_process()
        pending, active = self._pending(task, args, kwargs), self._active
        call, _, result = pending
        batch = open_batch()
        if batch is not None:
            batch.calls.append(pending)
        elif active is not None and (uuid := self._store(active, call.job, call.parents)):
            result.uuid = uuid  # of its duplicate, if it has one
        else:
            self._run_here(pending)
        return result

    def _pending(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pending:
        """Make a call, which is stored later."""
        job = task.plan.job(new_uuid(), task.name, codec.encode_call(args, kwargs), self._clock.now())
        parents, active = task.plan.parents_of(job.arguments), self._active
        if active is not None:
            active.check_size(job)
            if task.plan.rules.keys:
                job = task.place(job, args, kwargs)
        return Pending(Call(job, parents), task.function, TaskResult(job.uuid, self, job.task))

    def _store(self, active: Active, job: NewJob, parents: Sequence[Parent]) -> str | None:
        store = active.store
        stored = store.insert_all([Call(job, parents)], job.created_at) if parents else store.insert(job)
        if stored:
            active.wake()
        return stored[0] if isinstance(stored, list) else stored

    def enqueue_all(self, task: AnyTask, calls: Iterable[Sequence[Any]]) -> list[TaskResult[Any]]:
        """Do the same with many calls as one."""
        self._check_process()
        given = [tuple(args) for args in calls]
        made = Lazy(len(given), lambda number: self._pending(task, given[number], {}))
        batch = open_batch()
        if batch is not None:
            batch.calls += made
        elif made:
            self._keep(made)
        return [one.result for one in made]

    async def aenqueue(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any]:
        """Do the same in a thread."""
        if open_batch() is not None:
            return self.enqueue(task, args, kwargs)
        return await self.in_thread(lambda: self.enqueue(task, args, kwargs))

    def transaction(self, connection: Any = None) -> AbstractContextManager[None]:
        """Store calls together; see transaction()."""
        return batched(lambda: self._keeper(connection), connection)

    def _keeper(self, connection: Any) -> Callable[[list[Pending]], None]:
        """Give what takes the calls of a block at its end."""
        if isinstance(connection, str):
            return partial(self._keep_with_django, connection)
        return partial(self._keep, within=None if connection is None else self._join(connection))

    def _join(self, connection: Any) -> "Joined | None":
        self._check_process()
        return self._active.store.join(connection) if self._active else None

    def _keep_with_django(self, alias: str, calls: list[Pending]) -> None:
        within = self._join(alias)
        if within is None or not self._store_all(calls, within):
            import_module("django.db.transaction").on_commit(partial(self._keep, calls), using=alias)

    def _keep(self, calls: Sequence[Pending], within: "Joined | None" = None) -> None:
        if not self._store_all(calls, within):
            for one in [*calls]:  # all are made, or refused, before the first one runs
                self._run_here(one)

    def _store_all(self, calls: Sequence[Pending], within: "Joined | None") -> bool:
        """Store calls; False when no work is done in the background."""
        self._check_process()
        active = self._active
        to_store = Lazy(len(calls), lambda number: calls[number].call)
        uuids = active and active.store.insert_all(to_store, self._clock.now(), within)
        if active is None or not uuids:
            return False
        for one, uuid in zip(calls, uuids, strict=True):
            one.result.uuid = uuid  # of its duplicate, if it has one
        if within is None:
            active.wake()
        elif within.notice:
            logger.warning(within.notice)
        return True

    def _run_here(self, pending: Pending) -> None:
        if self._active is None and not self._is_inline:
            self._is_inline = True
            logger.warning(
                "%s runs at once, in its caller: autocron.start(...) has not been called in this process;"
                " call it where your application starts",
                pending.result.task,
            )
        self._here.run(pending)

    # Results

    def get(self, uuid: str) -> StoredJob | None:
        """Read a job."""
        self._check_process()
        here = self._here.get(uuid)
        active = self._active
        found = here if here or active is None else active.store.get(uuid, self._clock.now())
        if found is None and (batch := open_batch()) and batch.has(uuid):
            raise RuntimeError("this call is stored when the block of autocron.transaction() ends; read it after that")
        return found

    def graph(self, uuid: str) -> list[tuple[str, str]]:
        """Read which jobs are connected with this one; where calls run at once, none is."""
        self._check_process()
        here = self._here.get(uuid)
        if here is not None:
            return [(uuid, here.task)]
        active = self._active
        return [] if active is None else active.store.graph(uuid, self._clock.now())

    def cancel(self, uuid: str) -> bool:
        """Cancel a job."""
        self._check_process()
        active = self._active
        if self._here.get(uuid) or active is None:
            return False
        cancelled = active.store.cancel(uuid, self._clock.now(), active.result_ttl)
        if cancelled and active.link is not None:  # without one, the node looks by itself within a second
            active.link.look()
        return cancelled

    @contextlib.contextmanager
    def watch(self, uuid: str, wake: Callable[[], None]) -> Generator[None]:
        """Call `wake` when the job may have come to its end."""
        self._check_process()
        source = self._active.source if self._active else None
        with source.watch(uuid, wake) if source else contextlib.nullcontext():
            yield

    def patience(self) -> float:
        """Give the seconds between looks at a job that is waited for."""
        source = self._active.source if self._active else None
        return 1.0 if source and source.is_up else 0.1

    def in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        """Run it in a thread of our own."""
        import asyncio  # whoever awaits has it already; others need not load it
        from concurrent.futures import ThreadPoolExecutor

        self._check_process()
        self._executor = self._executor or ThreadPoolExecutor(CALL_THREADS, "autocron-call")
        return asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, function)


def _repaired_settings(store: "Store", wanted: dict[str, Any]) -> StoredSettings:
    try:
        return store.settings()
    except BadSetting:
        store.set(wanted)  # the one that cannot be used may be among them
        return store.settings()


def _may_run_jobs(store: "Store", place: Place) -> bool:
    """May a node of this user run jobs? If not, say so."""
    may = store.may_run_jobs()
    if not may:
        logger.warning(
            "calls are only stored, and no node starts here: this user of %s may store calls, but not run them. Say"
            " workers=0 in start() if others run them, or grant the user what a node needs, see docs/postgres.md",
            place,
        )
    return may


def _why_at_rest(store: "Store", place: Place) -> str:
    """Say why no node is wanted; empty when one is."""
    try:
        locked = store.settings().locked
    except BadSetting:
        return ""  # the node tells of it
    if locked:
        return (
            f"the autocron lock is on: no schedule fires, what is queued waits, and delayed calls run in their callers."
            f" To end that: autocron {place} set locked off"
        )
    target = store.moving_to()
    return f"all jobs are being moved to {target}: no node starts, and calls are only stored" if target else ""


_app = App(registry, SystemClock())
_apps = [_app]  # the last one is in use
_changing = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_app.after_fork)


def in_use() -> App:
    """Give what takes the calls of this process."""
    return _app


@contextlib.contextmanager
def in_place(app: App) -> Generator[None]:
    """Let another App take the calls of this process until the block ends, whatever others do meanwhile."""
    _change(lambda: _apps.append(app))
    try:
        yield
    finally:
        _change(lambda: _apps.remove(app))


def _change(action: Callable[[], None]) -> None:
    global _app
    with _changing:
        action()
        _app = _apps[-1]
        _app.take_calls()


def start(
    database: Database | None = None,
    workers: int | None = None,
    *,
    durability: Durability = "normal",
    schema: str | None = None,
    **settings: Unpack[Settings],
) -> bool:
    """Begin background work: worker processes start and stop with the application.

    It may be called any number of times, by any number of processes.

    Args:
        database: a name (in ``~/.autocron``, or $AUTOCRON_HOME), an absolute path, or a ``postgresql://`` URL; None:
            $AUTOCRON_DATABASE.
        workers: how many processes work; stored. None takes the stored number, 1 at first, or the sum of `queues`.
            With 0 this process only stores calls, for others to run them.
        durability: "full" waits for the disk before a call returns; "normal" may lose the last calls at a power cut.
            PostgreSQL has settings of its own for that.
        schema: where autocron's tables are in a PostgreSQL database ("autocron"); the URL may say it, too.
        settings: see Settings; stored.

    Returns:
        True if background work is on; False if calls are only stored, as by root in the database of another user or by
        a user of PostgreSQL who may not run them, or if the autocron lock is on.

    Raises:
        ConfigError: the name or a setting can't be meant, or this process works with another database.
        StoreError: the database can't be used.
    """
    return _app.start(database, workers, durability, settings, calling_module(), schema=schema)


def stop() -> None:
    """End background work in this process; calls then run at once, in their caller.

    Running jobs may finish for the time of grace when this was the last application; queued ones stay.
    """
    _app.stop()


def get_result(uuid: str) -> TaskResult[Any]:
    """Give the result of a job, by the uuid of its TaskResult.

    Raises:
        ResultNotFound: it is unknown or has expired.
        StoreError: the database can't be read.
    """
    return find_result(uuid, _app)


def transaction(connection: Any = None) -> AbstractContextManager[None]:
    """Store the calls that are made in a ``with`` block together, when it ends: all of them, or none if it raises.

    Their jobs are accepted then, and can be waited for from then on. A block inside of another one joins it. Other
    threads and asyncio tasks do not take part: what they call meanwhile is stored at once, by itself.

    Args:
        connection: None, or that of your own transaction in the PostgreSQL database in which autocron is: a connection
            of psycopg 3, a session or connection of SQLAlchemy on psycopg 3, or the alias of one of Django's databases.
            The calls are then stored at the end of the block in that transaction, so their jobs exist if and only if it
            commits: commit after the block. A connection with autocommit and no open transaction stores them at once.
            With another database, or SQLite, the calls are held back until the block ends, so let it enclose the
            commit; for an alias, they are stored when Django's transaction commits.

    Raises:
        ConfigError: the connection is an async one or one of another driver for PostgreSQL; or, at the end of the
            block, its transaction has ended.
        StoreError: at the end of the block, when the database can't be written.
        DuplicateJob: at the end of the block, for a call with ``on_duplicate="raise"``.
        ResultNotFound: at the end of the block, when a call waits for a job that is not in this database.
        None of the calls is stored then, and your transaction can go on.

    Example:
        ``with autocron.transaction(): results = [resize(path) for path in paths]``
    """
    return _app.transaction(connection)


def become_worker(database: Active) -> None:
    """Make this process one whose calls are stored in this database and whose start() does nothing."""
    _app.become_worker(database)


def lifespan(
    database: Database | None = None,
    workers: int | None = None,
    *,
    durability: Durability = "normal",
    schema: str | None = None,
    wrap: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
    **settings: Unpack[Settings],
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """Give a lifespan for Starlette or FastAPI: it starts with the application and stops with it.

    Args:
        database: this and the others as for start().
        workers: how many processes work.
        durability: "full" or "normal".
        schema: as for start().
        wrap: the application's own lifespan, which runs inside of this one.
        settings: see Settings.
    """
    module = calling_module()

    @contextlib.asynccontextmanager
    async def run(app: Any) -> AsyncGenerator[Any]:
        await _app.in_thread(lambda: _app.start(database, workers, durability, settings, module, schema=schema))
        try:
            if wrap is None:
                yield None
            else:
                async with wrap(app) as state:
                    yield state
        finally:
            await _app.in_thread(_app.stop)

    return run
