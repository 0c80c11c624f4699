"""The doctor on real PostgreSQL databases, whole and ill: each fault is seen, and no longer when it has gone."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner

from autocron.cli import doctor_server
from autocron.cli.command import autocron
from autocron.model import Declaration, NewJob
from autocron.node.differences import declared
from autocron.store.postgres import open_store
from autocron.store.postgres_nodes import Membership
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autocron.store.base import Store


@pytest.fixture
def url(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path))
    return canonical(postgres)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    opened.settings()
    yield opened
    opened.close()


def look(url: str, *, status: int = 0) -> dict[str, list[tuple[str, str]]]:
    """Give (level, what) by what was looked at."""
    result = CliRunner().invoke(autocron, [url, "doctor", "--json"])
    assert result.exit_code == status, result.output
    found: dict[str, list[tuple[str, str]]] = {}
    for one in json.loads(result.output)["findings"]:
        found.setdefault(one["about"], []).append((one["level"], one["what"]))
    return found


def run(url: str, statement: str) -> None:
    with psycopg.connect(for_libpq(url), autocommit=True) as connection:
        connection.execute(statement.replace("{}", schema_of(url)).encode())


@pytest.mark.usefixtures("store")
def test_a_whole_one_has_no_problem(url: str) -> None:
    found = look(url)
    assert found["server"][0][0] == found["connection"][0][0] == found["schema"][0][0] == found["clock"][0][0] == "ok"
    assert found["rights"] == [("ok", "owner: this user may do everything")]
    assert "database" not in found


def test_without_a_schema_it_says_so_and_creates_none(url: str) -> None:
    assert look(url, status=1)["schema"] == [("problem", "there is none")]
    assert look(url, status=1)["schema"] == [("problem", "there is none")]


@pytest.mark.usefixtures("store")
def test_a_newer_schema_is_a_problem(url: str) -> None:
    run(url, "update {}.version set number = 99")
    ((level, what),) = look(url, status=1)["database"]
    assert (level, "schema version 99" in what) == ("problem", True)
    run(url, "update {}.version set number = 1")
    assert "database" not in look(url)


def test_a_server_that_is_not_there_is_a_problem_without_the_password(url: str, tmp_path: Path) -> None:
    del url
    result = CliRunner().invoke(autocron, [f"postgresql://ann:s%3Acret@/db?host={tmp_path}", "doctor"])
    assert result.exit_code == 1
    assert "cannot be reached" in " ".join(result.output.split())
    assert "cret" not in result.output


@pytest.mark.usefixtures("store")
def test_a_long_transaction_elsewhere_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_server, "LONG", 0.0)
    with psycopg.connect(for_libpq(url), application_name="stuck backup") as backup:
        backup.execute("set transaction isolation level repeatable read")
        backup.execute("select 1")
        backup.execute(f"select * from {schema_of(url)}.jobs".encode())
        pid = backup.info.backend_pid
        named = [what for level, what in look(url)["vacuum"] if level == "warning" and "stuck backup" in what]
        assert len(named) == 1
        assert f"a transaction of process {pid}" in named[0]
    assert not [what for _, what in look(url)["vacuum"] if "stuck backup" in what]


@pytest.mark.usefixtures("store")
def test_autovacuum_that_is_off_is_told(url: str) -> None:
    run(url, "alter table {}.jobs set (autovacuum_enabled = false)")
    assert ("warning", "autovacuum is off; dead rows were removed last: never") in look(url)["vacuum"]
    run(url, "alter table {}.jobs reset (autovacuum_enabled)")
    assert not [what for _, what in look(url)["vacuum"] if "autovacuum is off" in what]


def test_nodes_that_are_silent_or_declare_something_else_are_told(store: Store, url: str) -> None:
    one, other = Membership(url, "here"), Membership(url, "there")
    for node, tz in ((one, "UTC"), (other, "Europe/Berlin")):
        node.join()
        node.declare(declared(["app"], [Declaration("tidy", "tidy", "app", "0 2 * * *", tz)]))
    nodes = look(url)["nodes"]
    assert nodes[0][0] == "ok"
    assert nodes[1][0] == "warning"
    assert "tidy is '0 2 * * *' in UTC here, '0 2 * * *' in Europe/Berlin there" in nodes[1][1]
    other.leave()
    run(url, "update {}.nodes set heartbeat_at = heartbeat_at - 60")
    ((level, what),) = look(url)["nodes"]
    assert (level, "silent: " in what) == ("warning", True)
    one.beat()
    assert [level for level, _ in look(url)["nodes"]] == ["ok"]
    one.close()
    other.close()
    store.close()


def test_queues_jobs_and_schedules_are_looked_at_here_too(store: Store, url: str) -> None:
    now = time.time()
    for uuid, task in (("a", "app.gone"), ("b", "app.work")):
        store.insert(NewJob(uuid, task, "[[],{}]", now, now))
    store.hold({"a": "unknown task"})
    store.pause_queue("default")
    found = look(url)
    assert found["parked"] == [("warning", "1 of app.gone: unknown task")]
    assert found["queue"] == [("warning", "1 job is due in the queue default, which is paused")]
    store.hold({"a": None})
    run(url, "update {}.jobs set run_at = run_at - 60")
    store.resume_queue("default")
    found = look(url, status=1)
    assert found["node"][0][0] == "problem"
    other = Membership(url, "of another user here")
    other.join()
    assert look(url)["node"] == [("ok", "none works for this user on this machine; others: 1")]
    other.close()
    assert "queue" not in found
    assert "parked" not in found


def test_what_a_user_may_do_is_told(store: Store, url: str) -> None:
    del store
    role = f"r_{schema_of(url)}"
    theirs = f"{url}&user={role}"
    run(url, f"create role {role} login")
    try:
        assert look(theirs, status=1)["rights"] == [("problem", "this user may not even read the tables")]
        run(url, f"grant usage on schema {{}} to {role}; grant select on all tables in schema {{}} to {role}")
        assert look(theirs)["rights"][0][1].startswith("read-only: ")
        run(url, f"grant insert on {{}}.jobs to {role}")
        assert look(theirs)["rights"][0][1].startswith("application: ")
        run(url, f"grant delete on {{}}.jobs to {role}; grant insert on {{}}.nodes to {role}")
        assert look(theirs)["rights"][0][1].startswith("node: ")
    finally:
        run(url, f"drop owned by {role} cascade; drop role {role}")
