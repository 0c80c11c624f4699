"""Calls that are stored together, and jobs that wait for others: what the store promises about them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest
from databases import blocked

from autocron.errors import ResultNotFound
from autocron.model import Call, Claim, Counts, Finished, NewJob, Parent, Requeued, State
from autocron.store import edges
from autocron.store.base import Store
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_url import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from autocron.store.base import Exchange

MANY = 10_000


def call(uuid: str, *parents: str, loose: str = "", begin_by: float | None = None) -> Call:
    """Give a call that needs these parents, and waits for `loose` whatever comes of it."""
    waits = [*(Parent(parent, needed=True) for parent in parents), *(Parent(parent, needed=False) for parent in loose)]
    return Call(NewJob(uuid, "app.work", f'["{uuid}"]', 10.0, 5.0, begin_by), waits)


def ended(claim: Claim, state: State = State.SUCCEEDED, message: str = "", expires_at: float = 100.0) -> Finished:
    return Finished(claim.uuid, claim.attempt, state, f'"{claim.uuid}"', message, "", 20.0, 21.0, expires_at)


def end(store: Store, uuid: str, state: State = State.SUCCEEDED, message: str = "") -> Exchange:
    """Claim this job, which is the only one that is due, and bring it to its end."""
    (claim,) = store.exchange([], 9, 20.0).claims
    assert claim.uuid == uuid
    return store.exchange([ended(claim, state, message)], 0, 21.0)


def due(store: Store) -> list[str]:
    return [claim.uuid for claim in store.exchange([], 99, 20.0).claims]


def states(store: Store, uuids: Iterable[str]) -> list[State | None]:
    return [kept.state if (kept := store.get(uuid, 21.0)) else None for uuid in uuids]


def reason(store: Store, uuid: str) -> str:
    kept = store.get(uuid, 21.0)
    assert kept
    return kept.error_message


# Many at once


def test_calls_are_kept_together(store: Store) -> None:
    assert store.insert_all([call("a"), call("b")], 5.0)
    assert store.exchange([], 9, 20.0).claims == [Claim(uuid, 1, "app.work", f'["{uuid}"]', 20.0) for uuid in "ab"]


def test_all_are_kept_or_none(store: Store) -> None:
    with pytest.raises(
        ResultNotFound, match=r"app\.work can't wait for the job nothing, which is not in this database"
    ):
        store.insert_all([call("a"), call("b", "a", "nothing"), call("c")], 5.0)
    assert store.counts(20.0) == Counts()
    store.insert(call("b").job)
    with pytest.raises(Exception, match="b"):
        store.insert_all([call("a"), call("b")], 5.0)
    assert states(store, "ab") == [None, State.QUEUED]


def test_while_the_lock_is_on_none_is_kept(store: Store) -> None:
    store.set({"locked": True})
    assert not store.insert_all([call("a")], 5.0)
    assert store.counts(20.0) == Counts()


# Waiting


def test_a_job_waits_for_the_last_of_its_parents(store: Store) -> None:
    store.insert_all([call("a"), call("b"), call("c", "a", loose="b")], 5.0)
    assert states(store, "abc") == [State.QUEUED, State.QUEUED, State.WAITING]
    first, second = store.exchange([], 9, 20.0).claims
    assert store.exchange([ended(first)], 9, 21.0).claims == []
    exchange = store.exchange([ended(second)], 9, 21.0)
    assert [claim.uuid for claim in exchange.claims] == ["c"]
    assert store.get_all("cax") == {uuid: store.get(uuid, 21.0) for uuid in "ac"}


def test_without_capacity_the_next_time_is_that_of_a_job_that_was_released(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a")], 5.0)
    assert end(store, "a").next_due == 10.0


def test_a_job_that_is_released_early_waits_for_its_time(store: Store) -> None:
    later = call("b", "a")
    store.insert_all([call("a"), Call(msgspec.structs.replace(later.job, run_at=50.0), later.parents)], 5.0)
    assert end(store, "a").next_due == 50.0
    assert due(store) == []


def test_a_parent_may_have_ended_before_the_call(store: Store) -> None:
    store.insert_all([call("a")], 5.0)
    end(store, "a")
    store.insert_all([call("b", "a"), call("c", "b")], 22.0)
    assert states(store, "bc") == [State.QUEUED, State.WAITING]
    assert due(store) == ["b"]


def test_a_retry_of_a_parent_lets_others_wait_on(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a")], 5.0)
    (claim,) = store.exchange([], 9, 20.0).claims
    again = Requeued("a", 1, 15.0, None, 0, 0, None, 1, begun=True)
    (claim,) = store.exchange([again], 9, 20.0).claims
    assert store.exchange([msgspec.structs.replace(ended(claim), attempt=1)], 9, 20.0).refused == ["a"]
    assert states(store, "ab") == [State.RUNNING, State.WAITING]
    store.exchange([ended(claim)], 0, 20.0)
    assert due(store) == ["b"]


def test_a_late_outcome_beside_the_right_one_counts_once(store: Store) -> None:
    store.insert_all([call("a"), call("b"), call("c", "a", "b")], 5.0)
    claim, _ = store.exchange([], 9, 20.0).claims
    late = msgspec.structs.replace(ended(claim, State.FAILED), attempt=7)
    exchange = store.exchange([late, ended(claim), ended(claim)], 9, 20.0)
    assert exchange.cancelled == []
    assert states(store, "c") == [State.WAITING]


# Parents that do not succeed


def test_what_needs_a_job_that_failed_is_cancelled_with_the_reason(store: Store) -> None:
    calls = [call("a"), call("b", "a"), call("c", "b"), call("d", "c", "a"), call("e")]
    store.insert_all(calls[:4], 5.0)
    exchange = end(store, "a", State.FAILED, "ValueError: no")
    assert sorted(exchange.cancelled) == ["b", "c", "d"]
    assert states(store, "bcd") == [State.CANCELLED] * 3
    assert {reason(store, uuid) for uuid in "bcd"} == {"app.work a failed: ValueError: no"}
    kept = store.get("d", 21.0)
    assert kept
    assert (kept.started_at, kept.finished_at, kept.attempt) == (None, 21.0, 0)
    assert store.get("d", 21.0 + 1799)
    assert store.get("d", 21.0 + 1801) is None
    store.insert_all(calls[4:], 22.0)
    assert due(store) == ["e"]


def test_the_time_for_which_results_are_kept_is_that_of_the_setting_or_of_the_job(store: Store) -> None:
    store.set({"result_ttl": 50.0})
    own = call("b", "a")
    own = Call(msgspec.structs.replace(own.job, policy='{"result_ttl":7}'), own.parents)
    store.insert_all([call("a"), own, call("c", "a")], 5.0)
    end(store, "a", State.FAILED)
    assert [bool(store.get(uuid, 21.0 + 7)) for uuid in "bc"] == [False, True]
    assert [bool(store.get(uuid, 21.0 + 50)) for uuid in "bc"] == [False, False]


def test_a_job_may_run_after_a_failure(store: Store) -> None:
    store.insert_all([call("a"), call("b", loose="a"), call("c", "a"), call("d", loose="c"), call("e", "d")], 5.0)
    assert end(store, "a", State.CANCELLED, "withdrawn").cancelled == ["c"]
    assert reason(store, "c") == "app.work a was cancelled: withdrawn"
    assert states(store, "bde") == [State.QUEUED, State.QUEUED, State.WAITING]


def test_a_parent_that_had_failed_before_the_call_cancels_at_once(store: Store) -> None:
    store.insert_all([call("a")], 5.0)
    end(store, "a", State.FAILED, "no")
    store.insert_all([call("b", "a"), call("c", "b"), call("d", loose="a")], 22.0)
    assert states(store, "bcd") == [State.CANCELLED, State.CANCELLED, State.QUEUED]
    assert reason(store, "c") == "app.work a failed: no"
    cancelled = [store.get(uuid, 22.0) for uuid in "bc"]
    assert [job.finished_at for job in cancelled if job] == [22.0, 22.0]


def test_what_waits_for_an_expired_job_is_cancelled(store: Store) -> None:
    store.insert_all([call("a", begin_by=15.0), call("b", "a"), call("c", "b")], 5.0)
    assert store.expire(5, 20.0, 100.0) == (["a", "b", "c"], None)
    assert reason(store, "c") == "app.work a was cancelled: expired"


def test_what_waits_for_a_cancelled_job_is_cancelled(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a"), call("c", "b"), call("d", loose="b")], 5.0)
    assert store.cancel("b", 20.0, 100.0)
    assert reason(store, "c") == "app.work b was cancelled: cancelled before it was begun"
    assert states(store, "abcd") == [State.QUEUED, State.CANCELLED, State.CANCELLED, State.QUEUED]


def test_a_waiting_job_expires_too(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a", begin_by=15.0), call("c", "b")], 5.0)
    assert store.expire(5, 20.0, 100.0) == (["b", "c"], None)
    end(store, "a")
    assert states(store, "bc") == [State.CANCELLED] * 2
    assert due(store) == []


# Results that are needed


def test_a_result_stays_while_another_job_is_to_receive_it(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a")], 5.0)
    end(store, "a")
    assert store.get("a", 200.0) is None
    assert store.prune(200.0, 9) == 0
    (claim,) = store.exchange([], 9, 200.0).claims
    assert store.prune(200.0, 9) == 0
    assert store.get_all(["a"])["a"].result == '"a"'
    store.exchange([ended(claim, expires_at=300.0)], 0, 200.0)
    assert store.prune(200.0, 9) == 1
    assert store.get_all(["a"]) == {}
    assert store.prune(300.0, 9) == 1


def test_an_expired_result_cannot_be_needed_any_more(store: Store) -> None:
    store.insert_all([call("a")], 5.0)
    end(store, "a")
    with pytest.raises(ResultNotFound, match="can't wait for the job a"):
        store.insert_all([call("b", "a")], 200.0)


# The whole graph


def test_a_graph_has_all_that_is_connected(store: Store) -> None:
    calls = [call("x"), call("a"), call("b", "a"), call("c", loose="a"), call("d", "b", "c"), call("y", "x")]
    store.insert_all(calls, 5.0)
    for uuid in "abcd":
        assert store.graph(uuid, 20.0) == [(one, "app.work") for one in "abcd"]
    assert store.graph("y", 20.0) == [("x", "app.work"), ("y", "app.work")]
    assert store.graph("nothing", 20.0) == []


def test_a_graph_shrinks_as_results_expire(store: Store) -> None:
    store.insert_all([call("a"), call("b", "a")], 5.0)
    end(store, "a")
    assert store.graph("b", 99.0) == [("a", "app.work"), ("b", "app.work")]
    assert store.graph("b", 100.0) == [("b", "app.work")]


def test_a_fan_in_of_many(store: Store) -> None:
    names = [f"{number:05}" for number in range(MANY)]
    store.insert_all([*map(call, names), call("all", *names)], 5.0)
    while claims := store.exchange([], 512, 20.0).claims:
        assert states(store, ["all"]) == [State.WAITING if claims[0].uuid != "all" else State.RUNNING]
        store.exchange([ended(claim) for claim in claims], 0, 20.0)
    assert len(store.get_all(names)) == MANY
    assert store.counts(20.0).by_state == {State.SUCCEEDED: MANY + 1}


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_a_failure_cancels_many(store: Store, shape: str) -> None:
    names = [f"{number:05}" for number in range(MANY)]
    parents = names if shape == "chain" else [names[0]] * MANY
    store.insert_all([call(names[0]), *map(call, names[1:], parents)], 5.0)
    assert len(end(store, names[0], State.FAILED, "no").cancelled) == MANY - 1
    assert reason(store, names[-1]) == "app.work 00000 failed: no"
    assert store.counts(20.0).by_state == {State.FAILED: 1, State.CANCELLED: MANY - 1}


# Where several nodes and applications change the database at the same moment


@pytest.fixture
def pair(postgres: str) -> Iterator[list[Store]]:
    stores = [Store(PostgresDriver(canonical(postgres), Kind.NODE, 1, own_time=False)) for _ in range(2)]
    yield stores
    for store in stores:
        store.close()


def test_two_nodes_end_the_last_parents_at_once(postgres: str, pair: list[Store]) -> None:
    one, other = pair
    one.insert_all([call("a"), call("b"), call("c", "a", "b")], 5.0)
    first, second = (ended(claim) for claim in one.exchange([], 9, 20.0).claims)
    with ExitStack() as later, one._driver.transaction() as transaction:
        transaction.run("finish", {"batch": msgspec.json.encode([first]).decode(), "now": 21.0})
        for step in edges.steps([first], 21.0):
            transaction.run(*step)
        later.enter_context(blocked(postgres, lambda: other.exchange([second], 0, 21.0)))
    assert due(one) == ["c"]


def test_a_parent_ends_while_another_job_begins_to_wait_for_it(pair: list[Store]) -> None:
    one, other = pair
    one.insert(call("a").job)
    (claim,) = one.exchange([], 9, 20.0).claims
    with one._driver.transaction() as transaction:
        edges.insert(transaction, [call("b", "a")], 20.0)
        other.exchange([ended(claim)], 0, 21.0)
    assert due(one) == ["b"]
