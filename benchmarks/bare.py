"""What SQLite itself can do with the same rows: the yardstick."""

import tempfile
import time
from importlib.resources import files
from pathlib import Path

import apsw
import msgspec

from autocron.codec import encode_call
from autocron.model import Claim, Durability
from autocron.names import new_uuid
from autocron.store.base import load_statements
from autocron.store.sqlite_open import PAGE_SIZE

STATEMENTS = load_statements("sqlite")
INSERT = "insert into jobs (uuid, task, arguments, state, run_at, created_at) values (?, ?, ?, 'queued', ?, ?)"
LEVEL = {"limit_key": "", "queue": "default", "priority": 0}
ARGUMENTS = encode_call((12345,), {})


def open_bare(folder: Path, durability: Durability) -> apsw.Connection:
    connection = apsw.Connection(str(folder / "bare.db"))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.pragma("page_size", PAGE_SIZE)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.execute(files("autocron.store").joinpath("schema", "sqlite-1.sql").read_text())
    return connection


def inserts(durability: Durability, count: int) -> list[float]:
    """Store rows one by one; give the seconds that each took."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        connection = open_bare(Path(folder), durability)
        before = time.perf_counter()
        for _ in range(count):
            now = time.time()
            connection.execute(INSERT, (new_uuid(), "tasks.nothing", ARGUMENTS, now, now))
            after = time.perf_counter()
            times.append(after - before)
            before = after
        connection.close()
    return times


def claims_and_finishes(count: int, batch: int) -> float:
    """Claim and finish stored rows in batches, each a transaction; give the rate of both together."""
    with tempfile.TemporaryDirectory() as folder:
        connection = open_bare(Path(folder), "normal")
        now = time.time()
        rows = [(new_uuid(), "tasks.nothing", ARGUMENTS, now, now) for _ in range(count)]
        with connection:
            connection.executemany(INSERT, rows)
        decode = msgspec.json.Decoder(list[Claim]).decode
        done, begin = 0, time.perf_counter()
        while done < count:
            with connection:
                ((text, *_),) = connection.execute(STATEMENTS["claim"], {**LEVEL, "now": now, "count": batch})
                claims = decode(text)
            ends = [(claim.uuid, claim.attempt, "succeeded", "null", "", "", now, now, now + 1800) for claim in claims]
            with connection:
                connection.execute(STATEMENTS["finish"], {"batch": msgspec.json.encode(ends).decode()})
            done += len(claims)
        rate = count / (time.perf_counter() - begin)
        connection.close()
    return rate
