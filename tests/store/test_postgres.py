"""What is PostgreSQL's own: the schema's birth, time, pools, forks, errors without secrets."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from autocron.batch import Lazy
from autocron.errors import ConfigError, SchemaTooNew, StoreBusy, StoreError
from autocron.model import PLAIN, Call, Claim, Finished, Limit, NewJob, Parent, Placing, Requeued, State
from autocron.store import postgres_open, postgres_url
from autocron.store.base import load_statements
from autocron.store.place import Place, find_place
from autocron.store.postgres import PostgresDriver, open_node_store, open_store, statements
from autocron.store.postgres_connection import Explainer
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autocron.store.base import Store

OPEN = """
import sys
from autocron.store.postgres import open_store
store = open_store(sys.stdin.readline().strip())
print("ready", flush=True)
sys.stdin.readline()
store.set({"workers": 2})
print(store.settings().workers, flush=True)
store.close()
"""


@pytest.fixture
def url(postgres: str) -> str:
    return canonical(postgres)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def node(url: str) -> Iterator[Store]:
    opened = open_node_store(url)
    yield opened
    opened.close()


def job(uuid: str, delay: float = 0.0, now: float = 1000.0) -> NewJob:
    return NewJob(uuid, "app.work", "[]", now + delay, now)


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    """Do something to the database as somebody else would; {} is the schema."""
    with psycopg.connect(postgres_url.for_libpq(url), autocommit=True) as connection:
        cursor = connection.execute(statement.replace("{}", schema_of(url)).encode())
        return cursor.fetchall() if cursor.description else []


# The schema


def test_twenty_processes_create_the_schema_at_once(url: str) -> None:
    command = [sys.executable, "-c", OPEN]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(20)]
    try:
        for process in processes:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
        answers = [process.communicate("go\n")[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert answers == ["2\n"] * 20
    assert run(url, "select number from {}.version") == [(1,)]


def test_a_newer_schema_is_refused(store: Store, url: str) -> None:
    store.settings()
    run(url, "update {}.version set number = 99")
    with pytest.raises(SchemaTooNew, match="version 99"):
        open_store(url).settings()


def test_the_statements_are_those_of_sqlite() -> None:
    assert list(load_statements("postgres")) == list(load_statements("sqlite"))


def test_calls_are_made_while_the_first_ones_are_stored(store: Store, url: str) -> None:
    begun, made = time.time() - 100, 0  # when the first was looked at; the others are made long after that

    def make(number: int) -> Call:
        nonlocal made
        made += 1
        return Call(NewJob(str(number), "app.work", "[]", 5.0 + (now := time.time()), now), [])

    assert store.insert_all(Lazy(2500, make), begun) == [str(number) for number in range(2500)]
    assert made == 2500
    late = "run_at - created_at not between 4.99 and 5.01 or created_at > extract(epoch from clock_timestamp())"
    assert run(url, f"select count(*), count(*) filter (where {late}) from {{}}.jobs") == [(2500, 0)]


def test_a_call_that_cannot_be_made_leaves_nothing_behind(store: Store, url: str) -> None:
    def make(number: int) -> Call:
        if number == 2400:
            raise TypeError("argument 1")
        return Call(NewJob(str(number), "app.work", "[]", 1.0, 1.0), [])

    with pytest.raises(TypeError, match="argument 1"):
        store.insert_all(Lazy(2500, make), 1.0)
    assert run(url, "select count(*) from {}.jobs") == [(0,)]
    assert store.insert(job("a"))


def test_plain_calls_before_and_behind_others_are_stored_in_their_order(store: Store, url: str) -> None:
    limited = Placing(limit_key="app.work", limit=Limit(concurrency=1))
    jobs = [NewJob(name, "app.work", "[]", 1.0, 1.0, placing=limited if name == "c" else PLAIN) for name in "abcde"]
    assert store.insert_all([Call(one, []) for one in jobs], 1.0) == [*"abcde"]
    assert run(url, "select uuid, limit_key from {}.jobs order by id") == [
        (name, "app.work" if name == "c" else "") for name in "abcde"
    ]


def test_an_exchange_of_plain_jobs_is_one_round_trip(
    store: Store, node: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uuid in "abc":
        store.insert(job(uuid))
    monkeypatch.setattr(PostgresDriver, "transaction", lambda *_: pytest.fail("it takes several"))
    (first,) = node.exchange([], 1, 2000.0).claims
    end = Finished(first.uuid, 1, State.SUCCEEDED, "1", "", "", 2001.0, 2003.0, 2103.0)
    exchange = node.exchange([end], 5, 2000.0)
    assert ([claim.uuid for claim in exchange.claims], exchange.due) == (["b", "c"], {})


# Time: the clock of the machine may be wrong, here by decades


def test_a_delay_counts_from_now_on_by_the_clock_of_the_database(store: Store, node: Store) -> None:
    for uuid, delay in [("now", 0.0), ("later", 60.0)]:
        store.insert(job(uuid, delay))
    exchange = node.exchange([], 5, 2000.0)
    assert [(claim.uuid, claim.claimed_at) for claim in exchange.claims] == [("now", 2000.0)]
    assert exchange.next_due == pytest.approx(2060.0, abs=10)
    later = store.get("later", 0.0)
    assert later
    assert later.run_at - later.created_at == pytest.approx(60.0, abs=1e-5)
    assert later.created_at == pytest.approx(time.time(), abs=30)


def test_a_moment_is_the_same_everywhere(store: Store) -> None:
    moment = time.time() + 500
    store.insert(NewJob("a", "app.work", "[]", moment, 1000.0, is_moment=True))
    store.insert(NewJob("past", "app.work", "[]", 1000.0, 1000.0, is_moment=True))
    found = store.find("queued", 5, 0.0)
    assert [one.uuid for one in found] == ["past", "a"]
    assert found[0].run_at == found[0].created_at
    assert found[1].run_at == moment


def test_ends_are_stored_in_the_time_of_the_database(store: Store, node: Store) -> None:
    for uuid in ("done", "again"):
        store.insert(job(uuid))
    done, again = node.exchange([], 5, 2000.0).claims
    ends = [
        Finished(done.uuid, 1, State.SUCCEEDED, "1", "", "", 2001.0, 2003.0, 2103.0),
        Requeued(again.uuid, 1, 2050.0, None, 0, 0, None, 0, True),
    ]
    assert node.exchange(ends, 0, 2003.0).next_due == pytest.approx(2050.0, abs=10)
    kept = store.get("done", 0.0)
    assert kept
    assert kept.finished_at == pytest.approx(time.time(), abs=30)
    assert kept.finished_at is not None
    assert kept.started_at == pytest.approx(kept.finished_at - 2.0)
    assert node.prune(9e9, 5) == 0  # it expires in 100 s of the database


def test_how_far_the_clock_of_the_database_is_ahead(store: Store) -> None:
    assert store.ahead(1000.0) == pytest.approx(time.time() - 1000.0, abs=30)


# Settings


def test_each_machine_has_its_own_number_of_workers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[Store] = []
    for number, host in enumerate(["web-1", "web-2", "web-3"]):
        monkeypatch.setattr("autocron.store.postgres.gethostname", lambda host=host: host)
        stores.append(open_store(url))
        if number < 2:
            stores[number].set({"workers": number + 2, "grace": number + 1.5})
    assert [one.settings().workers for one in stores] == [2, 3, 1]
    assert [one.settings().grace for one in stores] == [2.5] * 3
    for one in stores:
        one.close()


# Many at once


def test_nodes_at_once_claim_each_job_once(store: Store, url: str) -> None:
    for number in range(400):
        store.insert(job(f"{number:03}"))
    claims: list[Claim] = []

    def work() -> None:
        one = open_node_store(url)
        ends: list[Finished] = []
        while found := one.exchange(ends, 7, 2000.0).claims:
            claims.extend(found)
            ends = [Finished(c.uuid, c.attempt, State.SUCCEEDED, "1", "", "", 1.0, 2.0, 9e9) for c in reversed(found)]
        one.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.uuid for claim in claims) == [f"{number:03}" for number in range(400)]
    assert store.counts(0.0).by_state == {State.SUCCEEDED: 400}


def test_threads_share_a_few_connections(store: Store, url: str) -> None:
    def call(number: int) -> None:
        store.insert(job(str(number)))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver = store._driver
    assert isinstance(driver, PostgresDriver)
    assert 1 <= len(driver._lender._share.idle) <= 8
    assert store.counts(0.0).by_state == {State.QUEUED: 50}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_leaves_the_connection_to_its_parent(store: Store) -> None:
    store.insert(job("before"))
    driver = store._driver
    assert isinstance(driver, PostgresDriver)
    (connection,) = driver._lender._share.idle
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.insert(job("child"))
            store.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    store.insert(job("after"))
    assert list(driver._lender._share.idle) == [connection]
    assert store.counts(0.0).by_state == {State.QUEUED: 3}


# Faults


def test_a_terminated_backend_is_replaced(store: Store, url: str) -> None:
    store.insert(job("a"))
    whose = "application_name = 'autocron application {}'"
    assert run(url, f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {whose}") == [(True,)]
    store.insert(job("b"))
    assert store.counts(0.0).by_state == {State.QUEUED: 2}


def test_who_waits_too_long_for_a_lock_hears_that_others_hold_it(node: Store, url: str) -> None:
    node.settings()
    with psycopg.connect(postgres_url.for_libpq(url)) as connection:
        connection.execute(f"lock table {schema_of(url)}.jobs".encode())
        with pytest.raises(StoreBusy, match="in use by others"):
            node.exchange([], 1, 0.0)
    assert node.exchange([], 1, 0.0).claims == []


def test_a_caller_waits_no_longer_than_it_may(store: Store, url: str) -> None:
    store.settings()
    with psycopg.connect(postgres_url.for_libpq(url)) as connection:
        connection.execute(f"lock table {schema_of(url)}.jobs".encode())
        with pytest.raises(StoreError, match="did not answer in time") as caught:
            store.insert(job("a"), limit=0.2)
    assert caught.value.maybe_stored
    assert store.insert(job("b"))


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    store = open_store(canonical(f"postgresql://ann:s%3Acret@/db?host={tmp_path}"))
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        store.insert(job("a"))
    assert not caught.value.maybe_stored
    assert "s:cret" not in str(caught.value)
    assert "s%3Acret" not in str(caught.value)


def test_an_error_that_quotes_the_password_is_told_without_it() -> None:
    address = canonical("postgresql://ann:s%3Acret@h/db?sslpassword=other")
    explainer = Explainer(address, postgres_url.name(address))
    said = str(explainer.explain(psycopg.OperationalError("bad s:cret, s%3Acret, other")))
    assert "bad ***, ***, *** (OperationalError)" in said


# Bad rows


def test_what_the_database_refuses_stops_nothing_else(store: Store, node: Store, url: str) -> None:
    for number in range(5):
        store.insert(job(str(number)))
    claims = node.exchange([], 5, 0.0).claims
    run(url, "create function {}.no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$")
    run(url, "create trigger no before update on {}.jobs for each row when (new.uuid = '3') execute function {}.no()")
    ends = [Finished(c.uuid, c.attempt, State.SUCCEEDED, "1", "", "", 1.0, 2.0, 9e9) for c in claims]
    exchange = node.exchange(ends, 0, 0.0)
    assert list(exchange.unstorable) == ["3"]
    assert "no (RaiseException)" in exchange.unstorable["3"]
    assert exchange.refused == []
    assert store.counts(0.0).by_state == {State.SUCCEEDED: 4, State.RUNNING: 1}


def test_a_job_that_may_not_be_claimed_is_told(store: Store, node: Store, url: str) -> None:
    store.insert(job("0"))
    run(url, "create function {}.no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$")
    when = "(new.state = 'running')"
    run(url, f"create trigger no before update on {{}}.jobs for each row when {when} execute function {{}}.no()")
    (parked,) = node.exchange([], 1, 0.0).parked
    assert "row 0 of the table jobs is parked" in parked


def test_a_text_that_postgresql_cannot_hold(store: Store, node: Store) -> None:
    with pytest.raises(StoreError, match="NUL"):
        store.insert(NewJob("a", "app.\0", "[]", 1.0, 1.0))
    with pytest.raises(StoreError, match="surrogates"):
        store.insert(NewJob("a", "app.\udcff", "[]", 1.0, 1.0))
    store.insert(job("b"))
    (claim,) = node.exchange([], 1, 0.0).claims
    node.exchange([Finished(claim.uuid, 1, State.FAILED, None, "a\0b", "\\\0", 1.0, 2.0, 9e9)], 0, 0.0)
    failed = store.get("b", 0.0)
    assert failed
    assert (failed.error_message, failed.traceback) == ("a\ufffdb", "\\\ufffd")


# Addresses


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql:///db", "postgresql:///db?schema=autocron"),
        ("postgres://ann:s3cret@h:5433/db", "postgresql://ann@h:5433/db?schema=autocron"),
        ("postgresql://h/db?password=x&sslmode=require", "postgresql://h/db?schema=autocron"),
        ("postgresql://a:b@h1:1,h2:2/db?schema=jobs", "postgresql://a@h1:1,h2:2/db?schema=jobs"),
        ("postgresql:///db?host=/run/pg&passfile=/x", "postgresql:///db?host=/run/pg&schema=autocron"),
    ],
)
def test_what_people_see_of_an_address(url: str, name: str) -> None:
    assert postgres_url.name(canonical(url)) == name
    assert canonical(canonical(url)) == canonical(url)


@pytest.mark.parametrize(
    ("url", "schema", "why"),
    [
        ("postgresql:///db?schema=a", "b", "but the URL says 'a'"),
        ("postgresql:///db", "A", "lower-case"),
        ("postgresql:///db", "a; drop", "lower-case"),
        ("postgresql:///db", "pg_x", "pg_"),
        ("postgresql://[h/db", None, "cannot be read"),
        ("jobs.db", "b", "an SQLite file"),
    ],
)
def test_addresses_that_cannot_be_meant(url: str, schema: str | None, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        find_place(url, schema)


def test_each_database_has_files_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUTOCRON_DATABASE", "postgresql://ann:s3cret@h/db")
    place = find_place(None)
    assert place == find_place("postgresql://ann:s3cret@h/db?schema=autocron")
    assert place.files.parent == tmp_path / "home" / "postgresql"
    assert place.files.parent.stat().st_mode & 0o777 == 0o700
    assert "s3cret" not in f"{place} {place!r}"
    assert find_place("postgresql://ann:other@h/db").files == place.files
    assert find_place("postgresql://ann:s3cret@h/db", "b").files != place.files
    assert not place.is_file
    assert Place.of_file(tmp_path / "x.db").is_file


def test_without_the_driver_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from autocron.store.place import find_place, open_store\n"
        "open_store(find_place('postgresql:///db', create=False))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: PostgreSQL needs a driver" in done.stderr
    assert "pip install 'autocron[postgres]'" in done.stderr


def test_large_results_and_what_is_late(store: Store, node: Store) -> None:
    store.insert(job("a"))
    (claim,) = node.exchange([], 1, 0.0).claims
    end = Finished(claim.uuid, 1, State.SUCCEEDED, '"' + "x" * 3_000_000 + '"', "", "", 1.0, 2.0, 9e9)
    assert node.exchange([end, msgspec.structs.replace(end, uuid="b")], 0, 0.0).refused == ["b"]


def test_a_job_that_others_took_over_just_now_is_left_to_them(
    node: Store, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between seeing that a node is gone and reading its claims, others may queue its jobs again and run them."""
    for uuid in ("again", "queued", "done"):
        store.insert(job(uuid))
    run(url, "update {}.jobs set state = 'running', attempt = 1, started_at = 1, node = 99")
    read = PostgresDriver.read

    def overtaken(driver: PostgresDriver, name: str, parameters: Any = ()) -> Any:
        rows = read(driver, name, parameters)
        if name == "running":
            run(url, "update {}.jobs set attempt = 2 where uuid = 'again'")
            run(url, "update {}.jobs set state = 'queued', started_at = null where uuid = 'queued'")
            run(url, "update {}.jobs set state = 'succeeded' where uuid = 'done'")
        return rows

    monkeypatch.setattr(PostgresDriver, "read", overtaken)
    assert node.recover() == ([], [])
    assert run(url, "select count(*) from {}.jobs where held is not null") == [(0,)]


def test_a_node_that_was_declared_dead_claims_nothing(node: Store, store: Store, url: str) -> None:
    store.insert(job("a"))
    node.become(99)
    assert node.exchange([], 5, 0.0).claims == []
    run(
        url,
        "insert into {}.nodes (id, place, host, pid, started_at, heartbeat_at) overriding system value"
        " values (99, 'p', 'h', 1, 0, 0)",
    )
    assert [claim.uuid for claim in node.exchange([], 5, 0.0).claims] == ["a"]


@pytest.mark.parametrize("name", ["parents", "get_all"])
def test_an_application_finds_jobs_by_the_index_in_small_tables_too(store: Store, url: str, name: str) -> None:
    store.settings()  # creates the schema
    columns = "uuid, task, arguments, state, run_at, created_at"
    values = "select n::text, 't', '[]', 'queued', 1, 1 from generate_series(1, 5000) as n"
    run(url, f"insert into {schema_of(url)}.jobs ({columns}) {values}")
    run(url, f"analyze {schema_of(url)}.jobs")
    statement = statements("postgres", schema_of(url))[name]
    with psycopg.connect(for_libpq(url)) as connection:
        plan = connection.execute(b"explain " + statement, {"uuids": '["7"]', "clock": None}).fetchall()
    assert "Index Scan" in str(plan)
    assert "Seq Scan" not in str(plan)


def test_a_schema_of_an_older_version_is_upgraded_with_what_is_in_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_store(url)) as old:
        old.insert_all([Call(job("a"), []), Call(job("b"), [Parent("a", needed=True)])], 1000.0)
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "postgres-2.sql").write_text(
        "alter table {schema}.jobs add column size integer default 7; create table {schema}.newer (id integer)"
    )
    monkeypatch.setattr(postgres_open, "latest_version", lambda: 2)
    monkeypatch.setattr(postgres_open, "files", lambda _package: tmp_path)
    with closing(open_store(url)) as new:
        assert new.counts(0.0).by_state == {State.QUEUED: 1, State.WAITING: 1}
    assert run(url, f"select uuid, size from {schema_of(url)}.jobs order by id") == [("a", 7), ("b", 7)]
    assert run(url, f"select number from {schema_of(url)}.version") == [(2,)]
    monkeypatch.undo()
    with pytest.raises(SchemaTooNew), closing(open_store(url)) as older:
        older.settings()
