"""Moving everything from one database to another: both kinds, both ways, interrupted, refused."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import signal
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from databases import blocked

from autocron.errors import MoveRefused, StoreError, StoreMoved
from autocron.model import Call, Declaration, Finished, Limit, NewJob, Placing, State
from autocron.store import move_end, move_postgres
from autocron.store.move import Move, open_end
from autocron.store.move_end import in_order
from autocron.store.moved import Stage
from autocron.store.place import Place, open_store
from autocron.store.postgres_nodes import Membership
from autocron.store.postgres_url import canonical, for_libpq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from autocron.store.move_end import End, Table

    NewPlace = Callable[[str], Place]

WAYS = [("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres"), ("sqlite", "sqlite")]


@pytest.fixture
def new_place(postgres_server: str, tmp_path: Path) -> Iterator[NewPlace]:
    """Give databases that do not exist yet."""
    schemas: list[str] = []

    def new(kind: str) -> Place:
        path = tmp_path / f"{uuid.uuid4().hex[:12]}.db"
        if kind == "sqlite":
            return Place.of_file(path)
        schemas.append(f"test_{path.stem}")
        return Place(canonical(postgres_server, schemas[-1]), path)

    yield new
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for schema in schemas:
            connection.execute(f"drop schema if exists {schema} cascade".encode())


@pytest.fixture
def ends() -> Iterator[Callable[[Place], End]]:
    """Give sides of moves, which are closed at the end."""
    opened: list[End] = []

    def end(place: Place) -> End:
        opened.append(open_end(place))
        return opened[-1]

    yield end
    for one in opened:
        one.close()


def fill(end: End, rows: int = 3) -> None:
    """Store rows in all tables, with something in every column, whatever there is by now."""
    with end.transaction():
        for table in in_order(end.tables()):
            if table.name == "settings":
                end.add(table, [("result_ttl", "77")])
                continue
            types = column_types(end, table)
            end.add(table, [row(table, types, n) for n in range(1, rows + 1)])


def column_types(end: End, table: Table) -> dict[str, str]:
    if not end.prefix:
        return dict(end.run("select name, lower(type) from pragma_table_info(?)", (table.name,)))
    query = "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s"
    return dict(end.run(query, (end.prefix.removesuffix("."), table.name)))


def row(table: Table, types: dict[str, str], number: int) -> tuple[Any, ...]:
    # SQLite has integers for truth, too, so that only keys may be greater than 1.
    return tuple(value(types[name], number, is_key=name in ("id", *table.key)) for name in table.columns)


def value(kind: str, number: int, *, is_key: bool) -> Any:
    match kind:
        case "text":
            return f"täxt\n\\N\t{number}"
        case "integer" | "bigint":
            return number if is_key else number % 2
        case "boolean":
            return number % 2 == 1
        case "real" | "double precision":
            return number + 0.1
        case _:
            pytest.fail(f"the test knows no value of the type {kind}")


def contents(end: End) -> dict[str, set[tuple[Any, ...]]]:
    found: dict[str, set[tuple[Any, ...]]] = {}
    for name, table in end.tables().items():
        order = sorted(table.columns)
        rows = end.run(f"select {', '.join(f'{chr(34)}{column}{chr(34)}' for column in order)} from {end.prefix}{name}")
        found[name] = {tuple(int(one) if isinstance(one, bool) else one for one in found_row) for found_row in rows}
    return found


def move(source: End, target: End) -> list[str]:
    said: list[str] = []
    Move(source, target, said.append, 0.0).run()
    return said


def use(place: Place) -> None:
    store = open_store(place)
    try:
        store.reset_settings()
    finally:
        store.close()


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_everything_in_every_column_of_every_table_comes_along(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_end, "PAGE", 2)
    places = new_place(kind), new_place(other)
    source, target = map(ends, places)
    fill(source)
    before = contents(source)
    said = move(source, target)
    assert "jobs: 3 rows" in "\n".join(said)
    assert contents(target) == contents(source) == before
    with pytest.raises(StoreMoved, match=f"was moved to {target.name[:20]}"):
        use(places[0])
    with pytest.raises(StoreMoved, match="was moved to"):
        source.run(f"delete from {source.prefix}jobs")
    assert "before" in move(source, target)[0]
    with pytest.raises(MoveRefused, match=r"holds only the copy .* Delete it first"):
        move(target, source)
    store = open_store(places[1])
    assert store.settings().result_ttl == 77
    assert store.insert(NewJob("new", "app.work", "[]", 1.0, 1.0))
    ids = [number for (number,) in target.run(f"select id from {target.prefix}jobs order by id")]
    assert ids == sorted({*ids})
    store.close()


# Killed


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
@pytest.mark.parametrize(("kind", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_move_that_is_killed_goes_on(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_end, "PAGE", 3)
    places = new_place(kind), new_place(other)
    source = open_end(places[0])
    fill(source, 20)
    before = contents(source)
    source.close()
    kills = 0
    while status := killed_at(2 + 4 * kills, *places):
        assert status == signal.SIGKILL
        kills += 1
    assert kills > 20
    source, target = map(ends, places)
    assert contents(target) == contents(source) == before
    assert target.marker() is None
    assert source.marker()


def killed_at(count: int, *places: Place) -> int:
    """Move in a process that kills itself at its statement with this number; give what it ended of."""
    child = os.fork()
    if child == 0:
        try:
            source, target = map(open_end, places)
            numbers = iter(range(count))
            for end in (source, target):
                end.run = _until(end.run, numbers)  # type: ignore[method-assign]
                end.add = _until(end.add, numbers)  # type: ignore[method-assign]
            move(source, target)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) * -1


def _until(function: Callable[..., Any], numbers: Iterator[int]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        if next(numbers, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    return run


# What others meet


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_while_it_moves_and_after_that_nothing_can_be_stored(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str
) -> None:
    place, elsewhere = new_place(kind), new_place("sqlite")
    store = open_store(place)  # and it stays open
    for uid in ("a", "b"):
        store.insert(NewJob(uid, "app.work", "[]", 1.0, 1.0))
    source, target = ends(place), ends(elsewhere)
    one = Move(source, target, print, 0.0)
    marker = one._begin()
    assert store.moving_to() == str(elsewhere)
    assert store.insert(NewJob("c", "app.work", "[]", 1.0, 1.0))  # nodes end, calls are still taken
    marker = one._freeze(marker)
    for change in (
        lambda: store.insert(NewJob("d", "app.work", "[]", 1.0, 1.0)),
        lambda: store.exchange([], 5, 1e10),
        lambda: store.set({"workers": 3}),
        lambda: store.declare([Declaration("x", "y", "app", "@daily", "UTC")], ["app"], [], [], 1.0),
    ):
        with pytest.raises(StoreMoved, match=rf"is being moved to {elsewhere}: nothing was stored") as caught:
            change()
        assert not caught.value.maybe_stored
    assert store.get("c", 1.0)  # reading goes on
    with pytest.raises(StoreMoved, match="is being moved"):
        use(place)
    with pytest.raises(StoreMoved, match="is not complete"):
        use(elsewhere)
    one.run()
    with pytest.raises(StoreMoved, match="was moved to"):
        store.insert(NewJob("d", "app.work", "[]", 1.0, 1.0))
    there = open_store(elsewhere)
    assert there.counts(0.0).by_state == {State.QUEUED: 3}
    assert len(there.exchange([], 5, 1e10).claims) == 3
    for one_store in (store, there):
        one_store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_who_has_the_target_open_cannot_store_in_it_meanwhile(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str
) -> None:
    here, elsewhere = new_place("sqlite"), new_place(kind)
    early = open_store(elsewhere)
    assert early.counts(0.0).by_state == {}
    source, target = ends(here), ends(elsewhere)
    fill(source)
    one = Move(source, target, print, 0.0)
    one._freeze(one._begin())
    with pytest.raises(StoreMoved, match="is not complete"):
        early.insert(NewJob("d", "app.work", "[]", 1.0, 1.0))
    one.run()
    assert early.insert(NewJob("d", "app.work", "[]", 1.0, 1.0))
    early.close()


@pytest.mark.parametrize(("kind", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_move_can_be_given_up_until_it_is_complete(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str, other: str
) -> None:
    places = new_place(kind), new_place(other)
    source, target = map(ends, places)
    store = open_store(places[0])
    fill(source)
    one = Move(source, target, print, 0.0)
    with pytest.raises(MoveRefused, match="no unfinished move"):
        one.cancel()
    marker = one._freeze(one._begin())
    one._copy(marker)
    assert target.is_filled()
    one.cancel()
    assert not target.is_filled()
    assert store.insert(NewJob("d", "app.work", "[]", 1.0, 1.0))
    store.close()
    use(places[1])
    assert move(source, target)
    with pytest.raises(MoveRefused, match="no unfinished move"):
        one.cancel()


# What comes along as what it is


@pytest.mark.parametrize(("kind", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_jobs_of_a_node_that_died_are_recovered_where_they_went(
    new_place: NewPlace, ends: Callable[[Place], End], kind: str, other: str
) -> None:
    places = new_place(kind), new_place(other)
    store = open_store(places[0])
    for uid in ("done", "lost", "next"):
        store.insert(NewJob(uid, "app.work", "[]", 1.0, 1.0))
    store.set({"workers": 7})
    done, lost = store.exchange([], 2, 9e9).claims
    store.exchange([Finished(done.uuid, 1, State.SUCCEEDED, '"x"', "a\0", "", 2.0, 3.0, 9e9)], 0, 3.0)
    store.close()
    move(*map(ends, places))
    there = open_store(places[1])
    assert there.settings().workers == 7
    ((claim,), parked) = there.recover()
    assert (claim.uuid, claim.attempt, parked) == (lost.uuid, 1, [])
    kept = there.get("done", 0.0)
    assert kept
    assert (kept.result, kept.error_message[0]) == ('"x"', "a")
    assert [claim.uuid for claim in there.exchange([], 5, 9e9).claims] == ["next"]
    there.close()


# Refused


def test_what_would_lose_something_is_refused(new_place: NewPlace, ends: Callable[[Place], End]) -> None:
    here, used, elsewhere = new_place("sqlite"), new_place("postgres"), new_place("postgres")
    source, target, other = map(ends, (here, used, elsewhere))
    fill(source)
    store = open_store(used)
    store.insert(NewJob("theirs", "app.work", "[]", 1.0, 1.0))
    with pytest.raises(MoveRefused, match="is not empty: there is something in its table jobs"):
        move(source, target)
    assert store.counts(0.0).by_state == {State.QUEUED: 1}
    store.close()
    use(here)  # nothing has been paused
    other.run(f"alter table {other.prefix}jobs add column colour text")
    with pytest.raises(MoveRefused, match=r"different schemas: only one has jobs.colour"):
        move(source, other)
    other.run(f"alter table {other.prefix}jobs drop column colour")
    Move(source, other, print, 0.0)._begin()
    with pytest.raises(MoveRefused, match=r"is being moved to postgresql://.*give that up"):
        move(source, target)
    third = ends(new_place("sqlite"))
    Move(source, other, print, 0.0)._freeze(Move(source, other, print, 0.0)._begin())
    with pytest.raises(MoveRefused, match="is not complete: what is in"):
        move(third, other)
    with pytest.raises(MoveRefused, match="is not complete: what is in"):
        move(other, third)


def test_a_target_that_somebody_has_changed_is_not_taken_for_complete(
    new_place: NewPlace, ends: Callable[[Place], End]
) -> None:
    source, target = ends(new_place("sqlite")), ends(new_place("postgres"))
    fill(source)
    one = Move(source, target, print, 0.0)
    one._copy(one._freeze(one._begin()))
    target.run(f"alter table {target.prefix}jobs disable trigger all")
    target.run(f"update {target.prefix}jobs set run_at = run_at + 0.001 where id = 2")
    with pytest.raises(MoveRefused, match="the table jobs has 3 rows with the checksum"):
        one.run()
    marker = source.marker()
    assert marker
    assert marker.stage is Stage.FROZEN


def test_a_row_that_the_target_cannot_hold_is_told(new_place: NewPlace, ends: Callable[[Place], End]) -> None:
    source, target = ends(new_place("sqlite")), ends(new_place("postgres"))
    fill(source)
    source.run("update jobs set run_at = 'soon' where id = 2")
    with pytest.raises(StoreError, match='"soon"'):
        move(source, target)
    source.run("drop trigger move_refuses_update_jobs")
    source.run("update jobs set run_at = 5 where id = 2")
    assert move(source, target)


def test_a_node_that_works_is_waited_for(new_place: NewPlace, ends: Callable[[Place], End]) -> None:
    here, elsewhere = new_place("postgres"), new_place("sqlite")
    source, target = ends(here), ends(elsewhere)
    membership = Membership(here.address, "a place")
    membership.join()
    assert membership.beat()
    with pytest.raises(MoveRefused, match=rf"node {os.getpid()} on .* still works on postgresql://"):
        move(source, target)
    membership.leave()
    membership.close()
    assert move(source, target)


@pytest.fixture
def caller(new_place: NewPlace) -> Iterator[tuple[Place, psycopg.Connection[Any]]]:
    """Give a database, and a connection with an open transaction in which one of two calls under a limit was made."""
    place = new_place("postgres")
    limited = Placing(limit_key="l", limit=Limit(concurrency=1))
    first, second = (NewJob(uid, "app.work", "[]", 1.0, 1.0, placing=limited) for uid in "ab")
    with closing(open_store(place)) as store, closing(psycopg.connect(for_libpq(place.address))) as connection:
        store.insert(first)
        connection.execute("select 1")
        store.insert_all([Call(second, [])], 1.0, store.join(connection))
        yield place, connection


def test_a_transaction_that_ends_soon_is_waited_for_and_its_calls_come_along(
    caller: tuple[Place, psycopg.Connection[Any]], ends: Callable[[Place], End], new_place: NewPlace
) -> None:
    (place, connection), elsewhere = caller, new_place("sqlite")
    source, target = ends(place), ends(elsewhere)
    with blocked(place.address, lambda: move(source, target)):
        connection.commit()
    with closing(open_store(elsewhere)) as there:
        assert there.counts(0.0).by_state == {State.QUEUED: 2}


def test_a_transaction_that_stays_open_is_told_and_nothing_is_lost(
    caller: tuple[Place, psycopg.Connection[Any]],
    ends: Callable[[Place], End],
    new_place: NewPlace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(move_postgres, "_LOCK_LIMIT", "0.1s")
    (place, connection), elsewhere = caller, new_place("sqlite")
    source, target = ends(place), ends(elsewhere)
    with pytest.raises(
        MoveRefused, match=r"a transaction that is still open after 0\.1s\. Let it end .* run this again"
    ):
        move(source, target)
    with closing(open_store(place)) as store:
        assert store.insert(NewJob("d", "app.work", "[]", 1.0, 1.0))
    connection.commit()
    move(source, target)
    with closing(open_store(elsewhere)) as there:
        assert there.counts(0.0).by_state == {State.QUEUED: 3}


def test_both_kinds_have_the_same_tables_and_columns(new_place: NewPlace, ends: Callable[[Place], End]) -> None:
    one, other = (ends(new_place(kind)).tables() for kind in ("sqlite", "postgres"))
    assert {name: {*table.columns} for name, table in one.items()} == {
        name: {*table.columns} for name, table in other.items()
    }
    assert all(table.key for table in (*one.values(), *other.values()))
