"""Jobs that wait for others. An edge leads from a parent to its child and is open until the parent comes to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from autocron.errors import ResultNotFound
from autocron.model import Settings, State
from autocron.store import placing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autocron.model import Call, Finished
    from autocron.store.driver import Step, Transaction


def insert(transaction: Transaction, calls: Sequence[Call], now: float) -> list[str]:
    """Keep calls and what they wait for; give the uuids of the jobs that they have come to.

    Args:
        transaction: stores them.
        calls: the calls.
        now: the time.

    Raises:
        DuplicateJob: a call has a duplicate, and says that this is an error.
        ResultNotFound: one waits for a job that is not there.
    """
    settles_later = transaction.defer()
    plain = calls[: transaction.insert(calls, now)]
    placed, uuids = placing.place_all(transaction, calls[len(plain) :], now)
    uuids = [call.job.uuid for call in plain] + uuids
    edges = [(parent.uuid, call.job.uuid, parent.needed) for call in (*plain, *placed) for parent in call.parents]
    if not edges:
        return uuids
    wanted = sorted({parent for parent, _, _ in edges})
    there = {uuid for (uuid,) in transaction.run("parents", {"uuids": _json(wanted), "now": now})}
    if len(there) < len(wanted):
        raise _missing(calls, there)
    transaction.run("add_edges", {"edges": _json(edges)})
    if settles_later:
        transaction.run("settle_at_commit", {"uuids": _json({child for _, child, _ in edges}), "now": now})
    else:
        settle(transaction, wanted, now)
    return uuids


def settle(transaction: Transaction, uuids: Iterable[str], now: float) -> list[str]:
    """Let go on, or cancel, what waits for those of the jobs that have come to their end.

    Whatever brings jobs to their end does this in the same transaction; to name more of them does no harm.

    Returns:
        The uuids of the jobs that were cancelled.
    """
    ended, cancelled = {"uuids": _json(uuids)}, list[str]()
    for (parent,) in transaction.run("failed_parents", ended):
        cancelled += [uuid for uuid, *_ in transaction.run(*_cancel(parent, now))]
    transaction.run("close_edges", ended)
    transaction.run("release_waiting", ended)
    return cancelled


def steps(finished: Sequence[Finished], now: float) -> list[Step]:
    """Give the steps that do the same when jobs come to their ends; the rows that they give are what was cancelled."""
    if not finished:
        return []
    ended = {"uuids": _json(one.uuid for one in finished)}
    failed = (one.uuid for one in finished if one.state is not State.SUCCEEDED)
    return [*(_cancel(uuid, now) for uuid in failed), ("close_edges", ended), ("release_waiting", ended)]


def _cancel(parent: str, now: float) -> Step:
    return "cancel_waiting", {"parent": parent, "now": now, "ttl": Settings().result_ttl}


def _missing(calls: Sequence[Call], there: set[str]) -> ResultNotFound:
    task, uuid = next(
        (call.job.task, parent.uuid) for call in calls for parent in call.parents if parent.uuid not in there
    )
    return ResultNotFound(
        f"{task} can't wait for the job {uuid}, which is not in this database: it belongs to another one, its call was"
        " not stored, or its result has expired (result_ttl, failed_ttl). Nothing was stored"
    )


def _json(value: Iterable[Any]) -> str:
    return msgspec.json.encode(list(value)).decode()
