"""What a node says to the others, on a real database."""

from __future__ import annotations

import time
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psycopg
import pytest

from autocron.clock import SystemClock
from autocron.errors import StoreError
from autocron.model import Finished, NewJob, State
from autocron.node import colleagues
from autocron.node.colleagues import Colleagues
from autocron.store.exchange import Exchange
from autocron.store.postgres import open_store
from autocron.store.postgres_nodes import Membership
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from autocron.store.base import Store


class Events:
    """Takes what the loop is told."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[list[str]] = SimpleQueue()

    def joined(self, node: int) -> None: ...
    def silenced(self) -> None: ...
    def expelled(self) -> None: ...
    def buried(self) -> None: ...
    def work_elsewhere(self) -> None: ...

    def done_elsewhere(self, uuids: list[str]) -> None:
        self.asked.put(uuids)


def test_a_job_that_a_claim_holds_is_marked_as_awaited_when_that_is_over(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colleagues, "BEAT", 3600.0)  # nothing else makes the thread look again
    url, events = canonical(postgres), Events()
    with closing(open_store(url)) as store:
        assert store.insert(NewJob("a", "app.work", "[]", 1.0, 1.0))
    with (
        psycopg.connect(for_libpq(url)) as claim,
        psycopg.connect(for_libpq(url), autocommit=True) as onlooker,
        closing(Colleagues(Membership(url, "place"), SystemClock(), call, log, events)) as ours,
    ):
        claim.execute(f"select from {schema_of(url)}.jobs for update".encode())
        ours.wait_for(["a"])
        assert events.asked.get(timeout=10) == ["a"]
        query = f"select awaited from {schema_of(url)}.jobs".encode()
        assert onlooker.execute(query).fetchall() == [(False,)]
        claim.commit()
        deadline = time.monotonic() + 10
        while onlooker.execute(query).fetchall() != [(True,)]:
            assert time.monotonic() < deadline


def test_jobs_are_moved_on_the_connection_that_listens(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colleagues, "BEAT", 3600.0)
    url, moved, said = canonical(postgres), SimpleQueue[Exchange | StoreError](), list[str]()
    with closing(open_store(url)) as store:
        assert store.insert(NewJob("a", "app.work", "[]", 1.0, 1.0))
        (claim,) = store.exchange([], 1, 2.0).claims

    def end_it(store: Store) -> Exchange:
        end = Finished("a", claim.attempt, State.SUCCEEDED, "1", "", "", 2.0, 3.0, time.time() + 60)
        return store.exchange([end], 0, 3.0)

    with (
        psycopg.connect(for_libpq(url), autocommit=True) as onlooker,
        closing(
            Colleagues(Membership(url, "place"), SystemClock(), call, lambda *what: said.append(what[1]), Events())
        ) as ours,
    ):
        ours.submit(end_it, moved.put)
        assert moved.get(timeout=10) == Exchange([], [])
        ours.submit(lambda _: 1 / 0, moved.put)
        assert str(moved.get(timeout=10)) == "ZeroDivisionError: division by zero"
        listener = "from pg_stat_activity where application_name like 'autocron listener %'"
        assert len(onlooker.execute(f"select pg_terminate_backend(pid, 5000) {listener}".encode()).fetchall()) == 1
        ours.submit(end_it, moved.put)  # it has noticed that, or notices it now
        ours.submit(end_it, moved.put)
        moved.get(timeout=10)
        assert moved.get(timeout=10) == Exchange(["a"], [])  # that is over
    assert all("the other nodes can" in text for text in said)


def call(function: Callable[[], None]) -> None:
    function()


def log(_level: int, text: str) -> None:
    pytest.fail(text)
