"""pgbouncer in transaction mode between the application and PostgreSQL: calls and results need no session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from autocron.model import NewJob, State
from autocron.store.postgres import open_store
from autocron.store.postgres_connection import Kind, connect
from autocron.store.postgres_health import look_into
from autocron.store.postgres_statement import Statement, run_alone
from autocron.store.postgres_url import canonical, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def pooled(postgres: str) -> Iterator[str]:
    """Give a way to the schema through pgbouncer, which has one connection to the server for all."""
    if PROGRAM is None:
        pytest.skip("there is no pgbouncer on PATH")
    parts = urlsplit(canonical(postgres))
    host = parse_qs(parts.query)["host"][0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="autocron-pgbouncer-"))
    folder.chmod(0o755)
    folder.joinpath("users").write_text('"postgres" ""\n')
    folder.joinpath("ini").write_text(
        f"[databases]\npostgres = host={host} dbname=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder}/users\npool_mode = transaction\ndefault_pool_size = 1\nmax_client_conn = 100\n"
    )
    process = subprocess.Popen(
        [PROGRAM, "-q", folder / "ini"],
        user=Path(host).owner() if os.geteuid() == 0 else None,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait_for(url)
        yield f"{url}?schema={schema_of(canonical(postgres))}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def job(uuid: str) -> NewJob:
    return NewJob(uuid, "app.work", "[]", 1.0, 1.0)


def test_calls_and_results_go_through_pgbouncer(pooled: str) -> None:
    stores = [open_store(canonical(pooled)) for _ in range(3)]  # which share one session of the server, in turns
    for number in range(30):
        store = stores[number % 3]
        assert store.insert(job(str(number)))
        found = stores[(number + 1) % 3].get(str(number), 1.0)
        assert found is not None
        assert found.state is State.QUEUED
        store.set({"workers": number % 5 + 1})
    stores[0].tell_nodes()
    assert stores[1].counts(1.0).by_state == {State.QUEUED: 30}
    for store in stores:
        store.close()


def test_the_doctor_sees_pgbouncer(pooled: str, postgres: str) -> None:
    store = open_store(canonical(postgres))
    store.settings()  # creates the schema
    store.close()
    assert look_into(canonical(pooled)).pooled
    assert not look_into(canonical(postgres)).pooled


def prepared_at(url: str) -> list[str]:
    """Give what is prepared in the session of an application that runs a statement by itself."""
    statement = Statement("greet", b"select %(name)s::text")
    with connect(canonical(url), Kind.APPLICATION, time.monotonic() + 5) as connection:
        for _ in range(3):
            assert run_alone(connection, statement, {"name": "you"}) == 1
        return [name for (name,) in connection.execute("select name from pg_prepared_statements").fetchall()]


def test_what_is_sent_often_is_prepared_where_nothing_pools_connections(postgres: str) -> None:
    assert prepared_at(postgres) == ["greet"]


def test_nothing_is_prepared_behind_pgbouncer(pooled: str) -> None:
    assert prepared_at(pooled) == []


def test_the_connection_of_an_application_leaves_nothing_in_its_session(postgres: str) -> None:
    address = canonical(postgres)
    store = open_store(address)
    store.settings()  # creates the schema
    store.close()
    with connect(address, Kind.APPLICATION, time.monotonic() + 5) as connection:
        for _ in range(20):  # a driver would prepare what comes often
            connection.execute("select 1 where %s = 1", (1,))
        assert connection.execute("select name from pg_prepared_statements").fetchall() == []
        changed = connection.execute("select name from pg_settings where source = 'session'").fetchall()
        assert changed == []
        assert connection.prepare_threshold is None
