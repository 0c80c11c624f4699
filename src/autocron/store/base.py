"""The store: where jobs, schedules and settings live. One class; a driver per database under it does the I/O."""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from autocron.errors import DuplicateJob
from autocron.model import (
    PLAIN,
    Call,
    Claim,
    Counts,
    Declaration,
    NewJob,
    QueueCounts,
    QueuedCall,
    Settings,
    State,
    StoredJob,
    StoredSchedule,
)
from autocron.store import edges
from autocron.store.claims import Claims
from autocron.store.driver import CALL_LIMIT, Driver, Joined
from autocron.store.placing import Fired, has_key, place
from autocron.store.rows import Row, stored_job, to_json
from autocron.store.stored_settings import settings_of, stored_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_decode_call = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]).decode
CHECKED_CODE = "checked_code"  # stands among the settings
CALL_TIME = 0.001  # seconds more for each of many calls


class Store:
    """The database, in the words of the domain.

    Every method may raise StoreError. Times are seconds since the epoch and handed in.
    """

    def __init__(self, driver: Driver, host: str | None = None) -> None:
        self._driver = driver
        self._host = host  # the name of this machine, where several share a database
        self._swept = ""  # the limit at which the search for unused ones has arrived
        claims = Claims(driver)
        self.become: Callable[[int], None] = claims.become
        self.exchange = claims.exchange
        self.rehearse: Callable[[float], None] = claims.rehearse
        self.recover: Callable[[], tuple[list[Claim], list[str]]] = claims.recover
        self.held: Callable[[], list[Claim]] = claims.held
        self.has_limits: Callable[[], bool] = claims.has_limits
        self.to_stop: Callable[[], list[str]] = claims.to_stop
        self.join: Callable[[Any], Joined | None] = driver.join
        self.tell_nodes: Callable[[], None] = driver.tell_nodes
        self.check: Callable[[], None] = driver.check
        self.changed: Callable[[], bool] = driver.changed
        self.sync: Callable[[], None] = driver.sync
        self.checkpoint: Callable[[], int] = driver.checkpoint
        self.close: Callable[[], None] = driver.close

    def insert(self, job: NewJob, limit: float = CALL_LIMIT) -> str | None:
        """Keep a call; it is safe when this returns.

        Returns:
            The uuid of the job that the call has come to: that of its duplicate where there may be one only. None when
            the autocron lock is on and nothing was stored.

        Raises:
            DuplicateJob: there may be one only, and the call says that another one is an error.
        """
        if job.placing is PLAIN or job.placing.is_free:
            return job.uuid if self._driver.insert(job, limit) else None
        with self._driver.transaction(limit) as transaction:
            return None if transaction.run("locked") == [(1,)] else place(transaction, job)

    def insert_all(self, calls: Sequence[Call], now: float, within: Joined | None = None) -> list[str] | None:
        """Keep all of these calls, or none; within the caller's own transaction, if it is given.

        A server stores the first ones while the next are looked at, which may be what makes them.

        Returns:
            The uuids of the jobs that they have come to; None when the autocron lock is on and nothing was stored.

        Raises:
            DuplicateJob: as for insert().
            ResultNotFound: one waits for a job that is not there.
        """
        if not self._driver.is_remote:
            calls = [*calls]  # before all others wait for this transaction
        limit = CALL_LIMIT + len(calls) * CALL_TIME
        with within.transaction() if within else self._driver.transaction(limit) as transaction:
            if transaction.run("locked") == [(1,)]:
                return None
            return edges.insert(transaction, calls, now)

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

    def get(self, uuid: str, now: float) -> StoredJob | None:
        """Give a job; None when it is unknown or has expired."""
        rows = self._driver.read("get", {"uuid": uuid, "now": now})
        return stored_job(rows[0]) if rows else None

    def get_all(self, uuids: Iterable[str]) -> dict[str, StoredJob]:
        """Give those of the jobs that are there, by their uuids, even when they have expired."""
        rows = self._driver.read("get_all", {"uuids": to_json(list(uuids))})
        return {row[0]: stored_job(row) for row in rows}

    def graph(self, uuid: str, now: float) -> list[Row]:
        """Give (uuid, task) of all jobs that are connected with this one by waiting, in the order of their calls."""
        return self._driver.read("graph", {"uuid": uuid, "now": now})

    def find(self, which: Literal["running", "queued", "held", "failed"], count: int, now: float) -> list[StoredJob]:
        """Give jobs: what runs (oldest first), what comes next, what is parked, or what failed (last first)."""
        if which == "queued":
            return self._find_queued(count)
        parameters = {"count": count, "now": now} if which == "failed" else {"count": count}
        return [stored_job(row) for row in self._driver.read(f"find_{which}", parameters)]

    def _find_queued(self, count: int) -> list[StoredJob]:
        places = self._driver.read("places", {"count": count})
        names = ("limit_key", "queue", "priority")
        found = list[tuple[int, float, StoredJob]]()
        for where in places:
            rows = self._driver.read("find_queued", {**dict(zip(names, where, strict=True)), "count": count})
            found += [(-where[-1], job.run_at, job) for job in map(stored_job, rows)]
        return [job for *_, job in sorted(found, key=lambda one: one[:2])][:count]

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

    def final_among(self, uuids: Iterable[str]) -> set[str]:
        """Give those of the jobs that have come to their end or are unknown."""
        rows = self._driver.read("final_among", {"uuids": to_json(list(uuids))})
        return {uuid for (uuid,) in rows}

    def counts(self, now: float) -> Counts:
        """Count the jobs by state."""
        by_state = {State(state): int(number) for state, number in self._driver.read("count_states")}
        ((scheduled, held),) = self._driver.read("count_queued", {"now": now})
        return Counts(by_state, scheduled, held)

    def queues(self, now: float) -> list[QueueCounts]:
        """Say what is in the queues that are used, or paused."""
        rows = self._driver.read("queues", {"now": now})
        return [QueueCounts(queue, due, later, running, bool(paused)) for queue, due, later, running, paused in rows]

    def due_in(self, now: float) -> dict[str, tuple[int, float]]:
        """Say, by queue, how many jobs wait for nothing but a worker, and since when the first has been due."""
        return {queue: (count, first) for queue, count, first in self._driver.read("due_in", {"now": now})}

    def held_reasons(self, count: int) -> list[tuple[str, str, int]]:
        """Give the most frequent reasons for which jobs are parked: (reason, task, number of jobs)."""
        return [(reason, task, number) for reason, task, number in self._driver.read("held_reasons", {"count": count})]

    def failed_since(self, now: float, seconds: float) -> int:
        """Say how many jobs have failed in the last `seconds`."""
        ((number,),) = self._driver.read("failed_since", {"now": now, "seconds": seconds})
        return int(number)

    def pause_queue(self, queue: str) -> bool:
        """Let no job of a queue begin; give whether that is new."""
        return self._driver.write("pause_queue", (queue,), CALL_LIMIT) == 1

    def resume_queue(self, queue: str) -> bool:
        """Let its jobs begin again; give whether that is new."""
        return self._driver.write("resume_queue", (queue,), CALL_LIMIT) == 1

    def prune(self, now: float, count: int) -> int:
        """Delete up to `count` expired jobs; give how many there were.

        A job whose value others are still to receive stays. Unused limits are looked for among as many.
        """
        keys = [key for (key,) in self._driver.read("limits_after", (self._swept, count))]
        self._swept = keys[-1] if len(keys) == count else ""
        if keys:
            self._driver.write("drop_limits", {"keys": to_json(keys), "now": now}, CALL_LIMIT)
        with self._driver.transaction() as transaction:
            pruned = [uuid for (uuid,) in transaction.run("prune", {"now": now, "count": count})]
            if pruned:
                transaction.run("forget_edges", {"uuids": to_json(pruned)})
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

    def may_run_jobs(self) -> bool:
        """Has this user the rights that a node needs?"""
        ((may,),) = self._driver.read("may_run_jobs")
        return bool(may)

    # What the code can run

    def calls(self, after: str, count: int) -> list[QueuedCall]:
        """Give the next `count` jobs in the order of their uuids, and how the queued ones call their tasks."""
        return [_queued_call(row) for row in self._driver.read("calls", {"after": after, "count": count})]

    def hold(self, reasons: Mapping[str, str | None]) -> None:
        """Park queued jobs, by their uuids, for these reasons; None: let go."""
        self._driver.write("set_held", {"batch": to_json(sorted(reasons.items()))}, CALL_LIMIT)

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

    def served_queues(self, hosts: Iterable[str]) -> set[str] | None:
        """Give the queues that have workers on these machines; None: all have.

        Raises:
            BadSetting: a stored setting cannot be used.
        """
        rows = self._driver.read("settings")
        queues = [settings_of(rows, host).queues for host in hosts]
        return None if {} in queues else {queue for one in queues for queue in one}

    def set(self, values: Mapping[str, Any]) -> None:
        """Store settings; the others stay."""
        with self._driver.transaction() as transaction:
            transaction.many("set", [(stored_name(name, self._host), to_json(values[name])) for name in sorted(values)])

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

    def run_now(self, schedule: str, job: NewJob) -> str:
        """Keep a run of a schedule that belongs to no slot; give the uuid of the job that it has come to.

        Raises:
            DuplicateJob: as for a call.
        """
        with self._driver.transaction() as transaction:
            return place(transaction, job, schedule)

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
        gone = {"modules": to_json([*imported, *missing]), "names": to_json([d.name for d in declarations])}
        in_order = sorted(declarations, key=lambda one: one.name)  # that others lock the same rows in
        with self._driver.transaction() as transaction:
            transaction.many("add_module", [(name,) for name in sorted(imported)])
            transaction.many("remove_module", [(name,) for name in missing])
            transaction.run("retire", gone)
            transaction.many("declare", [{**msgspec.structs.asdict(d), "now": now} for d in in_order])
            transaction.run("forget_hooks", {"modules": gone["modules"], "names": to_json(list(failure_hooks))})
            transaction.many("add_hook", sorted(failure_hooks.items()))
            transaction.run("release_held", {"tasks": to_json(list(tasks))})

    def fire(self, schedule: str, cursor: float, jobs: Sequence[tuple[float, NewJob]], *, alone: bool) -> Fired:
        """Move the schedule's cursor and store the jobs of its due slots, in one transaction.

        Args:
            schedule: its name.
            cursor: the last slot that is dealt with by this.
            jobs: (slot, job) of the slots that are to run.
            alone: store nothing while an earlier run is unfinished (the slots are skipped).
        """
        with self._driver.transaction() as transaction:
            if not all(has_key(transaction, job) for _, job in jobs):  # a node has other things to do than to wait
                return Fired.HELD
            if not transaction.run("advance", {"name": schedule, "cursor": cursor}):
                return Fired.TAKEN
            if alone and transaction.run("unfinished_of", (schedule,)) == [(1,)]:
                return Fired.SKIPPED
            for slot, job in jobs:
                with suppress(DuplicateJob):
                    place(transaction, job, schedule, slot)
            return Fired.STORED


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
