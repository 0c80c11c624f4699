"""How many jobs there are must not slow what runs for each job: rows are found by an index, and nothing is sorted."""

from __future__ import annotations

import re
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from autocron.store.base import load_statements
from autocron.store.postgres import open_node_store, statements
from autocron.store.postgres_connection import Connection, Kind, connect
from autocron.store.postgres_statement import Statement
from autocron.store.postgres_url import canonical, schema_of
from autocron.store.sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEXES = {
    "first_due": "jobs_ready",
    "due_times": "jobs_ready",
    "first_time": "jobs_ready",
    "levels": "jobs_ready",
    "places": "jobs_ready",
    "bucket": "jobs_limit_running",
    "drop_limits": "jobs_limit_unfinished",
    "holder_of": "jobs_unique",
    "free_key": "jobs_uuid",
    "replace": "jobs_uuid",
    "give_back_token": "jobs_uuid",
    "line_up": "jobs_uuid",
    "find_queued": "jobs_ready",
    "claim": "jobs_ready",
    "tell": "jobs_uuid",
    "call_hooks": "jobs_uuid",
    "cancel": "jobs_uuid",
    "to_stop": "jobs_to_stop",
    "keep_step": "jobs_uuid",
    "finish": "jobs_uuid",
    "requeue": "jobs_uuid",
    "get": "jobs_uuid",
    "get_all": "jobs_uuid",
    "final_among": "jobs_uuid",
    "parents": "jobs_uuid",
    "failed_parents": "jobs_uuid",
    "close_edges": "jobs_uuid",
    "cancel_waiting": "jobs_uuid",
    "release_waiting": "jobs_uuid",
    "next_expiry": "jobs_begin_by",
    "expire": "jobs_begin_by",
    "running": "jobs_running",
    "held": "jobs_running",
    "find_running": "jobs_running",
    "find_failed": "jobs_failed",
    "prune": "jobs_expiring",
    "release_held": "jobs_held",
    "find_held": "jobs_held",
    "calls": "jobs_uuid",
    "set_held": "jobs_uuid",
    "unfinished_of": "jobs_unfinished",
    "park": "INTEGER PRIMARY KEY",
    "claim_of": "INTEGER PRIMARY KEY",
}
MAY_GROW = {  # asked by those who look, for no job
    *("count_states", "count_queued", "queues", "graph"),
    *("due_in", "held_reasons", "failed_since"),
}


@pytest.fixture(params=["empty", "analysed"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> apsw.Connection:
    path = tmp_path / "jobs.db"
    store = open_store(path)
    store.settings()
    store.close()
    opened = apsw.Connection(str(path))
    if request.param == "analysed":  # somebody has let SQLite gather statistics
        states = "'queued', 'succeeded', 'succeeded', 'succeeded', 'failed', 'running'"
        opened.execute(
            "with recursive numbers (n) as (values (1) union all select n + 1 from numbers where n < 3000) "
            "insert into jobs"
            " (uuid, task, arguments, state, run_at, created_at, finished_at, expires_at, schedule, slot)"
            f" select n, 'app.work', '[]', json_extract(json_array({states}), '$[' || (n % 6) || ']'), n, n, n,"
            " iif(n % 6 in (1, 2, 3, 4), n, null), iif(n % 2, 'nightly', null), n from numbers"
        )
        opened.execute("analyze")
    return opened


def plan(connection: apsw.Connection, statements: str) -> list[str]:
    return [step for statement in statements.split(";") for step in plan_of_one(connection, statement)]


def plan_of_one(connection: apsw.Connection, statement: str) -> list[str]:
    names = dict.fromkeys(re.findall(r":(\w+)", statement))
    parameters = names or (None,) * statement.count("?")
    return [row[3] for row in connection.execute(f"explain query plan {statement}", parameters)]


@pytest.mark.parametrize("name", INDEXES)
def test_rows_are_found_by_an_index(connection: apsw.Connection, name: str) -> None:
    steps = plan(connection, load_statements("sqlite")[name])
    on_jobs = [step for step in steps if re.match(r"(SCAN|SEARCH) jobs\b", step)]
    assert any(INDEXES[name] in step for step in on_jobs), steps
    assert all(" USING " in step for step in on_jobs), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_no_other_statement_looks_at_jobs(connection: apsw.Connection) -> None:
    statements = load_statements("sqlite")
    looking = {
        name for name in statements if re.search(r"\b(SCAN|SEARCH) jobs\b", str(plan(connection, statements[name])))
    }
    assert looking == INDEXES.keys() | MAY_GROW


# PostgreSQL. A node's session keeps the plans that it makes when it begins, when there may be next to nothing.

OF_FEW = {  # indexes that hold few jobs, so that they may be gone through
    "running": "jobs_running",
    "held": "jobs_running",
    "find_running": "jobs_running",
    "find_held": "jobs_held",
    "held_reasons": "jobs_held",
    "release_held": "jobs_held",
    "to_stop": "jobs_to_stop",
    "next_expiry": "jobs_begin_by",  # its first
    "find_failed": "jobs_failed",  # its last
}
FILLED = {"empty": 0, "tiny": 3, "analysed": 5000}


@pytest.fixture(params=FILLED)
def session(request: pytest.FixtureRequest, postgres: str) -> Iterator[Connection]:
    """A node's session, begun when there were so many jobs."""
    url = canonical(postgres)
    with closing(open_node_store(url)) as store:
        store.settings()
    with connect(url, Kind.NODE, monotonic() + 60) as opened:
        if number := FILLED[request.param]:
            schema = schema_of(url)
            filling = f"""
                insert into {schema}.jobs (uuid, task, arguments, state, run_at, created_at, finished_at, expires_at,
                    schedule, slot, limit_key)
                select n, 'app.work', '[]', (array['queued', 'succeeded', 'succeeded', 'running', 'failed'])[n % 5 + 1],
                    n, n, n, case when n % 5 in (1, 2, 4) then n end, case when n % 2 = 0 then 'nightly' end, n,
                    case when n % 7 = 0 then 'few' else '' end
                from generate_series(1, {number}) as n
            """
            opened.execute(filling.encode())
            opened.execute(f"vacuum analyze {schema}.jobs".encode())
        yield opened


def plans(connection: Connection, schema: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each statement's name and each node of its plan."""
    for name, text in statements("postgres", schema).items():
        query = b"explain (generic_plan, format json) " + Statement(name, text).text
        ((plan,),) = connection.execute(query, prepare=False).fetchall()
        for node in nodes_of(plan[0]["Plan"]):
            yield name, node


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes_of(below)


def test_a_session_that_began_with_few_jobs_finds_many_by_an_index(session: Connection, postgres: str) -> None:
    found, gone_through = set[str](), dict[str, str]()
    for name, node in plans(session, schema_of(canonical(postgres))):
        index, is_scan = node.get("Index Name", ""), node["Node Type"] in ("Seq Scan", "Index Scan", "Index Only Scan")
        if index.startswith("jobs_") and "Index Cond" in node:
            found.add(name)
        elif node.get("Relation Name") == "jobs" and is_scan and OF_FEW.get(name) != index:
            gone_through[name] = index
    assert gone_through.keys() <= MAY_GROW, gone_through
    assert found >= {"tell", "call_hooks", "finish", "requeue", "get", "final_among", "keep_step", "cancel", "expire"}
