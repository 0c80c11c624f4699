"""The store: where jobs, schedules and settings live. One class; a driver per database under it does the I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from autocron.codec import encode_call
from autocron.errors import StoreError
from autocron.model import (
    Call,
    Claim,
    Counts,
    Declaration,
    Finished,
    NewJob,
    News,
    QueuedCall,
    Requeued,
    Settings,
    State,
    StoredJob,
    StoredSchedule,
    Transition,
)
from autocron.store import edges
from autocron.store.stored_settings import settings_of, stored_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]
Step = tuple[str, Parameters]  # a statement's name and what goes into it
T = TypeVar("T")
_decode_claims = msgspec.json.Decoder(list[Claim]).decode
_decode_call = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]).decode
_decode_uuids = msgspec.json.Decoder(list[str]).decode
_NOTHING = {"past_attempts": "[]", "progress": "null"}
MAX_BATCH = 8 << 20  # characters of results that go to the database as one text
CHECKED_CODE = "checked_code"  # stands among the settings
CALL_LIMIT = 5.0  # seconds that a caller waits for the database
CALL_TIME = 0.001  # seconds more for each of many calls


class BadRow(StoreError):
    """The database works, but what is in one row cannot be stored, or cannot be read."""


class Driver(Protocol):
    """What a database must be able to do. Statements are named; their text is in the dialect's .sql file."""

    def read(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that changes nothing."""
        ...

    def write(self, name: str, parameters: Parameters, limit: float) -> int:
        """Run one changing statement in a transaction of its own; give the number of changed rows."""
        ...

    def batch(self, steps: Sequence[Step], read: Callable[[list[list[Row]]], T]) -> T:
        """Run statements that don't need each other's rows as one transaction; give what `read` makes of all rows.

        Where rows may hold what autocron has not stored, nothing is kept when `read` raises.
        """
        ...

    def transaction(self, limit: float = ...) -> AbstractContextManager[Transaction]:
        """Run several statements as one; nothing of it is kept when the block raises."""
        ...

    def tell_nodes(self) -> None:
        """Tell the nodes of all machines that there may be something to do, where the database can."""
        ...

    def changed(self) -> bool:
        """Has another process changed the database since the last time this was asked?"""
        ...

    def check(self) -> None:
        """Raise StoreGone when the files are no longer those that were opened."""
        ...

    def sync(self) -> None:
        """Make what is committed safe against power loss."""
        ...

    def checkpoint(self) -> int:
        """Keep the write-ahead log short; give the bytes in it that an open reader keeps from being copied."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Transaction(Protocol):
    """Statements inside a transaction."""

    def run(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement."""
        ...

    def many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row."""
        ...


class Exchange(msgspec.Struct, frozen=True):
    """What an exchange gave."""

    refused: list[str]  # uuids of transitions that changed nothing: late, or told twice
    claims: list[Claim]
    next_due: float | None
    unstorable: dict[str, str] = {}  # by uuid, why the database does not take the transition
    parked: list[str] = []  # what is wrong with jobs that could not be claimed
    cancelled: list[str] = []  # jobs that waited for one that has not succeeded
    may_expire: bool = False  # due jobs were not claimed, as they have expired, or some that may expire wait again
    awaited: list[str] = []  # jobs that ended and that other nodes wait for


class Store:
    """The database, in the words of the domain.

    Every method may raise StoreError. Times are seconds since the epoch and handed in.
    """

    def __init__(self, driver: Driver, host: str | None = None) -> None:
        self._driver = driver
        self._host = host  # the name of this machine, where several share a database
        self.node: int | None = None  # who claims, where several nodes share a database
        self.tell_nodes: Callable[[], None] = driver.tell_nodes
        self.check: Callable[[], None] = driver.check
        self.changed: Callable[[], bool] = driver.changed
        self.sync: Callable[[], None] = driver.sync
        self.checkpoint: Callable[[], int] = driver.checkpoint
        self.close: Callable[[], None] = driver.close

    def become(self, node: int) -> None:
        """Claim as this node."""
        self.node = node

    def insert(self, job: NewJob, limit: float = CALL_LIMIT) -> bool:
        """Keep a call; it is safe when this returns.

        Returns:
            False when the autocron lock is on and nothing was stored.
        """
        return self._driver.write("insert", msgspec.structs.asdict(job), limit) == 1

    def insert_all(self, calls: Sequence[Call], now: float) -> bool:
        """Keep all of these calls, or none.

        Returns:
            False when the autocron lock is on and nothing was stored.

        Raises:
            ResultNotFound: one waits for a job that is not there.
        """
        with self._driver.transaction(CALL_LIMIT + len(calls) * CALL_TIME) as transaction:
            if transaction.run("locked") == [(1,)]:
                return False
            edges.insert(transaction, calls, now)
        return True

    def exchange(
        self, transitions: Sequence[Transition], count: int, now: float, news: Sequence[News] = ()
    ) -> Exchange:
        """Store what claimed jobs said and became, and claim up to `count` due ones, in one transaction.

        One bad row stops no other: transitions that the database does not take are named in the answer, and jobs that
        cannot be claimed are parked. When transitions had to be stored one by one, nothing is claimed; `next_due` then
        says that there is more.
        """
        try:
            return self._exchange(transitions, count, now, news)
        except BadRow:
            if news:
                self._exchange([], 0, now, news)
            if not transitions:
                return self._claim_around_bad(count, now)
            return msgspec.structs.replace(self._store_around_bad(transitions, now), next_due=now)

    def _store_around_bad(self, transitions: Sequence[Transition], now: float) -> Exchange:
        """Store transitions in halves, down to those that the database does not take."""
        try:
            return self._exchange(transitions, 0, now)
        except BadRow as error:
            if len(transitions) == 1:
                return Exchange([], [], None, {transitions[0].uuid: str(error)})
        middle = len(transitions) // 2
        one, other = (self._store_around_bad(some, now) for some in (transitions[:middle], transitions[middle:]))
        return Exchange(
            one.refused + other.refused,
            [],
            None,
            one.unstorable | other.unstorable,
            cancelled=one.cancelled + other.cancelled,
            awaited=one.awaited + other.awaited,
        )

    def _claim_around_bad(self, count: int, now: float) -> Exchange:
        """Claim ever fewer jobs until it works; the first one is parked when it cannot even be claimed alone."""
        parked = list[str]()
        while True:
            try:
                return msgspec.structs.replace(self._exchange([], count, now), parked=parked)
            except BadRow as error:
                if count == 1:
                    ((first,),) = self._driver.read("first_due", {"now": now})
                    parked.append(self._park(first, error))
                count = max(1, count // 2)

    def _park(self, row: int, why: BadRow) -> str:
        self._driver.write("park", (f"its row cannot be used: {why}", row), CALL_LIMIT)
        return f"row {row} of the table jobs is parked: {why}"

    def _exchange(
        self, transitions: Sequence[Transition], count: int, now: float, news: Sequence[News] = ()
    ) -> Exchange:
        finished = [transition for transition in transitions if isinstance(transition, Finished)]
        requeued = [transition for transition in transitions if isinstance(transition, Requeued)]
        steps: list[Step] = [("tell", {"batch": _json(some)}) for some in _batches(news, _size_of_news)]
        if failed := [_hook_call(one) for one in finished if one.state is State.FAILED]:
            steps.append(("call_hooks", {"batch": _json(failed), "now": now}))
        first = len(steps)
        steps += [("finish", {"batch": _json(some), "now": now}) for some in _batches(finished, _size_of_result)]
        steps += [("requeue", {"batch": _json(some), "now": now}) for some in _batches(requeued, _size_of_result)]
        ends = len(steps)
        steps += edges.steps(finished, now)
        others = len(steps)
        if count:
            steps.append(("claim", {"now": now, "count": count, "node": self.node}))
        steps.append(("next_due", {"now": now, "count": count}))

        def read(rows: list[list[Row]]) -> Exchange:
            told = [row for (row,) in rows[first:ends]]
            late = [uuid for (uuids, *_) in told for uuid in _decode_uuids(uuids)]
            awaited = [uuid for (_, *more) in told for uuids in more for uuid in _decode_uuids(uuids)]
            cancelled = [row for some in rows[ends:others] for row in some]
            awaited += [uuid for uuid, *more in cancelled if more == [True]]
            ((text, due),) = rows[others] if count else [("[]", 0)]
            claims = _claims(text)
            ((next_due,),) = rows[-1]
            if due == count > 0:
                next_due = now
            elif not isinstance(next_due, float):  # text sorts after all numbers: nothing else is queued
                next_due = None
            may_expire = len(claims) < due or not all(one.begun for one in requeued)
            gone = [uuid for uuid, *_ in cancelled]
            return Exchange(late, claims, next_due, cancelled=gone, may_expire=may_expire, awaited=awaited)

        return self._driver.batch(steps, read)

    def expire(self, count: int, now: float, ttl: float) -> tuple[list[str], float | None]:
        """Cancel up to `count` jobs that were not begun in time.

        Args:
            count: how many at most.
            now: what was to begin by now has expired.
            ttl: seconds for which the results of cancelled jobs are kept, where the job itself says nothing.

        Returns:
            Their uuids with those of the jobs that waited for them, and when the next job expires.
        """
        when = {"now": now}
        ((next_expiry,),) = self._driver.read("next_expiry", when)
        if next_expiry is None or next_expiry > now:
            return [], next_expiry
        with self._driver.transaction() as transaction:
            expired = [uuid for (uuid,) in transaction.run("expire", {**when, "count": count, "ttl": ttl})]
            expired += edges.settle(transaction, expired, now)
            ((next_expiry,),) = transaction.run("next_expiry", when)
        return expired, next_expiry

    def recover(self) -> tuple[list[Claim], list[str]]:
        """Give the claims of a node that is no more, and what is wrong with jobs that were parked instead."""
        return self._claims_among(self._driver.read("running"))

    def held(self) -> list[Claim]:
        """Give the claims of this node, as far as the database knows."""
        return self._claims_among(self._driver.read("held", {"node": self.node}))[0]

    def _claims_among(self, rows: Iterable[Row]) -> tuple[list[Claim], list[str]]:
        claims, parked = list[Claim](), list[str]()
        for row, attempt in rows:
            try:
                for (text,) in self._driver.read("claim_of", (row, attempt)):  # none when others have dealt with it
                    claims += _claims(text)
            except BadRow as error:
                parked.append(self._park(row, error))
        return claims, parked

    def get(self, uuid: str, now: float) -> StoredJob | None:
        """Give a job; None when it is unknown or has expired."""
        rows = self._driver.read("get", {"uuid": uuid, "now": now})
        return _stored_job(rows[0]) if rows else None

    def get_all(self, uuids: Iterable[str]) -> dict[str, StoredJob]:
        """Give those of the jobs that are there, by their uuids, even when they have expired."""
        rows = self._driver.read("get_all", {"uuids": _json(list(uuids))})
        return {row[0]: _stored_job(row) for row in rows}

    def graph(self, uuid: str, now: float) -> list[Row]:
        """Give (uuid, task) of all jobs that are connected with this one by waiting, in the order of their calls."""
        return self._driver.read("graph", {"uuid": uuid, "now": now})

    def find(self, which: Literal["running", "queued", "held", "failed"], count: int, now: float) -> list[StoredJob]:
        """Give jobs: what runs (oldest first), what comes next, what is parked, or what failed (last first)."""
        parameters = {"count": count, "now": now} if which == "failed" else {"count": count}
        return [_stored_job(row) for row in self._driver.read(f"find_{which}", parameters)]

    def cancel(self, uuid: str, now: float, ttl: float) -> bool:
        """Cancel a job that is not begun; ask that one that runs be stopped.

        Args:
            uuid: the job.
            now: the time of its end.
            ttl: how long its result is kept, if it has no time of its own.

        Returns:
            False when it has come to its end already, or is unknown.
        """
        with self._driver.transaction() as transaction:
            cancelled = transaction.run("cancel", {"uuid": uuid, "now": now, "ttl": ttl})
            edges.settle(transaction, [uuid], now)
        return bool(cancelled)

    def to_stop(self) -> list[str]:
        """Give the jobs that were to be cancelled while they ran, if they run here or do not run any more."""
        return [uuid for (uuid,) in self._driver.read("to_stop", {"node": self.node})]

    def final_among(self, uuids: Iterable[str]) -> set[str]:
        """Give those of the jobs that have come to their end or are unknown."""
        rows = self._driver.read("final_among", {"uuids": _json(list(uuids))})
        return {uuid for (uuid,) in rows}

    def counts(self, now: float) -> Counts:
        """Count the jobs by state."""
        by_state = {State(state): int(number) for state, number in self._driver.read("count_states")}
        ((scheduled, held),) = self._driver.read("count_queued", {"now": now})
        return Counts(by_state, scheduled, held)

    def prune(self, now: float, count: int) -> int:
        """Delete up to `count` expired jobs; give how many there were.

        A job whose value others are still to receive stays.
        """
        with self._driver.transaction() as transaction:
            pruned = [uuid for (uuid,) in transaction.run("prune", {"now": now, "count": count})]
            if pruned:
                transaction.run("forget_edges", {"uuids": _json(pruned)})
        return len(pruned)

    # Steps

    def step(self, uuid: str, name: str) -> str | None:
        """Give the value of a step that a job has done; None when it has not."""
        rows = self._driver.read("step", (uuid, name))
        return rows[0][0] if rows else None

    def keep_step(self, uuid: str, attempt: int, name: str, value: str) -> bool:
        """Keep the value of a step; False when this attempt does not hold the job any more."""
        parameters = {"uuid": uuid, "attempt": attempt, "name": name, "value": value}
        return self._driver.write("keep_step", parameters, CALL_LIMIT) == 1

    def ahead(self, now: float) -> float:
        """Say by how many seconds the clock of the database is ahead of this machine's."""
        ((seconds,),) = self._driver.read("ahead", {"now": now})
        return float(seconds)

    def moving_to(self) -> str | None:
        """Name the database to which everything is being moved from this one, if so: nodes have to end then."""
        rows = self._driver.read("moving_to")
        return str(rows[0][0]) if rows else None

    # What the code can run

    def calls(self, after: str, count: int) -> list[QueuedCall]:
        """Give the next `count` jobs in the order of their uuids, and how the queued ones call their tasks."""
        return [_queued_call(row) for row in self._driver.read("calls", {"after": after, "count": count})]

    def hold(self, reasons: Mapping[str, str | None]) -> None:
        """Park queued jobs, by their uuids, for these reasons; None: let go."""
        self._driver.write("set_held", {"batch": _json(sorted(reasons.items()))}, CALL_LIMIT)

    def checked_code(self) -> str:
        """Give the mark of the code against which the queued jobs were checked last."""
        return next((str(value) for name, value in self._driver.read("settings") if name == CHECKED_CODE), "")

    def set_checked_code(self, mark: str) -> None:
        """Note that the queued jobs were checked against this code."""
        self._driver.write("set", (CHECKED_CODE, mark), CALL_LIMIT)

    # Settings

    def settings(self) -> Settings:
        """Give the settings, defaults included."""
        return settings_of(self._driver.read("settings"), self._host)

    def set(self, values: Mapping[str, Any]) -> None:
        """Store settings; the others stay."""
        with self._driver.transaction() as transaction:
            transaction.many("set", [(stored_name(name, self._host), _json(values[name])) for name in sorted(values)])

    def reset_settings(self) -> None:
        """Go back to the defaults. The lock stays as it is."""
        self._driver.write("unset_all", (), CALL_LIMIT)

    # Schedules

    def modules(self) -> list[str]:
        """Give the modules in which applications have declared tasks."""
        return [name for (name,) in self._driver.read("modules")]

    def schedules(self) -> list[StoredSchedule]:
        """Give the schedules, those that are paused included."""
        rows = self._driver.read("schedules")
        return [StoredSchedule(Declaration(*row[:-2]), row[-2], bool(row[-1])) for row in rows]

    def add_schedule(self, schedule: Declaration, now: float) -> bool:
        """Keep a schedule that no code declares, instead of one of the same name that was added before.

        Args:
            schedule: its module is None.
            now: a new one, or one with other times, starts here.

        Returns:
            False when the code declares one of this name.
        """
        with self._driver.transaction() as transaction:
            if transaction.run("module_of", (schedule.name,)) not in ([], [(None,)]):
                return False
            transaction.many("declare", [{**msgspec.structs.asdict(schedule), "now": now}])
            return True

    def pause(self, schedule: str, paused: bool) -> bool:
        """Let a schedule rest, or go on; False when there is none of this name."""
        return self._driver.write("pause", (paused, schedule), CALL_LIMIT) == 1

    def remove(self, schedule: str) -> bool:
        """Forget a schedule; False when none of this name was added at run time."""
        return self._driver.write("remove", (schedule,), CALL_LIMIT) == 1

    def run_now(self, schedule: str, job: NewJob) -> None:
        """Keep a run of a schedule that belongs to no slot."""
        with self._driver.transaction() as transaction:
            transaction.many("fire", [_fired(schedule, None, job)])

    def declare(
        self,
        declarations: Sequence[Declaration],
        imported: Sequence[str],
        missing: Sequence[str],
        tasks: Sequence[str],
        now: float,
        *,
        failure_hooks: Mapping[str, str] = {},
    ) -> None:
        """Store what the workers found in the application's modules.

        Args:
            declarations: the schedules in the imported modules.
            imported: modules that were imported; their schedules that are not declared any more stop firing.
            missing: modules that no longer exist; their schedules stop firing too.
            tasks: all known tasks; some jobs that were parked as their task was unknown may run now.
            now: new and changed schedules start here.
            failure_hooks: tasks that run for each job that failed, with the names of their modules.
        """
        gone = {"modules": _json([*imported, *missing]), "names": _json([d.name for d in declarations])}
        in_order = sorted(declarations, key=lambda one: one.name)  # that others lock the same rows in
        with self._driver.transaction() as transaction:
            transaction.many("add_module", [(name,) for name in sorted(imported)])
            transaction.many("remove_module", [(name,) for name in missing])
            transaction.run("retire", gone)
            transaction.many("declare", [{**msgspec.structs.asdict(d), "now": now} for d in in_order])
            transaction.run("forget_hooks", {"modules": gone["modules"], "names": _json(list(failure_hooks))})
            transaction.many("add_hook", sorted(failure_hooks.items()))
            transaction.run("release_held", {"tasks": _json(list(tasks))})

    def fire(self, schedule: str, cursor: float, jobs: Sequence[tuple[float, NewJob]], *, alone: bool) -> bool | None:
        """Move the schedule's cursor and store the jobs of its due slots, in one transaction.

        Args:
            schedule: its name.
            cursor: the last slot that is dealt with by this.
            jobs: (slot, job) of the slots that are to run.
            alone: store nothing while an earlier run is unfinished (the slots are skipped).

        Returns:
            True when the jobs were stored, False when the slots were skipped, None when somebody else had them.
        """
        with self._driver.transaction() as transaction:
            if not transaction.run("advance", {"name": schedule, "cursor": cursor}):
                return None
            if alone and transaction.run("unfinished_of", (schedule,)) == [(1,)]:
                return False
            transaction.many("fire", [_fired(schedule, slot, job) for slot, job in jobs])
            return True


def _fired(schedule: str, slot: float | None, job: NewJob) -> dict[str, Any]:
    return {**msgspec.structs.asdict(job), "schedule": schedule, "slot": slot}


def _queued_call(row: Row) -> QueuedCall:
    uuid, task, held, arguments = row
    try:
        positional, keywords = _decode_call(arguments)
    except (msgspec.DecodeError, TypeError):  # not queued, large, or damaged
        return QueuedCall(str(uuid), str(task), held, None)
    return QueuedCall(str(uuid), str(task), held, len(positional), tuple(keywords))


def load_statements(dialect: str) -> dict[str, str]:
    """Give the statements of a dialect by their names."""
    text = files("autocron.store").joinpath(f"{dialect}.sql").read_text("utf-8")
    parts = (part.split("\n", 2) for part in text.split("-- name: ")[1:])
    return {name.strip(): statement.strip().removesuffix(";") for name, _purpose, statement in parts}


def _hook_call(failed: Finished) -> tuple[str, int, str]:
    """Give the job that fails, its attempt, and the arguments of the hooks that are to run for it."""
    return failed.uuid, failed.attempt, encode_call((failed.uuid,), {})


def _batches(items: Sequence[T], size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut where the items become too large for one text."""
    start = size = 0
    for number, item in enumerate(items):
        size += size_of(item)
        if size > MAX_BATCH:
            yield items[start : number + 1]
            start, size = number + 1, 0
    if start < len(items):
        yield items[start:]


def _size_of_result(transition: Transition) -> int:
    return len(transition.result) if isinstance(transition, Finished) and transition.result else 0


def _size_of_news(news: News) -> int:
    return len(news.output or "")


def _claims(text: str) -> list[Claim]:
    """Give what was claimed. SQLite keeps what others have stored, whatever the type of the column."""
    try:
        return _decode_claims(text)
    except msgspec.DecodeError as error:
        what = str(error).partition(" - at ")[0]
        raise BadRow(f"it holds another type of value than autocron stores: {what}") from error


def _stored_job(row: Row) -> StoredJob:
    try:
        names = StoredJob.__struct_fields__
        values = dict(zip(names, row, strict=True))
        for name in ("past_attempts", "progress"):
            values[name] = msgspec.json.decode(values[name] or _NOTHING[name])
        return msgspec.convert(values, StoredJob)
    except msgspec.DecodeError as error:
        raise BadRow(f"job {row[0]!r} is stored in a form that autocron does not write: {error}") from error


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise BadRow(f"a text cannot be stored: {error}") from error
