"""Calls that become part of the caller's own transaction on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from autocron import ConfigError, DuplicateJob, ResultNotFound, State, StoreError, TaskResult
from autocron.app import App
from autocron.clock import SystemClock
from autocron.model import Finished
from autocron.options import Plan
from autocron.store.place import open_store
from autocron.store.postgres import open_node_store
from autocron.store.postgres_url import canonical, for_libpq, schema_of
from autocron.task import AnyTask, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Connection = psycopg.Connection[Any]
    Connect = Callable[..., Connection]


def add(first: int, second: int = 0) -> int:
    return first + second


@pytest.fixture
def url(postgres: str) -> str:
    return canonical(postgres)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def task(registry: Registry) -> AnyTask:
    return registry.add_task(add, "add", Plan())


@pytest.fixture
def app(registry: Registry, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path))
    one = App(registry, SystemClock())
    one.start(url, 0, "normal", {}, None)
    yield one
    one.stop()


@pytest.fixture
def connect(app: App, url: str) -> Iterator[Connect]:
    """Give connections to the database, which has a table `orders` of the caller's."""
    with contextlib.ExitStack() as opened:

        def connect(**options: Any) -> Connection:
            return opened.enter_context(contextlib.closing(psycopg.connect(for_libpq(url), **options)))

        with connect(autocommit=True) as first:
            first.execute(f"create table {schema_of(url)}.orders (number integer)".encode())
        yield connect


@pytest.fixture
def connection(connect: Connect) -> Connection:
    return connect()


@pytest.fixture
def order(url: str) -> Callable[[Connection], Any]:
    """Do something in the caller's transaction."""
    return lambda connection: connection.execute(f"insert into {schema_of(url)}.orders values (1)".encode())


@pytest.fixture
def orders(url: str) -> Callable[[], int]:
    """Count what has been committed of that."""

    def orders() -> int:
        with psycopg.connect(for_libpq(url)) as connection:
            ((number,),) = connection.execute(f"select count(*) from {schema_of(url)}.orders".encode()).fetchall()
            return int(number)

    return orders


Order = Any


def is_stored(result: TaskResult[Any]) -> bool:
    """Say what others see."""
    app: Any = result._source
    return app.database.store.get(result.uuid, 0.0) is not None


# It commits or it does not


@pytest.mark.parametrize("begun", [True, False], ids=["begun before", "begun in the block"])
def test_calls_are_there_with_the_commit(
    app: App, task: AnyTask, connection: Connection, order: Order, orders: Callable[[], int], begun: bool
) -> None:
    if begun:
        order(connection)
    with app.transaction(connection):
        order(connection)
        results = [task(1), *task.map([2, 3])]
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    assert [is_stored(result) for result in results] == [False] * 3
    assert orders() == 0
    connection.commit()
    assert [result.status for result in results] == [State.QUEUED] * 3
    assert orders() == 1 + begun


@pytest.mark.parametrize("begun", [True, False], ids=["begun before", "begun in the block"])
def test_calls_are_not_there_after_a_rollback(
    app: App, task: AnyTask, connection: Connection, order: Order, begun: bool
) -> None:
    if begun:
        order(connection)
    with app.transaction(connection):
        order(connection)
        result = task(1)
    connection.rollback()
    assert not is_stored(result)


def test_a_block_that_raises_leaves_the_transaction_as_it_was(
    app: App, task: AnyTask, connection: Connection, order: Order, orders: Callable[[], int]
) -> None:
    order(connection)
    with contextlib.suppress(KeyError), app.transaction(connection):
        result = task(1)
        raise KeyError
    connection.commit()
    assert (is_stored(result), orders()) == (False, 1)


def test_the_part_of_the_transaction_that_is_rolled_back_takes_its_calls_along(
    app: App, task: AnyTask, connection: Connection
) -> None:
    with connection.transaction():
        with app.transaction(connection):
            kept = task(1)
        with contextlib.suppress(KeyError), connection.transaction():
            with app.transaction(connection):
                lost = task(2)
            raise KeyError
    assert (is_stored(kept), is_stored(lost)) == (True, False)


def test_calls_alone_are_a_transaction_that_is_to_be_committed(
    app: App, task: AnyTask, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with app.transaction(connection):
        result = task(1)
    assert not is_stored(result)
    assert "they are lost unless you commit it" in caplog.text
    connection.commit()
    assert is_stored(result)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_transaction_that_ends_in_the_block_is_told(
    app: App, task: AnyTask, connection: Connection, order: Order, goes_on: bool
) -> None:
    order(connection)
    block = app.transaction(connection)
    block.__enter__()
    result = task(1)
    connection.commit()
    if goes_on:
        order(connection)
    with pytest.raises(ConfigError, match=r"has ended in it.* Commit after the block"):
        block.__exit__(None, None, None)
    connection.commit()
    assert not is_stored(result)


def test_with_autocommit_the_calls_are_stored_at_the_end_of_the_block(
    app: App, task: AnyTask, connect: Connect
) -> None:
    connection = connect(autocommit=True)
    with app.transaction(connection):
        result = task(1)
        assert not is_stored(result)
    assert is_stored(result)
    assert connection.info.transaction_status == TransactionStatus.IDLE
    with contextlib.suppress(KeyError), connection.transaction():
        with app.transaction(connection):
            lost = task(1)
        raise KeyError
    assert not is_stored(lost)


def test_blocks_in_blocks(app: App, task: AnyTask, connect: Connect) -> None:
    one, other = connect(), connect()
    with app.transaction(one):
        first = task(1)
        with app.transaction():
            second = task(2)
        with app.transaction(one):
            third = task(first.later)
        with app.transaction(other):
            fourth = task(4)
    one.rollback()
    other.commit()
    assert [is_stored(result) for result in (first, second, third, fourth)] == [False, False, False, True]
    with app.transaction():
        alone = task(1)
        with app.transaction(one):
            part = task(2)
    assert (is_stored(alone), is_stored(part)) == (True, False)


# What autocron refuses leaves the transaction usable


def test_an_error_of_autocrons_does_not_break_the_transaction(
    app: App, task: AnyTask, connection: Connection, order: Order, orders: Callable[[], int]
) -> None:
    order(connection)
    results: list[TaskResult[Any]] = []
    unknown = TaskResult[int]("unknown", app, "add")
    with pytest.raises(ResultNotFound, match="can't wait for the job unknown"), app.transaction(connection):
        results += [task(1), task(unknown.later)]
    only = task.options(unique_key="k", on_duplicate="raise")
    only(1)
    with pytest.raises(DuplicateJob), app.transaction(connection):
        results += [task(1), only(2)]
    order(connection)
    connection.commit()
    assert orders() == 2
    assert [is_stored(result) for result in results] == [False] * 4


def test_a_failed_transaction_is_told(app: App, task: AnyTask, connection: Connection, order: Order) -> None:
    order(connection)
    block = app.transaction(connection)
    block.__enter__()
    task(1)
    with pytest.raises(psycopg.Error):
        connection.execute("select 1/0")
    told = r"failed before.* roll it back"
    with pytest.raises(StoreError, match=told):
        block.__exit__(None, None, None)
    with pytest.raises(StoreError, match=told), app.transaction(connection):
        pytest.fail("the block is not begun")
    connection.rollback()
    connection.close()
    with pytest.raises(StoreError, match="is closed"), app.transaction(connection):
        pytest.fail("the block is not begun")


def test_a_server_that_goes_away_stores_nothing(app: App, task: AnyTask, connect: Connect, order: Order) -> None:
    connection = connect()
    order(connection)
    block = app.transaction(connection)
    block.__enter__()
    result = task(1)
    connect(autocommit=True).execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        block.__exit__(None, None, None)
    assert not caught.value.maybe_stored
    assert not is_stored(result)


def test_a_user_without_rights_is_told_what_to_grant(
    app: App, task: AnyTask, connect: Connect, order: Order, url: str
) -> None:
    user = f"u{uuid.uuid4().hex[:8]}"
    admin = connect(autocommit=True)
    admin.execute(f"create role {user}".encode())
    try:
        connection = connect()
        order(connection)
        connection.execute(f"set role {user}".encode())
        told = "owner grant it what an application needs"
        with pytest.raises(StoreError, match=told) as caught, app.transaction(connection):
            task(1)
        assert connection.execute("select 1").fetchall() == [(1,)]
        connection.rollback()
        for grant in str(caught.value).partition("needs: ")[2].split("; "):
            admin.execute(grant.encode())
        connection.execute(f"set role {user}".encode())
        with app.transaction(connection):
            limited = task.options(unique_key="k", concurrency=1)
            results = [task(1), limited(2)]
            results.append(task(results[0].later))
        connection.commit()
        assert [result.status for result in results] == [State.QUEUED, State.QUEUED, State.WAITING]
        connection.close()
    finally:
        admin.execute(f"drop owned by {user} cascade; drop role {user}".encode())


# Keys, limits, workflows, the lock


def test_a_duplicate_is_seen_across_the_commit(app: App, task: AnyTask, connection: Connection) -> None:
    keyed = task.options(unique_key="k")
    with app.transaction(connection):
        first, second = keyed(1), keyed(2)
    assert first.uuid == second.uuid
    connection.commit()
    assert keyed(3).uuid == first.uuid


def test_a_duplicate_that_the_transaction_cannot_see_is_told(app: App, task: AnyTask, connection: Connection) -> None:
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute("select 1")
    keyed = task.options(unique_key="k")
    keyed(1)
    with pytest.raises(StoreError, match=r"which cannot see it.* run it again"), app.transaction(connection):
        keyed(2)
    assert connection.execute("select 1").fetchall() == [(1,)]


def test_limits_and_workflows(app: App, task: AnyTask, connection: Connection) -> None:
    outside = task(1)
    with app.transaction(connection):
        limited = task.options(concurrency=1, rate="5/m")(1)
        child = task(outside.later, limited.later)
    connection.commit()
    assert (limited.status, child.status) == (State.QUEUED, State.WAITING)
    assert [one.uuid for one in child.graph()] == [outside.uuid, limited.uuid, child.uuid]
    assert app.database.store.exchange([], 5, 9e9).claims


def test_nodes_do_not_wait_for_a_transaction_that_uses_a_limit(
    app: App, task: AnyTask, connection: Connection, url: str
) -> None:
    limited = task.options(concurrency=1)
    limited(1)
    with app.transaction(connection):
        second = limited(1)
    node = open_node_store(url)
    (claim,) = node.exchange([], 5, 9e9).claims
    ended = Finished(claim.uuid, 1, State.SUCCEEDED, "1", "", "", 1.0, 2.0, 3.0)
    assert not node.exchange([ended], 0, 9e9).refused
    node.prune(9e9, 100)
    connection.commit()
    assert [claim.uuid for claim in node.exchange([], 5, 9e9).claims] == [second.uuid]
    node.close()


def test_with_the_lock_calls_run_here(app: App, task: AnyTask, connection: Connection, order: Order) -> None:
    app.database.store.set({"locked": True})
    order(connection)
    with app.transaction(connection):
        result = task(1, 2)
    connection.rollback()
    assert result.wait() == 3


def test_thousands_of_calls(app: App, task: AnyTask, connection: Connection) -> None:
    with app.transaction(connection):
        task.map(range(2500))
    assert app.database.store.counts(0.0).by_state == {}
    connection.commit()
    assert app.database.store.counts(0.0).by_state == {State.QUEUED: 2500}


# Nothing of the connection is changed


def test_the_connection_stays_as_it_was(app: App, task: AnyTask, connect: Connect, order: Order) -> None:
    class Text(psycopg.adapt.Loader):
        def load(self, data: Any) -> str:
            return "loaded by the caller"

    connection = connect(row_factory=dict_row, cursor_factory=psycopg.ClientCursor, prepare_threshold=0)
    connection.execute("set search_path = ''")
    for name in ("int4", "float8", "text", "bool"):
        connection.adapters.register_loader(name, Text)
    order(connection)

    def seen() -> list[Any]:
        names = "select name::varchar from pg_catalog.pg_prepared_statements"
        settings = "select name::varchar, setting::varchar from pg_catalog.pg_settings where source = 'session'"
        return [connection.execute(names, prepare=False).fetchall(), connection.execute(settings).fetchall()]

    before = seen()
    with app.transaction(connection):
        results = [task(1), task.options(unique_key="k", on_duplicate="raise")(2)]
    assert [is_stored(result) for result in results] == [False, False]
    assert seen() == before
    assert connection.row_factory is dict_row
    connection.commit()
    assert [is_stored(result) for result in results] == [True, True]
    with app.transaction(connection):
        pass
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert not connection.autocommit


def test_in_a_pipeline(app: App, task: AnyTask, connection: Connection, order: Order) -> None:
    with connection.pipeline():
        order(connection)
        with app.transaction(connection):
            order(connection)
            result = task(1)
        connection.commit()
    assert is_stored(result)


# Other databases


@pytest.fixture
def elsewhere(app: App, connect: Connect, url: str) -> Iterator[Connection]:
    """Give a connection to another database of the server, where the same schema is."""
    name = f"other_{uuid.uuid4().hex[:8]}"
    admin = connect(autocommit=True)
    admin.execute(f"create database {name}".encode())
    try:
        place = app.database.place
        assert place
        store = open_store(type(place)(canonical(f"{url}&dbname={name}"), place.files))
        store.settings()
        store.close()
        with contextlib.closing(psycopg.connect(for_libpq(f"{url}&dbname={name}"))) as connection:
            yield connection
    finally:
        admin.execute(f"drop database {name} with (force)".encode())


def test_calls_are_held_back_for_another_database(
    app: App, task: AnyTask, elsewhere: Connection, connect: Connect
) -> None:
    for connection in (elsewhere, object()):
        with app.transaction(connection):
            result = task(1)
            assert not is_stored(result)
        assert is_stored(result)
    assert elsewhere.info.transaction_status == TransactionStatus.IDLE
    with app.transaction(elsewhere):
        elsewhere.execute("create table orders ()")
        result = task(1)
        elsewhere.commit()
    assert is_stored(result)


def test_the_server_is_asked_again_when_it_was_started_again(app: App, task: AnyTask, connection: Connection) -> None:
    driver: Any = app.database.store._driver  # pyright: ignore[reportPrivateUsage]
    driver._database = "1600000000.000000 5 16389"
    with app.transaction(connection):
        result = task(1)
    connection.rollback()
    assert not is_stored(result)


def test_what_cannot_take_part_is_refused_before_the_block(app: App, url: str) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    class OfAnotherDriver:
        __module__ = "psycopg2.extensions"

    def refuse(connection: Any, text: str) -> None:
        with pytest.raises(ConfigError, match=text), app.transaction(connection):
            pytest.fail("the block is not begun")

    async def refuse_async() -> None:
        engine = create_async_engine(sqlalchemys(url))
        async with engine.connect() as connection, AsyncSession(engine) as session:
            refuse(connection, r"async connection.*asyncio.to_thread")
            refuse(session, r"async connection.*asyncio.to_thread")
        await engine.dispose()
        async with await psycopg.AsyncConnection.connect(for_libpq(url)) as connection:
            refuse(connection, r"async connection.*asyncio.to_thread")

    asyncio.run(refuse_async())
    refuse(OfAnotherDriver(), r"this one is on psycopg2: use psycopg")
    driver = SimpleNamespace(paramstyle="format", __version__="1.31.2")
    refuse(Session(create_engine("postgresql+pg8000://", module=driver)), r"this one is on pg8000: use psycopg")
    for connection in (create_engine("sqlite://"), sessionmaker()):
        refuse(connection, r"is no connection: give a Session or")


# SQLAlchemy


def sqlalchemys(url: str) -> str:
    return for_libpq(url).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(app: App, url: str) -> Iterator[Engine]:
    one = create_engine(sqlalchemys(url))
    yield one
    one.dispose()


def test_a_session_of_sqlalchemy(app: App, task: AnyTask, engine: Engine) -> None:
    with Session(engine) as session:
        with app.transaction(session):
            first = task(1)
        assert not is_stored(first)
        session.commit()
        assert is_stored(first)
        with app.transaction(session):
            second = task(1)
        session.rollback()
        assert not is_stored(second)
    with Session(engine) as session, session.begin():
        session.execute(text("select 1"))
        with app.transaction(session):
            third = task(1)
        with contextlib.suppress(KeyError), session.begin_nested():
            with app.transaction(session):
                fourth = task(1)
            raise KeyError
    assert (is_stored(third), is_stored(fourth)) == (True, False)
    scoped = scoped_session(sessionmaker(engine))
    with app.transaction(scoped):
        fifth = task(1)
    assert not is_stored(fifth)
    scoped.commit()
    scoped.remove()
    assert is_stored(fifth)


def test_a_session_that_commits_in_the_block_is_told(app: App, task: AnyTask, engine: Engine) -> None:
    with Session(engine) as session:
        block = app.transaction(session)
        block.__enter__()
        result = task(1)
        session.commit()
        with pytest.raises(ConfigError, match="has ended in it"):
            block.__exit__(None, None, None)
        session.commit()
    assert not is_stored(result)


def test_a_connection_of_sqlalchemy(app: App, task: AnyTask, engine: Engine) -> None:
    with engine.connect() as connection:
        with app.transaction(connection):
            first = task(1)
        assert not is_stored(first)
        connection.commit()
        assert is_stored(first)
        with contextlib.suppress(KeyError), connection.begin():
            with app.transaction(connection):
                second = task(1)
            raise KeyError
        assert not is_stored(second)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with app.transaction(connection):
            third = task(1)
        assert is_stored(third)


def test_a_session_for_another_kind_of_database(app: App, task: AnyTask) -> None:
    other = create_engine("sqlite://")
    with Session(other) as session:
        with app.transaction(session):
            result = task(1)
        assert not session.in_transaction()
        assert is_stored(result)
    other.dispose()


# Django

DJANGO = """
import os, sys
import django
from django.conf import settings
name, host = sys.argv[2:]
postgres = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": host, "USER": "postgres"}
other = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(DATABASES={"default": postgres, "other": other})
django.setup()
from django.db import connections, transaction
import autocron

@autocron.delay(name="work")
def work():
    return "run"

def look(*results):
    app = results[0]._source
    print(*(app.database.store.get(result.uuid, 0.0) is not None for result in results))

autocron.start(sys.argv[1], workers=0)
with transaction.atomic():
    with autocron.transaction("default"):
        first = work()
    connections["default"].run_on_commit.clear()  # it is part of the transaction already
    look(first)
    try:
        with transaction.atomic():
            with autocron.transaction("default"):
                second = work()
            raise KeyError
    except KeyError:
        pass
look(first, second)
try:
    with transaction.atomic():
        connections["default"].cursor().execute("select 1")
        with autocron.transaction("default"):
            third = work()
        raise KeyError
except KeyError:
    look(third)
with autocron.transaction("default"):
    fourth = work()
look(fourth)
with transaction.atomic("other"):
    with autocron.transaction("other"):
        fifth = work()
    look(fifth)
look(fifth)
first._source.database.store.set({"locked": True})
with transaction.atomic():
    with autocron.transaction("default"):
        sixth = work()
    print(sixth._final is None)
print(sixth.wait())
"""


def test_the_transactions_of_django(app: App, url: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(DJANGO)
    info = psycopg.conninfo.conninfo_to_dict(for_libpq(url))
    done = subprocess.run(
        [sys.executable, str(script), url, str(info["dbname"]), str(info["host"])],
        env={**os.environ, "AUTOCRON_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("False", "True False"),  # with the transaction; not with a part of it that was rolled back
        *("False", "True"),  # not with a rollback; without a transaction at once
        *("False", "True"),  # another database: on its commit
        *("True", "run"),  # with the lock: on the commit, too
    ]
