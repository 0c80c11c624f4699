"""One row that cannot be stored, or cannot be read, stops no other."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest

from autocron.errors import StoreError
from autocron.model import Claim, Finished, NewJob, Requeued, State
from autocron.store.sqlite import SqliteDriver, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autocron.store.base import Store

UUIDS = [f"job-{number}" for number in range(9)]
REFUSE = "create trigger refuse before update on jobs when new.uuid in ({}) and {} begin select raise({}, 'no'); end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(path)
    for uuid in UUIDS:
        opened.insert(NewJob(uuid, "app.work", "[]", 1.0, 1.0))
    yield opened
    opened.close()


def finish(claim: Claim, result: str = "1") -> Finished:
    return Finished(claim.uuid, claim.attempt, State.SUCCEEDED, result, "", "", 20.0, 21.0, 100.0)


def requeue(claim: Claim, past: str | None = None) -> Requeued:
    return Requeued(claim.uuid, claim.attempt, 30.0, None, 0, 0, past, 0, True)


def foreign(path: Path, statement: str) -> None:
    """Do something to the database as somebody else would."""
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


def refuse(path: Path, uuids: list[str], when: str, how: str = "abort") -> None:
    foreign(path, REFUSE.format(", ".join(map(repr, uuids)), when, how))


def held(store: Store, uuid: str) -> str:
    job = store.get(uuid, 20.0)
    assert job
    assert job.state == "queued"
    return job.held or ""


# What cannot be stored


@pytest.mark.parametrize("how", ["abort", "fail", "rollback"])
@pytest.mark.parametrize("bad", [["job-0"], ["job-8"], ["job-3", "job-4"], UUIDS], ids=",".join)
def test_refused_by_the_database(store: Store, path: Path, bad: list[str], how: str) -> None:
    claims = store.exchange([], 9, 20.0).claims
    store.insert(NewJob("next", "app.work", "[]", 1.0, 1.0))
    refuse(path, bad, "new.state <> 'running'", how)
    transitions = [requeue(claim) if number % 2 else finish(claim) for number, claim in enumerate(claims)]
    exchange = store.exchange(transitions, 5, 22.0)
    assert set(exchange.unstorable) == set(bad)
    assert all("no (ConstraintError)" in why for why in exchange.unstorable.values())
    assert (exchange.refused, exchange.claims, exchange.next_due) == ([], [], 22.0)
    running = {claim.uuid for claim in store.recover()[0]}
    assert running == set(bad)
    assert [claim.uuid for claim in store.exchange([], 5, 22.0).claims] == ["next"]


def test_refused_when_all_is_committed(store: Store, path: Path) -> None:
    foreign(path, "create table parents (name text primary key)")
    foreign(path, "create table children (name text references parents deferrable initially deferred)")
    foreign(
        path,
        "create trigger child after update on jobs when new.uuid = 'job-5' and new.state = 'succeeded' "
        "begin insert into children values ('orphan'); end",
    )
    store.close()
    driver = store._driver
    assert isinstance(driver, SqliteDriver)
    claims = store.exchange([], 9, 20.0).claims
    assert driver._connections.sessions.latest.connection
    driver._connections.sessions.latest.connection.pragma("foreign_keys", True)
    exchange = store.exchange([finish(claim) for claim in claims], 0, 22.0)
    assert list(exchange.unstorable) == ["job-5"]
    assert store.counts(22.0).by_state == {State.SUCCEEDED: 8, State.RUNNING: 1}


@pytest.mark.parametrize(("result", "why"), [("\udcff", "surrogates"), ("x" * 5001, "too big")])
def test_a_value_that_cannot_be_stored(store: Store, result: str, why: str) -> None:
    driver = store._driver
    assert isinstance(driver, SqliteDriver)
    claims = store.exchange([], 9, 20.0).claims
    assert driver._connections.sessions.latest.connection
    driver._connections.sessions.latest.connection.limit(apsw.SQLITE_LIMIT_LENGTH, 5000)
    transitions = [finish(claim, result if claim.uuid == "job-6" else "1") for claim in claims]
    exchange = store.exchange(transitions, 0, 22.0)
    assert list(exchange.unstorable) == ["job-6"]
    assert why in exchange.unstorable["job-6"]
    assert store.counts(22.0).by_state == {State.SUCCEEDED: 8, State.RUNNING: 1}


def test_what_is_late_is_told_beside_what_cannot_be_stored(store: Store, path: Path) -> None:
    claims = store.exchange([], 9, 20.0).claims
    refuse(path, ["job-1"], "1")
    late = [msgspec.structs.replace(claim, attempt=7) for claim in claims[5:]]
    exchange = store.exchange([finish(claim) for claim in claims[:5] + late], 0, 22.0)
    assert list(exchange.unstorable) == ["job-1"]
    assert sorted(exchange.refused) == ["job-5", "job-6", "job-7", "job-8"]


def test_trouble_with_the_whole_database_is_no_bad_row(store: Store, path: Path) -> None:
    claims = store.exchange([], 9, 20.0).claims
    foreign(path, "alter table jobs rename to elsewhere")
    with pytest.raises(StoreError, match="no such table"):
        store.exchange([finish(claim) for claim in claims], 5, 22.0)
    foreign(path, "alter table elsewhere rename to jobs")
    assert store.exchange([finish(claim) for claim in claims], 5, 22.0).unstorable == {}


def test_a_call_that_cannot_be_stored(store: Store) -> None:
    with pytest.raises(StoreError, match="surrogates"):
        store.insert(NewJob("new", "app.\udcff", "[]", 1.0, 1.0))


# What cannot be read


@pytest.mark.parametrize(
    "damage",
    [
        "arguments = x'80'",
        "arguments = cast(x'80' as text)",
        "task = x''",
        "attempt = 9223372036854775807",
        "crashes = 'many'",
        "losses = 0.5",
    ],
)
@pytest.mark.parametrize("bad", [["job-0"], ["job-8"], ["job-3", "job-4"], UUIDS], ids=",".join)
def test_jobs_that_cannot_be_claimed_are_parked(store: Store, path: Path, bad: list[str], damage: str) -> None:
    foreign(path, f"update jobs set {damage} where uuid in ({', '.join(map(repr, bad))})")
    claimed, parked = list[str](), list[str]()
    exchange = store.exchange([], 9, 20.0)
    while exchange.next_due is not None:
        claimed += [claim.uuid for claim in exchange.claims]
        parked += exchange.parked
        exchange = store.exchange([], 9, 20.0)
    claimed += [claim.uuid for claim in exchange.claims]
    parked += exchange.parked
    assert claimed == [uuid for uuid in UUIDS if uuid not in bad]
    assert len(parked) == len(bad)
    assert store.counts(20.0).held == len(bad)
    foreign(path, "update jobs set task = 'app.work', attempt = 0 where held is not null")
    assert all(held(store, uuid).startswith("its row cannot be used: ") for uuid in bad)


def test_a_job_that_may_not_be_claimed_is_parked(store: Store, path: Path) -> None:
    refuse(path, ["job-2"], "new.state = 'running'")
    claims = [claim.uuid for _ in range(3) for claim in store.exchange([], 8, 20.0).claims]
    assert claims == [uuid for uuid in UUIDS if uuid != "job-2"]
    assert "no (ConstraintError)" in held(store, "job-2")


def test_claims_and_outcomes_with_bad_rows_on_both_sides(store: Store, path: Path) -> None:
    claims = store.exchange([], 4, 20.0).claims
    refuse(path, ["job-1"], "new.state = 'succeeded'")
    foreign(path, "update jobs set arguments = x'80' where uuid = 'job-4'")
    exchange = store.exchange([finish(claim) for claim in claims], 5, 22.0)
    assert (list(exchange.unstorable), exchange.claims, exchange.next_due) == (["job-1"], [], 22.0)
    more = [claim.uuid for _ in range(3) for claim in store.exchange([], 5, 22.0).claims]
    assert more == UUIDS[5:]
    assert held(store, "job-4")


def test_a_lost_job_that_cannot_be_read_is_parked(store: Store, path: Path) -> None:
    claims = store.exchange([], 9, 20.0).claims
    foreign(path, "update jobs set crashes = 'many' where uuid = 'job-2'")
    recovered, (why,) = store.recover()
    assert recovered == [claim for claim in claims if claim.uuid != "job-2"]
    assert "parked: it holds another type of value than autocron stores: Expected `int`, got `str`" in why
    assert held(store, "job-2")


@pytest.mark.parametrize("run_at", ["'soon'", "x'80'"])
def test_a_time_that_is_none(store: Store, path: Path, run_at: str) -> None:
    foreign(path, f"update jobs set run_at = {run_at} where uuid = 'job-0'")
    assert len(store.exchange([], 9, 20.0).claims) == 8
    assert store.exchange([], 9, 20.0).next_due is None
    store.insert(NewJob("later", "app.work", "[]", 90.0, 1.0))
    assert store.exchange([], 9, 20.0).next_due == 90.0


@pytest.mark.parametrize("past", ["'[{\"started'", "'17'", "x'80'"])
def test_a_record_of_attempts_that_cannot_be_read(store: Store, path: Path, past: str) -> None:
    claims = store.exchange([], 9, 20.0).claims
    foreign(path, f"update jobs set past_attempts = {past} where uuid = 'job-0'")
    with pytest.raises(StoreError, match=r"job 'job-0' is stored in a form|JSON"):
        store.get("job-0", 20.0)
    exchange = store.exchange([requeue(claim, "{}") for claim in claims], 0, 22.0)
    assert (exchange.unstorable, exchange.refused) == ({}, [])


def test_a_job_in_an_unknown_state(store: Store, path: Path) -> None:
    foreign(path, "update jobs set state = 'lost' where uuid = 'job-0'")
    with pytest.raises(StoreError, match="lost"):
        store.get("job-0", 20.0)


def test_a_setting_that_cannot_be_read(store: Store, path: Path) -> None:
    foreign(path, "insert into settings values ('workers', 'nonsense')")
    with pytest.raises(StoreError, match="set it again"):
        store.settings()
