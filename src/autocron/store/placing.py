"""How calls get into the database that are under a limit, or must have no duplicates."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from autocron.errors import DuplicateJob
from autocron.model import PLAIN, Call, Limit, NewJob, Parent, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autocron.store.claiming import Statements


class Fired(Enum):
    """What became of slots that were due."""

    STORED = auto()
    SKIPPED = auto()  # an earlier run is unfinished
    TAKEN = auto()  # somebody else had them
    HELD = auto()  # they are due again: a call with the unique key of one is in a transaction that is open


_PLAIN = msgspec.structs.asdict(PLAIN)


def columns(job: NewJob) -> dict[str, Any]:
    """Give the parameters of the statement `insert`."""
    values = msgspec.structs.asdict(job)
    values |= _PLAIN if job.placing is PLAIN else msgspec.structs.asdict(job.placing)
    return values


def row(call: Call, now: float) -> dict[str, Any]:
    """Give the parameters of the statement `insert_many`."""
    values = columns(call.job)
    values["placing"], values["waiting"], values["now"] = None, bool(call.parents), now
    return values


def place(statements: Statements, job: NewJob, schedule: str | None = None, slot: float | None = None) -> str:
    """Keep a call, unless it has a duplicate. The schedule and the slot are those of a job that is a slot's.

    Returns:
        The uuid of the job that the call has come to.

    Raises:
        DuplicateJob: it has one, and says that this is an error.
    """
    if schedule is None:
        return _place(statements, job, "insert", columns(job))
    return _place(statements, job, "fire", columns(job) | {"schedule": schedule, "slot": slot})


def has_key(statements: Statements, job: NewJob) -> bool:
    """See, without waiting, whether the call can be placed now: no other one with its unique key is under way."""
    key = job.placing.unique_key
    return key is None or statements.run("try_key", {"task": job.task, "unique_key": key}) == [(1,)]


def plain_part(calls: Sequence[Call]) -> Sequence[Call]:
    """Give the calls up to the first whose place is not PLAIN."""
    number = next((number for number, call in enumerate(calls) if call.job.placing is not PLAIN), len(calls))
    return calls[:number]


def place_all(statements: Statements, calls: Sequence[Call], now: float) -> tuple[list[Call], list[str]]:
    """Keep calls, except for those that have duplicates.

    Returns:
        Those that were kept, and the uuids of the jobs that all of them have come to. Where a call waits for one that
        was not kept, it waits for its duplicate.

    Raises:
        DuplicateJob: one has a duplicate, and says that this is an error.
    """
    kept, uuids, others = list[Call](), list[str](), dict[str, str]()
    for given in calls:
        call = _renamed(given, others) if others else given
        uuid = _place(statements, call.job, "insert_many", row(call, now), waits=bool(call.parents))
        uuids.append(uuid)
        if uuid == call.job.uuid:
            kept.append(call)
        else:
            others[call.job.uuid] = uuid
    return kept, uuids


def _renamed(call: Call, others: Mapping[str, str]) -> Call:
    """Let a call wait for other jobs than it was made with."""
    arguments = call.job.arguments
    for parent in call.parents:
        if parent.uuid in others:
            arguments = arguments.replace(parent.uuid, others[parent.uuid])
    parents = {others.get(parent.uuid, parent.uuid): parent.needed for parent in call.parents}
    job = msgspec.structs.replace(call.job, arguments=arguments)
    return Call(job, [Parent(uuid, needed) for uuid, needed in parents.items()])


def _place(statements: Statements, job: NewJob, statement: str, values: dict[str, Any], *, waits: bool = False) -> str:
    if job.placing.unique_key is not None and (uuid := _duplicate(statements, job, values, waits=waits)):
        return uuid
    statements.many(statement, [values])
    if job.placing.limit_key and not waits:
        statements.run("line_up", {"uuid": job.uuid})
    _set_limit(statements, job)  # after the line, as nodes lock them
    return job.uuid


def _set_limit(statements: Statements, job: NewJob) -> None:
    key, limit = job.placing.limit_key, job.placing.limit or Limit()
    if key:
        statements.run("limit", (key, limit.concurrency, limit.burst, limit.period))


def _duplicate(statements: Statements, job: NewJob, values: dict[str, Any], *, waits: bool) -> str | None:
    """Give the job that has the key, replaced by this one if that is wanted; or take the key from it for `values`."""
    placing = job.placing
    holder = {"task": job.task, "unique_key": placing.unique_key, "now": job.created_at}
    statements.run("lock_key", holder)
    while rows := statements.run("holder_of", holder):
        uuid, state, is_over = rows[0]
        can_be_replaced = state == State.QUEUED and not waits
        if is_over or (placing.on_duplicate == "replace" and not can_be_replaced):
            for (key,) in statements.run("free_key", {"uuid": uuid}):  # another one until the commit
                values["unique_key"] = key
            return None
        if placing.on_duplicate == "raise":
            raise DuplicateJob(f"{job.task} has a job with the key {placing.unique_key!r} already: {uuid}, {state}")
        if placing.on_duplicate == "return":
            return str(uuid)
        _set_limit(statements, job)
        if statements.run("replace", {**columns(job), "replaced": uuid}):  # otherwise it was claimed just now
            return str(uuid)
    return None
