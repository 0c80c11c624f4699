"""What the store promises of queues, priorities, limits and uniqueness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import apsw
import msgspec
import pytest

from autocron.errors import DuplicateJob
from autocron.model import Call, Declaration, Finished, Limit, NewJob, Parent, Placing, QueueCounts, Requeued, State
from autocron.store.placing import Fired
from autocron.store.sqlite import SqliteDriver, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from autocron.model import Claim
    from autocron.store.base import Store
    from autocron.store.exchange import Exchange

NOW = 1000.0


def sql(store: Store, text: str) -> list[Any]:
    """Run SQL as somebody else would."""
    driver: Any = store._driver
    if not isinstance(driver, SqliteDriver):
        with driver._lend(5.0) as connection:
            connection.execute(f"set search_path to {driver._schema}".encode())
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []
    with apsw.Connection(driver._path) as connection:
        return list(connection.execute(text))


def put(store: Store, uuid: str, run_at: float = 10.0, *, policy: str | None = None, **placing: Any) -> str | None:
    return store.insert(NewJob(uuid, "app.work", "[]", run_at, run_at, None, policy, placing=Placing(**placing)))


def under(limit: Limit, key: str = "key", **placing: Any) -> dict[str, Any]:
    return {"limit": limit, "limit_key": key, **placing}


def uuids(exchange: Exchange) -> list[str]:
    return [claim.uuid for claim in exchange.claims]


def finish(claim: Claim, state: State = State.SUCCEEDED, at: float = NOW) -> Finished:
    return Finished(claim.uuid, claim.attempt, state, "1", "", "", at, at, at + 100)


def requeue(claim: Claim, *, begun: bool, run_at: float | None = None) -> Requeued:
    return Requeued(claim.uuid, claim.attempt, run_at, None, 0, 0, None, 0, begun)


# Queues and priorities


def test_a_queues_jobs_come_by_priority_and_then_by_the_time_they_are_due(store: Store) -> None:
    for uuid, run_at, priority in [("a", 2.0, 0), ("b", 1.0, 0), ("low", 0.0, -100), ("high", 9.0, 100)]:
        put(store, uuid, run_at, priority=priority)
    put(store, "future", NOW + 5, priority=100)
    assert uuids(store.exchange([], 3, NOW)) == ["high", "b", "a"]
    exchange = store.exchange([], 3, NOW)
    assert uuids(exchange) == ["low"]
    assert exchange.due == {"default": NOW + 5}


def test_a_claim_of_all_queues_is_shared_out(store: Store) -> None:
    for number in range(20):
        put(store, f"flood-{number}")
    put(store, "mail", queue="mail")
    put(store, "later", NOW + 1, queue="zoo")
    claimed = uuids(store.exchange([], 10, NOW))
    assert "mail" in claimed
    assert len(claimed) == 10
    assert store.exchange([], 20, NOW).due == {"zoo": NOW + 1}


def test_queues_take_turns_where_one_job_is_claimed_at_a_time(store: Store) -> None:
    for number in range(3):
        for queue in ("a", "b", "c"):
            put(store, f"{queue}{number}", queue=queue)
    order = [uuids(store.exchange([], 1, NOW))[0] for _ in range(9)]
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_each_queue_may_have_a_number_of_its_own(store: Store) -> None:
    for queue in ("a", "b", "c"):
        for number in range(3):
            put(store, f"{queue}{number}", queue=queue)
    exchange = store.exchange([], {"a": 2, "b": 1}, NOW)
    assert uuids(exchange) == ["a0", "a1", "b0"]
    assert {claim.uuid: claim.queue for claim in exchange.claims} == {"a0": "a", "a1": "a", "b0": "b"}
    exchange = store.exchange([], {"a": 9}, NOW)
    assert uuids(exchange) == ["a2"]
    assert exchange.due.keys() == {"b", "c"}


def test_nothing_of_a_paused_queue_is_claimed(store: Store) -> None:
    put(store, "a", queue="mail")
    put(store, "b", **under(Limit(1)), queue="mail")
    assert store.pause_queue("mail")
    assert not store.pause_queue("mail")
    exchange = store.exchange([], 9, NOW)
    assert (exchange.claims, exchange.due) == ([], {})
    assert store.queues(NOW) == [QueueCounts("mail", 2, 0, 0, paused=True)]
    assert store.resume_queue("mail")
    assert not store.resume_queue("mail")
    assert uuids(store.exchange([], 9, NOW)) == ["a", "b"]


def test_the_queues_are_counted(store: Store) -> None:
    put(store, "due", queue="a")
    put(store, "later", NOW + 1, queue="a")
    put(store, "running", queue="b")
    store.exchange([], {"b": 1}, NOW)
    assert store.queues(NOW) == [QueueCounts("a", 1, 1, 0), QueueCounts("b", 0, 0, 1)]


def test_what_comes_next_is_found_everywhere(store: Store) -> None:
    put(store, "third", 3.0)
    put(store, "second", 2.0, **under(Limit(1)), queue="x")
    put(store, "first", 9.0, priority=5)
    assert [job.uuid for job in store.find("queued", 9, NOW)] == ["first", "second", "third"]


# Limits


def test_so_many_jobs_of_a_key_run_at_once(store: Store) -> None:
    for number in range(4):
        put(store, f"x{number}", **under(Limit(2), "x"))
    put(store, "y0", **under(Limit(2), "y"))
    put(store, "plain")
    first = store.exchange([], 9, NOW)
    assert sorted(uuids(first)) == ["plain", "x0", "x1", "y0"]
    assert store.exchange([], 9, NOW).due == {}  # nothing is looked at in vain
    put(store, "x4", **under(Limit(2), "x"))
    assert store.exchange([], 9, NOW).due == {}
    ended = next(claim for claim in first.claims if claim.uuid == "x0")
    assert uuids(store.exchange([finish(ended)], 9, NOW)) == ["x2"]


@pytest.mark.parametrize("end", ["finish", "fail", "retry", "lost", "deleted"])
def test_whatever_ends_gives_its_place_back(store: Store, end: str) -> None:
    put(store, "a", **under(Limit(1)))
    put(store, "b", **under(Limit(1)))
    (claim,) = store.exchange([], 9, NOW).claims
    match end:
        case "finish":
            store.exchange([finish(claim)], 0, NOW)
        case "fail":
            store.exchange([finish(claim, State.FAILED)], 0, NOW)
        case "retry":
            store.exchange([requeue(claim, begun=True, run_at=NOW + 9)], 0, NOW)
        case "lost":  # with its node; another one queues it again
            claims, _ = store.recover()
            store.exchange([requeue(one, begun=True, run_at=NOW + 9) for one in claims], 0, NOW)
        case _:
            sql(store, "delete from jobs where uuid = 'a'")
    assert uuids(store.exchange([], 9, NOW)) == ["b"]


def test_jobs_of_one_key_keep_their_order_over_queues_and_priorities(store: Store) -> None:
    put(store, "low", priority=-1, **under(Limit(1)))
    put(store, "high", priority=1, **under(Limit(1)))
    put(store, "other", queue="other", **under(Limit(1)))
    ends: list[Finished] = []
    order: list[str] = []
    for _ in range(3):
        (claim,) = store.exchange(ends, 9, NOW).claims
        order.append(claim.uuid)
        ends = [finish(claim)]
    assert order.index("high") < order.index("low")
    assert sorted(order) == ["high", "low", "other"]


def test_plain_and_limited_jobs_come_in_the_order_in_which_they_became_due(store: Store) -> None:
    put(store, "p1", 1.0)
    put(store, "l2", 2.0, **under(Limit(5)))
    put(store, "p3", 3.0)
    put(store, "l4", 4.0, **under(Limit(5)))
    assert [uuids(store.exchange([], 1, NOW)) for _ in range(4)] == [["p1"], ["l2"], ["p3"], ["l4"]]


def test_a_rate_lets_the_bucket_go_and_then_one_after_another(store: Store) -> None:
    for number in range(5):
        put(store, str(number), **under(Limit(burst=2, period=10.0)))
    exchange = store.exchange([], 9, NOW)
    assert (uuids(exchange), exchange.due) == (["0", "1"], {"default": NOW + 5})
    assert not store.exchange([], 9, NOW + 4.9).claims
    exchange = store.exchange([], 9, NOW + 5)
    assert (uuids(exchange), exchange.due) == (["2"], {"default": NOW + 10})
    assert uuids(store.exchange([], 9, NOW + 60)) == ["3", "4"]


def test_a_job_that_was_not_begun_gives_its_token_back(store: Store) -> None:
    limit = Limit(burst=1, period=86400.0)
    put(store, "a", **under(limit))
    (claim,) = store.exchange([], 9, NOW).claims
    assert uuids(store.exchange([requeue(claim, begun=False)], 9, NOW)) == ["a"]
    put(store, "b", **under(limit))
    exchange = store.exchange([requeue(msgspec.structs.replace(claim, attempt=2), begun=True)], 9, NOW)
    assert (exchange.claims, exchange.due) == ([], {"default": NOW + 86400})


def test_the_last_call_says_what_the_limit_is(store: Store) -> None:
    for number in range(3):
        put(store, str(number), **under(Limit(1)))
    assert len(store.exchange([], 9, NOW).claims) == 1
    put(store, "3", **under(Limit(3)))
    store.recover()  # a new node looks at all lines
    assert len(store.exchange([], 9, NOW).claims) == 2


def test_a_scheduled_job_of_a_limit_waits_for_its_time(store: Store) -> None:
    put(store, "a", NOW + 5, **under(Limit(1)))
    exchange = store.exchange([], 9, NOW)
    assert (exchange.claims, exchange.due) == ([], {"default": NOW + 5})
    put(store, "b", NOW - 5, **under(Limit(1)))
    assert uuids(store.exchange([], 9, NOW)) == ["b"]


def test_a_parked_job_stands_in_line_again_when_it_may_run(store: Store) -> None:
    put(store, "a", **under(Limit(1)))
    (claim,) = store.exchange([], 9, NOW).claims
    store.exchange([Requeued(claim.uuid, 1, None, "unknown task", 0, 0, None, 0, False)], 0, NOW)
    assert store.exchange([], 9, NOW).due == {}
    assert store.prune(NOW, 100) == 0  # its limit is kept
    store.declare([], [], [], ["app.work"], NOW)
    put(store, "b", **under(Limit(1)))
    assert uuids(store.exchange([], 9, NOW)) == ["a"]


def test_limits_that_nobody_uses_are_forgotten(store: Store) -> None:
    for number in range(5):
        put(store, str(number), **under(Limit(1), str(number)))
    claims = store.exchange([], 4, NOW).claims
    store.exchange([finish(claim) for claim in claims[:3]], 0, NOW)
    for _ in range(4):
        store.prune(NOW, 2)
    assert sorted(sql(store, "select key from limits")) == [("3",), ("4",)]


def test_a_long_line_and_jobs_for_later_cost_a_claim_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db")

    def costs() -> int:
        """Count what SQLite does for some claims; time would depend on the machine."""
        steps = [0]
        real = open_store(tmp_path / "jobs.db")
        real.settings()
        session, connection = real._driver._connections.enter(5.0)  # type: ignore[attr-defined]
        session.mutex.release()
        connection.set_progress_handler(lambda: bool(steps.append(0)), 10)
        for _ in range(5):
            real.exchange([], 1, NOW)
        connection.set_progress_handler(None)
        real.close()
        return len(steps)

    put(store, "running", **under(Limit(1)))
    store.exchange([], 1, NOW)
    for number in range(20):
        put(store, f"plain-{number}", 500.0)
    few = costs()
    store.close()
    connection = apsw.Connection(str(tmp_path / "jobs.db"))
    connection.execute(
        "with recursive numbers (n) as (values (1) union all select n + 1 from numbers where n < 20000) "
        "insert into jobs (uuid, task, arguments, state, run_at, created_at, limit_key, priority)"
        " select 'x' || n, 'app.work', '[]', 'queued', iif(n % 4, 1, 5000), 1, iif(n % 2, 'key', ''), 0 from numbers"
        " where n % 4 <> 2"
    )
    connection.close()
    assert costs() < few * 1.5


# Uniqueness


def test_a_duplicate_comes_to_the_job_that_is_there(store: Store) -> None:
    assert put(store, "a", unique_key="x") == "a"
    assert put(store, "b", unique_key="x") == "a"
    assert put(store, "c", unique_key="y") == "c"
    assert store.insert(NewJob("d", "app.other", "[]", 1.0, 1.0, placing=Placing(unique_key="x"))) == "d"
    claims = store.exchange([], 1, NOW).claims
    assert put(store, "e", unique_key="x") == "a"
    store.exchange([finish(claim) for claim in claims], 0, NOW)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_what_has_ended_has_no_duplicates(store: Store, state: State) -> None:
    put(store, "a", unique_key="x")
    (claim,) = store.exchange([], 1, NOW).claims
    store.exchange([finish(claim, state)], 0, NOW)
    assert put(store, "b", NOW, unique_key="x") == "b"
    assert store.get("a", NOW)


def test_what_has_succeeded_may_have_duplicates_for_some_time(store: Store) -> None:
    put(store, "a", unique_key="x", policy='{"unique_for":60.0}')
    (claim,) = store.exchange([], 1, NOW).claims
    store.exchange([finish(claim)], 0, NOW)
    assert put(store, "b", NOW + 59.9, unique_key="x") == "a"
    assert put(store, "b", NOW + 60, unique_key="x") == "b"


def test_a_duplicate_can_be_an_error(store: Store) -> None:
    put(store, "a", unique_key="x")
    with pytest.raises(DuplicateJob, match=r"app\.work has a job with the key 'x' already: a, queued"):
        put(store, "b", unique_key="x", on_duplicate="raise")
    assert store.get("b", NOW) is None


def test_a_queued_job_can_be_replaced(store: Store) -> None:
    put(store, "a", unique_key="x", on_duplicate="replace")
    later = NewJob("b", "app.work", '["new"]', NOW + 5, NOW, NOW + 9, placing=Placing("mail", 3, unique_key="x"))
    later = msgspec.structs.replace(later, placing=msgspec.structs.replace(later.placing, on_duplicate="replace"))
    assert store.insert(later) == "a"
    exchange = store.exchange([], 9, NOW)
    assert (exchange.claims, exchange.due) == ([], {"mail": NOW + 5})
    (claim,) = store.exchange([], 9, NOW + 5).claims
    assert (claim.uuid, claim.arguments, claim.begin_by, claim.queue) == ("a", '["new"]', NOW + 9, "mail")
    # What runs can't be replaced: the call has a job of its own, which may be replaced in turn.
    assert put(store, "c", unique_key="x", on_duplicate="replace") == "c"
    assert put(store, "d", unique_key="x", on_duplicate="replace") == "c"


def test_a_job_that_was_replaced_stands_in_the_line_of_its_new_limit(store: Store) -> None:
    put(store, "a", NOW + 5, unique_key="x", **under(Limit(1), "old"))
    put(store, "b", 1.0, unique_key="x", on_duplicate="replace", **under(Limit(1), "new"))
    assert uuids(store.exchange([], 9, NOW)) == ["a"]
    assert store.exchange([], 9, NOW + 5).due == {}


def test_with_the_lock_nothing_is_kept_of_a_call_with_a_key(store: Store) -> None:
    store.set({"locked": True})
    assert put(store, "a", unique_key="x") is None
    assert store.get("a", NOW) is None


def test_jobs_of_schedules_have_their_place(store: Store) -> None:
    store.declare([Declaration("s", "app.work", "app", "@daily", "UTC")], ["app"], [], ["app.work"], 0.0)
    placing = Placing("mail", 5, "key", Limit(1), "x")
    slots = [(slot, NewJob(f"slot-{slot}", "app.work", "[]", slot, slot, placing=placing)) for slot in (1.0, 2.0)]
    assert store.fire("s", 2.0, slots, alone=False) is Fired.STORED
    exchange = store.exchange([], 9, NOW)
    assert [(claim.uuid, claim.queue) for claim in exchange.claims] == [("slot-1.0", "mail")]
    assert store.counts(time.time()).by_state == {State.RUNNING: 1}


# Many at once, and jobs that wait for others


def keyed(uuid: str, *parents: str, arguments: str = "[]", **placing: Any) -> Call:
    job = NewJob(uuid, "app.work", arguments, 10.0, 10.0, placing=Placing(**placing))
    return Call(job, [Parent(parent, needed=True) for parent in parents])


def test_of_many_calls_those_with_a_key_have_no_duplicates(store: Store) -> None:
    put(store, "old", unique_key="x")
    calls = [keyed("a", unique_key="x"), keyed("b"), keyed("c", unique_key="y"), keyed("d", unique_key="y")]
    assert store.insert_all(calls, 10.0) == ["old", "b", "c", "c"]
    assert sorted(uuids(store.exchange([], 9, NOW))) == ["b", "c", "old"]


def test_one_duplicate_that_is_an_error_keeps_all_of_many_calls_out(store: Store) -> None:
    put(store, "old", unique_key="x")
    with pytest.raises(DuplicateJob):
        store.insert_all([keyed("a"), keyed("b", unique_key="x", on_duplicate="raise")], 10.0)
    assert store.get("a", NOW) is None


def test_a_call_that_waits_for_a_duplicate_waits_for_the_job_that_is_there(store: Store) -> None:
    put(store, "old", unique_key="x")
    call = keyed("b", "a", arguments='[[{"$result":"a"}],{}]')
    assert store.insert_all([keyed("a", unique_key="x"), call], 10.0) == ["old", "b"]
    (claim,) = store.exchange([], 9, NOW).claims
    (waited,) = store.exchange([finish(claim)], 9, NOW).claims
    assert (waited.uuid, waited.arguments) == ("b", '[[{"$result":"old"}],{}]')


def test_a_job_that_waited_for_another_one_stands_in_its_line_then(store: Store) -> None:
    store.insert_all([keyed("a", **under(Limit(1))), keyed("b", "a", **under(Limit(1))), keyed("c", "a")], 10.0)
    (claim,) = store.exchange([], 9, NOW).claims
    assert store.exchange([], 9, NOW).due == {}
    put(store, "d", 11.0, **under(Limit(1)))
    assert sorted(uuids(store.exchange([finish(claim)], 9, NOW))) == ["b", "c"]
    assert store.exchange([], 9, NOW).due == {}


def test_a_job_that_waits_is_not_replaced(store: Store) -> None:
    put(store, "a")
    replaced = {"unique_key": "x", "on_duplicate": "replace"}
    assert store.insert_all([keyed("b", "a", **replaced)], 10.0) == ["b"]
    assert put(store, "c", **replaced) == "c"
    assert store.insert_all([keyed("d", "a", **replaced)], 10.0) == ["d"]
