"""Applications and nodes that lock the same rows of a PostgreSQL database in other orders."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from databases import blocked

from autocron.model import Call, Finished, Limit, NewJob, News, Parent, Placing, State
from autocron.store import edges
from autocron.store.base import Store
from autocron.store.claiming import ANY, Claimer
from autocron.store.exchange import Endings
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_url import canonical
from autocron.store.rows import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autocron.model import Claim
    from autocron.store.driver import Transaction


def call(uuid: str, *parents: str, limit: str = "", most: int = 1) -> Call:
    placing = Placing(limit_key=limit, limit=Limit(concurrency=most)) if limit else Placing()
    job = NewJob(uuid, "app.work", "[]", 10.0, 5.0, placing=placing)
    return Call(job, [Parent(parent, needed=True) for parent in parents])


@pytest.fixture
def stores(postgres: str) -> Iterator[tuple[Store, Store]]:
    url = canonical(postgres)
    kinds = (Kind.APPLICATION, 2), (Kind.NODE, 1)
    app, node = (Store(PostgresDriver(url, kind, size, own_time=False)) for kind, size in kinds)
    with closing(app), closing(node):
        yield app, node


def another_node(url: str) -> Store:

    return Store(PostgresDriver(canonical(url), Kind.NODE, 1, own_time=False))


def claim(node: Store) -> Claim:
    """Claim the one job that may begin; its line then waits for its end."""
    (one,) = node.exchange([], 9, 20.0).claims
    assert not node.exchange([], 9, 20.0).claims
    return one


def lock(transaction: Transaction, one: Claim) -> None:
    transaction.run("tell", {"batch": to_json([News(one.uuid, one.attempt, "1", None)])})


def ended(one: Claim) -> Finished:
    return Finished(one.uuid, one.attempt, State.SUCCEEDED, "1", "", "", 20.0, 21.0, 22.0)


def finish(transaction: Transaction, one: Claim) -> None:
    transaction.run("finish", {"batch": to_json([ended(one)]), "now": 21.0})
    transaction.run_all(edges.steps([ended(one)], 21.0))


def test_a_block_does_not_have_a_line_while_it_waits_for_a_parent(stores: tuple[Store, Store], postgres: str) -> None:
    app, node = stores
    app.insert_all([call("a", limit="l"), call("b", limit="l")], 5.0)
    one = claim(node)
    with ExitStack() as later, node._driver.transaction() as transaction:
        lock(transaction, one)
        calls = [call("c", limit="l"), call("d", "a")]
        later.enter_context(blocked(postgres, lambda: app.insert_all(calls, 20.0)))
        finish(transaction, one)
    found = [app.get(uuid, 21.0) for uuid in "bcd"]
    assert [job.state for job in found if job] == [State.QUEUED] * 3


def test_a_block_has_no_line_until_its_commit(stores: tuple[Store, Store]) -> None:
    app, _ = stores
    with app._driver.transaction() as transaction:
        edges.insert(transaction, [call("a", limit="l"), call("b", limit="m")], 20.0)
        app.insert_all([call("c", limit="m"), call("d", limit="l")], 20.0)
    assert app.counts(20.0).by_state == {State.QUEUED: 4}


def test_a_job_that_ends_while_another_node_looks_at_its_line_makes_room(
    stores: tuple[Store, Store], postgres: str
) -> None:
    app, node = stores
    refused: list[str] = []
    with closing(another_node(postgres)) as other:
        app.insert_all([call("a", limit="l")], 5.0)
        (one,) = node.exchange([], 9, 20.0).claims
        app.insert_all([call("b", limit="l")], 5.0)
        with ExitStack() as later, other._driver.transaction() as transaction:
            claimer = Claimer(transaction, transaction.run("levels", {"now": 20.0}), 20.0, None)
            claimer.claim({ANY: 9}, "")  # none, as `a` runs
            later.enter_context(blocked(postgres, lambda: refused.extend(node.exchange([ended(one)], 0, 20.0).refused)))
        assert refused == []
        assert [one.uuid for one in other.exchange([], 9, 20.0).claims] == ["b"]


def test_nodes_that_end_jobs_under_the_same_limits_do_not_lock_each_other_out(
    stores: tuple[Store, Store], postgres: str
) -> None:
    app, node = stores
    refused: list[str] = []
    with closing(another_node(postgres)) as other:
        app.insert_all([call(f"{uuid}-{limit}", limit=limit, most=2) for uuid in "abc" for limit in "lm"], 5.0)
        claims = {one.uuid: one for one in node.exchange([], 9, 20.0).claims}
        assert {*claims} == {"a-l", "a-m", "b-l", "b-m"}
        theirs = [ended(claims["a-m"]), ended(claims["b-l"])]
        with ExitStack() as later, node._driver.transaction() as transaction:
            transaction.run_all(Endings([ended(claims["a-l"])], [], 20.0).steps)
            later.enter_context(blocked(postgres, lambda: refused.extend(other.exchange(theirs, 0, 20.0).refused)))
            transaction.run_all(Endings([ended(claims["b-m"])], [], 20.0).steps)
        assert refused == []
        assert app.counts(20.0).by_state == {State.SUCCEEDED: 4, State.QUEUED: 2}
