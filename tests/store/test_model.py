"""The store does what a few dictionaries would do, whatever the order of the calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from uuid import uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autocron.errors import ResultNotFound
from autocron.model import (
    FINAL_STATES,
    Call,
    Claim,
    Counts,
    Declaration,
    Finished,
    NewJob,
    Parent,
    PastAttempt,
    Requeued,
    Settings,
    State,
    StoredJob,
    StoredSchedule,
    Transition,
)
from autocron.store.base import Store
from autocron.store.placing import Fired
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_url import canonical
from autocron.store.sqlite import open_store
from autocron.workflow import why_cancelled

TASKS = ["app.a", "app.b"]
ENDS = ["end", "end", "fail", "fail", "again", "later", "hold", "lost"]
PAST = PastAttempt(1.0, 2.0, "crashed", "worker lost", "")
DECLARATIONS = [
    Declaration(name, f"{module}.{name}", module, text, "UTC")
    for module in ("app", "lib")
    for name in (f"{module}-1", f"{module}-2")
    for text in ("every 5", "every 7")
]
offsets = some.integers(-3, 5).map(float)


@dataclass
class Job:
    """What is known of a job."""

    new: NewJob
    schedule: str = ""
    slot: float = 0.0
    state: State = State.QUEUED
    held: str | None = None
    attempt: int = 0
    run_at: float = 0.0
    crashes: int = 0
    retries: int = 0
    begin_by: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    result: str | None = None
    error: str = ""
    parents: dict[str, bool] = field(default_factory=dict)  # those that are needed are true
    past: list[PastAttempt] = field(default_factory=list)

    def has_expired(self, now: float) -> bool:
        return self.can_expire and self.begin_by is not None and self.begin_by <= now

    @property
    def can_expire(self) -> bool:
        return self.state in (State.QUEUED, State.WAITING)

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def ready(self) -> bool:
        return self.state is State.QUEUED and self.held is None

    def claim(self) -> Claim:
        assert self.started_at is not None
        new = self.new
        return Claim(
            new.uuid,
            self.attempt,
            new.task,
            new.arguments,
            self.started_at,
            self.crashes,
            0,
            self.retries,
            self.begin_by,
        )

    def stored(self) -> StoredJob:
        return StoredJob(
            self.new.uuid,
            self.new.task,
            self.state,
            self.held,
            self.attempt,
            self.new.created_at,
            self.run_at,
            self.started_at,
            self.finished_at,
            self.result,
            self.error,
            "",
            self.past,
        )


class Database(Protocol):
    """What a machine needs of one."""

    def open_node(self) -> Store: ...

    def open_app(self) -> Store: ...

    def drop(self) -> None: ...


class SqliteFile:
    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "jobs.db"

    def open_node(self) -> Store:
        return open_store(self.path, background=True)

    def open_app(self) -> Store:
        return open_store(self.path)

    def drop(self) -> None:
        self.folder.cleanup()


class PostgresSchema:
    def __init__(self, server: str) -> None:
        self.server = server
        self.schema = f"model_{uuid4().hex[:12]}"

    def open_node(self) -> Store:
        return Store(PostgresDriver(canonical(self.server, self.schema), Kind.NODE, 1, own_time=False))

    def open_app(self) -> Store:
        return Store(PostgresDriver(canonical(self.server, self.schema), Kind.APPLICATION, 2, own_time=False))

    def drop(self) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"drop schema {self.schema} cascade".encode())


class StoreMachine(RuleBasedStateMachine):
    """A node and an application, each with a store on the same database, and what should be in it."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.node, self.app = database.open_node(), database.open_app()
        self.now = 100.0
        self.number = 0
        self.jobs: dict[str, Job] = {}  # in the order in which they came
        self.claims: list[Claim] = []  # all that were ever given
        self.pruned: list[str] = []
        self.locked = False
        self.workers = 1
        self.declared: dict[str, StoredSchedule] = {}
        self.active: set[str] = set()

    def teardown(self) -> None:
        self.app.close()
        self.node.close()
        self.database.drop()

    def new_job(self, task: str, run_at: float, begin_by: float | None = None) -> NewJob:
        self.number += 1
        return NewJob(f"{self.number * 7919 % 1000:03}", task, f"[{self.number}]", run_at, self.now, begin_by)

    def keep(self, new: NewJob, schedule: str = "", slot: float = 0.0) -> None:
        self.jobs[new.uuid] = Job(new, schedule, slot, run_at=new.run_at, begin_by=new.begin_by)

    # Time and crashes

    @rule(seconds=some.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def node_dies(self) -> None:
        self.node.close()
        self.node = self.database.open_node()
        running = [job for job in self.jobs.values() if job.state is State.RUNNING]
        running.sort(key=lambda job: job.started_at or 0.0)
        assert self.node.recover() == ([job.claim() for job in running], [])

    @rule()
    def maintain(self) -> None:
        self.node.sync()
        self.node.checkpoint()

    # Jobs

    @rule(
        task=some.sampled_from(TASKS),
        offsets=some.lists(offsets, min_size=1, max_size=4),
        expires=some.sampled_from([None, None, 1, 4]),
    )
    def insert(self, task: str, offsets: list[float], expires: int | None) -> None:
        for offset in offsets:
            new = self.new_job(task, self.now + offset, expires and self.now + expires)
            assert bool(self.app.insert(new)) is not self.locked
            if not self.locked:
                self.keep(new)

    @rule(data=some.data(), count=some.integers(1, 6), expires=some.sampled_from([None, None, 1, 4]))
    def insert_all(self, data: some.DataObject, count: int, expires: int | None) -> None:
        calls = list[Call]()
        there = [uuid for uuid, job in self.jobs.items() if not self.expired(job)]
        missing = [*self.pruned, *(uuid for uuid, job in self.jobs.items() if self.expired(job)), "unknown"]
        for _ in range(count):
            one = some.sampled_from(there[-5:] * 9 + missing[-2:])
            waits = some.lists(one, max_size=3, unique=True)
            parents = [Parent(uuid, data.draw(some.booleans())) for uuid in data.draw(waits)]
            calls.append(Call(self.new_job("app.a", self.now, expires and self.now + expires), parents))
            there.append(calls[-1].job.uuid)
        if not self.locked and any(parent.uuid in missing for call in calls for parent in call.parents):
            with pytest.raises(ResultNotFound):
                self.app.insert_all(calls, self.now)
            return
        assert bool(self.app.insert_all(calls, self.now)) is not self.locked
        if not self.locked:
            for call in calls:
                self.keep(call.job)
                self.jobs[call.job.uuid].parents = {parent.uuid: parent.needed for parent in call.parents}
                self.jobs[call.job.uuid].state = State.WAITING if call.parents else State.QUEUED
            self.settle()

    def settle(self) -> set[str]:
        """Cancel or queue what waits for jobs that have come to their end; give what was cancelled."""
        waiting = {uuid: job for uuid, job in self.jobs.items() if job.state is State.WAITING}
        doomed = dict[str, set[str]]()
        for uuid, job in waiting.items():  # parents come before their children
            needed = [self.jobs[parent] for parent, is_needed in job.parents.items() if is_needed]
            reasons = {
                why_cancelled(one.new.task, one.new.uuid, one.state, one.error)
                for one in needed
                if one.final and one.state is not State.SUCCEEDED
            }
            reasons |= {reason for one in needed for reason in doomed.get(one.new.uuid, set())}
            if reasons:
                doomed[uuid] = reasons
        for uuid, reasons in doomed.items():
            job, kept = self.jobs[uuid], self.app.get(uuid, 0.0)
            assert kept
            assert kept.error_message in reasons
            job.state, job.error, job.finished_at = State.CANCELLED, kept.error_message, self.now
            job.expires_at = self.now + Settings().result_ttl
        for job in waiting.values():
            if job.state is State.WAITING and all(self.jobs[parent].final for parent in job.parents):
                job.state = State.QUEUED
        return set(doomed)

    @precondition(lambda self: self.jobs)
    @rule(data=some.data())
    def graph(self, data: some.DataObject) -> None:
        members = {data.draw(some.sampled_from(list(self.jobs)))}
        (one,) = members
        edges = {(uuid, parent) for uuid, job in self.jobs.items() for parent in job.parents}
        while more := {uuid for edge in edges if members & set(edge) for uuid in edge} - members:
            members |= more
        visible = [(uuid, job.new.task) for uuid, job in self.jobs.items() if uuid in members and not self.expired(job)]
        assert self.app.graph(one, self.now) == visible

    @rule(count=some.sampled_from([1, 2, 5, 500]))
    def claim(self, count: int) -> None:
        self.exchange([], count)

    @precondition(lambda self: self.claims)
    @rule(data=some.data(), count=some.integers(0, 3))
    def tell(self, data: some.DataObject, count: int) -> None:
        one = some.tuples(some.sampled_from(self.claims[-6:]), some.sampled_from(ENDS))
        told = data.draw(some.lists(one, min_size=1, max_size=4, unique_by=lambda pair: pair[0].uuid))
        self.exchange([self.transition(claim, end) for claim, end in told], count)

    def exchange(self, transitions: list[Transition], count: int) -> None:
        refused = {one.uuid for one in transitions if not self.apply(one)}
        exchange = self.node.exchange(transitions, count, self.now)
        assert set(exchange.cancelled) == self.settle()
        due = [job for job in self.jobs.values() if job.ready and job.run_at <= self.now]
        due = sorted(due, key=lambda job: job.run_at)[:count]
        full = len(due) == count > 0
        due = [job for job in due if not job.has_expired(self.now)]
        for job in due:
            job.state, job.attempt, job.started_at = State.RUNNING, job.attempt + 1, self.now
        waiting = [self.now] if full else self.waiting(count)
        assert set(exchange.refused) == refused
        assert exchange.claims == [job.claim() for job in due]
        assert exchange.next_due == min(waiting, default=None)
        assert not exchange.unstorable
        assert not exchange.parked
        self.claims += exchange.claims

    def waiting(self, count: int) -> list[float]:
        times = [job.run_at for job in self.jobs.values() if job.ready]
        return [time for time in times if time > self.now] if count else times

    def transition(self, claim: Claim, end: str) -> Transition:
        if end in ("end", "fail"):
            state = State.SUCCEEDED if end == "end" else State.FAILED
            return Finished(claim.uuid, claim.attempt, state, "1", "", "", self.now, self.now, self.now + 3)
        run_at = self.now + 2 if end == "later" else None
        held = "unknown task" if end == "hold" else None
        past = msgspec.json.encode(PAST).decode() if end in ("later", "lost") else None
        crashes, retries, begun = claim.crashes + (end == "lost"), claim.retries + (end == "later"), past is not None
        return Requeued(claim.uuid, claim.attempt, run_at, held, crashes, 0, past, retries, begun)

    def apply(self, one: Transition) -> bool:
        job = self.jobs.get(one.uuid)
        if not job or job.state is not State.RUNNING or job.attempt != one.attempt:
            return False
        if isinstance(one, Finished):
            job.state, job.result, job.expires_at = one.state, one.result, one.expires_at
            job.started_at, job.finished_at = one.started_at, one.finished_at
            return True
        job.state, job.held, job.crashes, job.started_at = State.QUEUED, one.held, one.crashes, None
        job.run_at = job.run_at if one.run_at is None else one.run_at
        job.retries, job.begin_by = one.retries, None if one.begun else job.begin_by
        job.past = job.past + [PAST] * (one.past is not None)
        return True

    @rule(count=some.integers(1, 3))
    def expire(self, count: int) -> None:
        late = sorted(job.begin_by or 0.0 for job in self.jobs.values() if job.has_expired(self.now))
        uuids, next_expiry = self.node.expire(count, self.now, 3.0)
        expired = [self.jobs[uuid] for uuid in uuids[: min(count, len(late))]]
        assert sorted(job.begin_by or 0.0 for job in expired) == late[:count]
        for job in expired:
            job.state, job.held, job.finished_at, job.expires_at = State.CANCELLED, None, self.now, self.now + 3
            job.error = "expired"
        assert set(uuids[len(expired) :]) == self.settle()
        assert next_expiry == min(
            (job.begin_by for job in self.jobs.values() if job.can_expire and job.begin_by is not None),
            default=None,
        )

    @rule(count=some.integers(1, 3))
    def prune(self, count: int) -> None:
        needed = {parent for job in self.jobs.values() if not job.final for parent in job.parents}
        expired = [uuid for uuid, job in self.jobs.items() if self.expired(job) and uuid not in needed]
        assert self.node.prune(self.now, count) == min(count, len(expired))
        gone = [uuid for uuid in expired if self.node.get(uuid, 0.0) is None]
        assert len(gone) == min(count, len(expired))
        for uuid in gone:
            del self.jobs[uuid]
        self.pruned += gone

    def expired(self, job: Job) -> bool:
        return job.expires_at is not None and job.expires_at <= self.now

    # Schedules

    @rule(
        found=some.lists(some.sampled_from(DECLARATIONS), max_size=4, unique_by=lambda one: one.name),
        imported=some.sets(some.sampled_from(["app", "lib"])),
        tasks=some.sets(some.sampled_from(TASKS)),
    )
    def declare(self, found: list[Declaration], imported: set[str], tasks: set[str]) -> None:
        found = [one for one in found if one.module in imported]
        self.node.declare(found, sorted(imported), [], sorted(tasks), self.now)
        self.active -= {name for name, one in self.declared.items() if one.declaration.module in imported}
        for one in found:
            before = self.declared.get(one.name)
            unchanged = before and before.declaration.text == one.text
            self.declared[one.name] = StoredSchedule(one, before.cursor if before and unchanged else self.now)
            self.active.add(one.name)
        for job in self.jobs.values():
            if job.new.task in tasks:
                job.held = None

    @precondition(lambda self: self.declared)
    @rule(data=some.data(), slots=some.lists(offsets, min_size=1, max_size=2), alone=some.booleans())
    def fire(self, data: some.DataObject, slots: list[float], alone: bool) -> None:
        one = data.draw(
            some.sampled_from([self.declared[name].declaration for name in sorted(self.active or self.declared)])
        )
        times = sorted(self.now + offset for offset in slots)
        jobs = [(slot, self.new_job(one.task, slot)) for slot in times]
        expected = self.advance(one.name, times[-1], alone)
        assert self.node.fire(one.name, times[-1], jobs, alone=alone) is expected
        for slot, new in jobs if expected is Fired.STORED else []:
            if not any((job.schedule, job.slot) == (one.name, slot) for job in self.jobs.values()):
                self.keep(new, one.name, slot)

    def advance(self, name: str, cursor: float, alone: bool) -> Fired:
        if name not in self.active or self.declared[name].cursor >= cursor:
            return Fired.TAKEN
        self.declared[name] = msgspec.structs.replace(self.declared[name], cursor=cursor)
        mine = [job for job in self.jobs.values() if job.schedule == name]
        is_over = all(job.state in FINAL_STATES for job in mine)
        return Fired.STORED if is_over or not alone else Fired.SKIPPED

    # Settings

    @rule(locked=some.booleans(), workers=some.integers(1, 3))
    def set(self, locked: bool, workers: int) -> None:
        self.app.set({"locked": locked, "workers": workers})
        self.locked, self.workers = locked, workers

    @rule()
    def reset(self) -> None:
        self.app.reset_settings()
        self.workers = 1

    # What can be seen

    @initialize()
    def begin_empty(self) -> None:
        assert not self.node.schedules()

    @invariant()
    def every_job_is_as_it_should_be(self) -> None:
        for uuid, job in self.jobs.items():
            assert self.app.get(uuid, self.now) == (None if self.expired(job) else job.stored())
        assert not any(self.app.get(uuid, 0.0) for uuid in self.pruned)

    @invariant()
    def the_overview_is_right(self) -> None:
        jobs = self.jobs.values()
        queued = [job for job in jobs if job.state is State.QUEUED]
        late = sum(job.run_at > self.now for job in queued if job.ready)
        parked = sum(job.held is not None for job in queued)
        assert self.app.counts(self.now) == Counts(Counter(job.state for job in jobs), late, parked)
        ready = sorted((job for job in jobs if job.ready), key=lambda job: job.run_at)
        assert self.app.find("queued", 999, self.now) == [job.stored() for job in ready]
        failed = {job.new.uuid for job in jobs if job.state is State.FAILED and not self.expired(job)}
        assert {found.uuid for found in self.app.find("failed", 999, self.now)} == failed
        running = {job.new.uuid for job in jobs if job.state is State.RUNNING}
        assert {found.uuid for found in self.app.find("running", 999, self.now)} == running
        final = {uuid for uuid, job in self.jobs.items() if job.state in FINAL_STATES}
        assert self.app.final_among([*self.jobs, "unknown"]) == final | {"unknown"}

    @invariant()
    def settings_and_schedules_are_kept(self) -> None:
        assert self.node.settings() == Settings(workers=self.workers, locked=self.locked)
        assert self.node.schedules() == [self.declared[name] for name in sorted(self.active)]


MANY = settings(max_examples=120, stateful_step_count=50, deadline=None)
FEW = settings(max_examples=30, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.timeout(600)  # a failure takes minutes to become short
def test_sqlite() -> None:
    run_state_machine_as_test(lambda: StoreMachine(SqliteFile()), settings=MANY)


@pytest.mark.timeout(600)
def test_postgres(postgres_server: str) -> None:
    run_state_machine_as_test(lambda: StoreMachine(PostgresSchema(postgres_server)), settings=FEW)
