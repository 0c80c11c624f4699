"""Calls in the caller's own transaction, and what nodes do while it is open."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from databases import blocked

from autocron.model import Call, Declaration, Finished, Limit, NewJob, Parent, Placing, State
from autocron.store import edges
from autocron.store.base import Store
from autocron.store.placing import Fired
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_url import canonical, for_libpq, schema_of
from autocron.store.rows import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from autocron.model import Claim
    from autocron.store.driver import Transaction

    Connection = psycopg.Connection[Any]
    Connect = Callable[[], Connection]
    End = Callable[[Transaction], object]

SUCCEEDED, FAILED, CANCELLED, PRUNED = "succeeded", "failed", "cancelled", "pruned"


def call(uuid: str, *parents: str, loose: str = "", limit: str = "") -> Call:
    """Give a call that needs these parents, and waits for `loose` whatever comes of it."""
    waits = [*(Parent(parent, needed=True) for parent in parents), *(Parent(parent, needed=False) for parent in loose)]
    placing = Placing(limit_key=limit, limit=Limit(concurrency=1)) if limit else Placing()
    return Call(NewJob(uuid, "app.work", f'["{uuid}"]', 10.0, 5.0, placing=placing), waits)


def calls_that_wait() -> list[Call]:
    return [call("b", "a"), call("c", "b"), call("d", loose="a"), call("e", loose="b")]


@pytest.fixture
def node(postgres: str) -> Iterator[Store]:
    with closing(Store(PostgresDriver(canonical(postgres), Kind.NODE, 1, own_time=False))) as store:
        yield store


@pytest.fixture
def connect(postgres: str) -> Iterator[Connect]:
    url = canonical(postgres)
    with ExitStack() as opened:

        def connect() -> Connection:
            name = f"the caller of {schema_of(url)}"
            return opened.enter_context(closing(psycopg.connect(for_libpq(url), application_name=name)))

        yield connect


def join(store: Store, connection: Connection, *calls: Call) -> None:
    connection.execute("select 1")
    joined = store.join(connection)
    assert joined
    store.insert_all(calls, 20.0, joined)


def run(store: Store, end: End) -> None:
    with store._driver.transaction() as transaction:
        end(transaction)


def finish(transaction: Transaction, *claims: Claim, state: State = State.SUCCEEDED) -> None:
    ended = [Finished(one.uuid, one.attempt, state, "1", "too bad", "", 20.0, 21.0, 22.0) for one in claims]
    transaction.run("finish", {"batch": to_json(ended), "now": 21.0})
    transaction.run_all(edges.steps(ended, 21.0))


def cancel(transaction: Transaction) -> None:
    transaction.run("cancel", {"uuid": "a", "now": 21.0, "ttl": 100.0})
    edges.settle(transaction, ["a"], 21.0)


def prune(transaction: Transaction) -> None:
    for (uuid,) in transaction.run("prune", {"now": 30.0, "count": 9}):
        transaction.run("forget_edges", {"uuids": to_json([uuid])})


def prepare(store: Store, how: str) -> End:
    """Give what brings the job "a" to its end."""
    if how == CANCELLED:
        return cancel
    (claim,) = store.exchange([], 1, 20.0).claims
    if how == PRUNED:
        run(store, lambda transaction: finish(transaction, claim))
        return prune
    return lambda transaction: finish(transaction, claim, state=State(how))


def outcome(store: Store) -> list[tuple[str, State, str]]:
    kept = [(uuid, store.get(uuid, 21.0)) for uuid in "bcde"]
    return [(uuid, job.state, job.error_message) for uuid, job in kept if job]


def expected(how: str) -> list[tuple[str, State, str]]:
    if how == SUCCEEDED:
        states = State.QUEUED, State.WAITING, State.QUEUED, State.WAITING
        return [(uuid, state, "") for uuid, state in zip("bcde", states, strict=True)]
    reason = {
        FAILED: "app.work a failed: too bad",
        CANCELLED: "app.work a was cancelled: cancelled before it was begun",
        PRUNED: "the result of a has expired (result_ttl, failed_ttl)",
    }[how]
    cancelled = [(uuid, State.CANCELLED, reason) for uuid in "bc"]
    return [*cancelled, *((uuid, State.QUEUED, "") for uuid in "de")]


each_end = pytest.mark.parametrize("how", [SUCCEEDED, FAILED, CANCELLED])


@each_end
def test_a_parent_ends_before_the_call(node: Store, connect: Connect, how: str) -> None:
    node.insert(call("a").job)
    run(node, prepare(node, how))
    connection = connect()
    join(node, connection, *calls_that_wait())
    connection.commit()
    assert outcome(node) == expected(how)


@pytest.mark.parametrize("how", [SUCCEEDED, FAILED, CANCELLED, PRUNED])
def test_a_parent_ends_between_the_call_and_the_commit(node: Store, connect: Connect, how: str) -> None:
    node.insert(call("a").job)
    connection = connect()
    join(node, connection, *calls_that_wait())
    run(node, prepare(node, how))
    assert outcome(node) == []
    connection.commit()
    assert outcome(node) == expected(how)


@pytest.mark.parametrize("how", [SUCCEEDED, FAILED, CANCELLED, PRUNED])
def test_the_commit_comes_while_the_end_of_a_parent_is_being_stored(
    node: Store, connect: Connect, postgres: str, how: str
) -> None:
    node.insert(call("a").job)
    connection = connect()
    join(node, connection, *calls_that_wait())
    end = prepare(node, how)
    with ExitStack() as later, node._driver.transaction() as transaction:
        end(transaction)
        later.enter_context(blocked(postgres, connection.commit))
    assert outcome(node) == expected(how)


@each_end
def test_a_parent_ends_while_the_commit_is_under_way(node: Store, connect: Connect, postgres: str, how: str) -> None:
    node.insert(call("a").job)
    connection = connect()
    join(node, connection, *calls_that_wait())
    end = prepare(node, how)
    connection.execute("set constraints all immediate")  # what comes first at a commit
    with blocked(postgres, lambda: run(node, end)):
        connection.commit()
    assert outcome(node) == expected(how)


@each_end
def test_a_parent_ends_after_the_commit(node: Store, connect: Connect, how: str) -> None:
    node.insert(call("a").job)
    connection = connect()
    join(node, connection, *calls_that_wait())
    connection.commit()
    run(node, prepare(node, how))
    assert outcome(node) == expected(how)


@pytest.mark.parametrize("under_way", [True, False])
def test_a_result_is_not_pruned_from_the_commit_on(node: Store, connect: Connect, under_way: bool) -> None:
    node.insert(call("a").job)
    connection = connect()
    join(node, connection, *calls_that_wait())
    end = prepare(node, PRUNED)
    if under_way:
        connection.execute("set constraints all immediate")
        run(node, end)
    connection.commit()
    run(node, end)
    assert outcome(node) == expected(SUCCEEDED)
    assert node.get("a", 21.0)


def test_of_several_parents_some_have_ended(node: Store, connect: Connect) -> None:
    node.insert_all([call("a"), call("p")], 5.0)
    connection = connect()
    join(node, connection, call("b", "a", "p"), call("c", "p"))
    join(node, connection, call("d", "b", "a"), call("e", "a"))
    first, second = node.exchange([], 9, 20.0).claims
    run(node, lambda transaction: finish(transaction, first))
    connection.commit()
    waiting = [("b", State.WAITING, ""), ("c", State.WAITING, ""), ("d", State.WAITING, "")]
    assert outcome(node) == [*waiting, ("e", State.QUEUED, "")]
    run(node, lambda transaction: finish(transaction, second))
    assert [claim.uuid for claim in node.exchange([], 9, 20.0).claims] == ["b", "c", "e"]


def test_a_snapshot_that_is_older_than_the_end_of_a_parent_is_no_danger(node: Store, connect: Connect) -> None:
    node.insert(call("a").job)
    connection = connect()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    join(node, connection, call("b", "a"))
    run(node, prepare(node, SUCCEEDED))
    with pytest.raises(psycopg.errors.SerializationFailure):
        connection.commit()
    join(node, connection, call("b", "a"))
    connection.commit()
    assert outcome(node) == [("b", State.QUEUED, "")]


def test_a_job_under_a_limit_stands_in_line_when_its_parent_has_ended(node: Store, connect: Connect) -> None:
    """A line is not locked until the commit, either."""
    node.insert_all([call("a", limit="l"), call("p", limit="l")], 5.0)
    (claim,) = node.exchange([], 9, 20.0).claims
    run(node, lambda transaction: finish(transaction, claim))
    connection = connect()
    join(node, connection, call("b", "a", limit="l"))
    (claim,) = node.exchange([], 9, 20.0).claims
    run(node, lambda transaction: finish(transaction, claim))
    assert not node.exchange([], 9, 20.0).claims
    connection.commit()
    assert [claim.uuid for claim in node.exchange([], 9, 20.0).claims] == ["b"]


# Keys and limits


def keyed(uuid: str, limit: str = "") -> Call:
    placing = Placing(
        limit_key=limit, limit=Limit(concurrency=1) if limit else None, unique_key="k", on_duplicate="replace"
    )
    return Call(NewJob(uuid, "app.work", f'["{uuid}"]', 10.0, 5.0, placing=placing), [])


def test_a_running_job_that_is_replaced_can_end(node: Store, connect: Connect) -> None:
    node.insert(keyed("a").job)
    (claim,) = node.exchange([], 9, 20.0).claims
    connection = connect()
    join(node, connection, keyed("b"))
    join(node, connection, keyed("c"))  # replaces "b"
    run(node, lambda transaction: finish(transaction, claim))
    connection.commit()
    assert outcome(node) == [("b", State.QUEUED, "")]
    assert [(one.uuid, one.arguments) for one in node.exchange([], 9, 20.0).claims] == [("b", '["c"]')]
    assert node.insert(keyed("d").job) == "d"


def test_a_job_of_the_same_transaction_loses_its_key(node: Store, connect: Connect) -> None:
    node.insert(keyed("a").job)
    (first,) = node.exchange([], 9, 20.0).claims
    connection = connect()
    waiting = [Call(keyed(uuid).job, [Parent("a", needed=True)]) for uuid in "bcd"]
    join(node, connection, *waiting)
    connection.commit()
    run(node, lambda transaction: finish(transaction, first))
    assert sorted(one.uuid for one in node.exchange([], 9, 20.0).claims) == ["b", "c", "d"]
    returned = msgspec.structs.replace(keyed("e").job.placing, on_duplicate="return")
    assert node.insert(msgspec.structs.replace(keyed("e").job, placing=returned)) == "d"


def test_a_key_stays_with_its_job_when_the_transaction_is_rolled_back(node: Store, connect: Connect) -> None:
    node.insert(keyed("a").job)
    (claim,) = node.exchange([], 9, 20.0).claims
    connection = connect()
    join(node, connection, keyed("b"))
    connection.rollback()
    returned = msgspec.structs.replace(keyed("b").job.placing, on_duplicate="return")
    assert node.insert(msgspec.structs.replace(keyed("b").job, placing=returned)) == "a"
    run(node, lambda transaction: finish(transaction, claim))


def test_a_schedule_with_the_key_fires_after_the_commit(node: Store, connect: Connect) -> None:
    node.declare(
        [Declaration("hourly", "app.work", "app", "0 * * * *", "UTC", "skip", "all", None, None)], ["app"], [], [], 5.0
    )
    connection = connect()
    join(node, connection, keyed("a"))
    slot = (10.0, keyed("b").job)
    assert node.fire("hourly", 10.0, [slot], alone=False) is Fired.HELD
    assert node.schedules()[0].cursor == 5.0
    node.insert(call("p").job)
    assert [claim.uuid for claim in node.exchange([], 9, 20.0).claims] == ["p"]
    connection.commit()
    assert node.fire("hourly", 10.0, [slot], alone=False) is Fired.STORED
    assert [(one.uuid, one.arguments) for one in node.exchange([], 9, 20.0).claims] == [("a", '["b"]')]


def test_no_node_waits_for_a_queued_job_that_is_replaced(node: Store, connect: Connect) -> None:
    node.insert_all([call("a", limit="l"), keyed("b", limit="l")], 5.0)
    (claim,) = node.exchange([], 9, 20.0).claims
    assert claim.uuid == "a"
    connection = connect()
    join(node, connection, keyed("c", limit="l"))
    node.hold({"b": "unknown task"})
    node._driver.write("await", {"uuids": to_json(["b"])}, 5.0)
    run(node, lambda transaction: finish(transaction, claim))
    assert not node.exchange([], 9, 20.0).claims
    connection.commit()
    assert [(one.uuid, one.arguments) for one in node.exchange([], 9, 20.0).claims] == [("b", '["c"]')]


def test_a_limit_that_is_new_or_changed_keeps_nobody_waiting(node: Store, connect: Connect) -> None:
    node.settings()  # creates the schema
    connection = connect()
    join(node, connection, call("b", limit="l"))
    node.insert(call("a", limit="l").job)
    assert [claim.uuid for claim in node.exchange([], 9, 20.0).claims] == ["a"]
    connection.commit()
    assert not node.exchange([], 9, 20.0).claims


# Who waits for whom


def test_two_transactions_wait_for_the_same_parents(node: Store, connect: Connect, postgres: str) -> None:
    node.insert_all([call("a"), call("p")], 5.0)
    one, other = connect(), connect()
    join(node, one, call("b", "a"))
    join(node, one, call("c", "p", limit="l"), call("x", limit="m"))
    join(node, other, call("y", limit="m"), call("d", "p", limit="l"))
    join(node, other, call("e", "a"))
    for claim in node.exchange([], 9, 20.0).claims:
        run(node, lambda transaction, claim=claim: finish(transaction, claim))
    one.execute("set constraints all immediate")
    with blocked(postgres, other.commit):
        one.commit()
    assert outcome(node) == [(uuid, State.QUEUED, "") for uuid in "bcde"]


def test_no_deadlock_with_a_node_that_ends_jobs_in_another_order(node: Store, connect: Connect, postgres: str) -> None:
    node.insert_all([call("a"), call("p")], 5.0)
    connection = connect()
    join(node, connection, call("b", "a", "p"))
    first, second = node.exchange([], 9, 20.0).claims
    with ExitStack() as later, node._driver.transaction() as transaction:
        finish(transaction, second)
        later.enter_context(blocked(postgres, connection.commit))  # it has locked the first job
        finish(transaction, first)
    assert outcome(node) == [("b", State.QUEUED, "")]


def test_who_holds_a_parent_for_too_long_makes_the_commit_fail(node: Store, connect: Connect, postgres: str) -> None:
    node.insert(call("a").job)
    connection, holder = connect(), connect()
    join(node, connection, call("b", "a"))
    holder.execute(f"select from {schema_of(canonical(postgres))}.jobs for update".encode())
    with pytest.raises(psycopg.errors.LockNotAvailable):
        connection.commit()
    assert outcome(node) == []


def test_the_user_at_the_commit_may_be_another(node: Store, connect: Connect, postgres: str) -> None:
    """Before PostgreSQL 18 a deferred trigger runs as whoever commits."""
    role = f"r_{schema_of(canonical(postgres))}"
    node.insert(call("a").job)
    connection = connect()
    connection.execute(f"create role {role}".encode())
    join(node, connection, call("b", "a"), call("c", limit="l"))
    connection.execute(f"set role {role}".encode())
    connection.commit()
    assert outcome(node) == [("b", State.WAITING, ""), ("c", State.QUEUED, "")]
    connection.execute(f"reset role; drop role {role}".encode())
    connection.commit()
