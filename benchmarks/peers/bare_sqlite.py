# /// script
# requires-python = ">=3.11"
# dependencies = ["apsw==3.54.1.0"]
#
# [tool.peer]
# title = "bare SQLite"
# package = "apsw"
# store = "yardstick"
# settings = ""
# ///
"""The yardstick: what SQLite itself takes for rows as wide as autocron's, in one process, without any library."""

import json
import sys
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

SCHEMA = """
create table jobs (
    id integer primary key, uuid text not null, task text not null, arguments text not null, state text not null,
    run_at real not null, created_at real not null, started_at real, finished_at real, result text
);
create unique index jobs_uuid on jobs (uuid);
create index jobs_ready on jobs (run_at, id) where state = 'queued';
create index jobs_running on jobs (id) where state = 'running';
"""
INSERT = "insert into jobs (uuid, task, arguments, state, run_at, created_at) values (?, 'peer.job', ?, 'queued', ?, ?)"
CLAIM = """
update jobs set state = 'running', started_at = ?
where id in (select id from jobs where state = 'queued' order by run_at, id limit ?) returning id
"""
FINISH = """
update jobs set state = 'succeeded', finished_at = ?, result = 'null' where id in (select value from json_each(?))
"""


def connect(path: Path, synchronous: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.execute(f"pragma journal_mode = wal; pragma synchronous = {synchronous}; {SCHEMA}").fetchall()
    return connection


def insert(connection: apsw.Connection, count: int) -> dict[str, Any]:
    """Insert jobs one by one."""
    times: list[float] = []
    begin = before = time.perf_counter()
    for number in range(count):
        now = time.time()
        connection.execute(INSERT, (str(uuid.uuid4()), f"[{number},0.0]", now, now))
        after = time.perf_counter()
        times.append(after - before)
        before = after
    return {"rate": count / (before - begin), "times": times}


def drain(connection: apsw.Connection, count: int, batch: int) -> float:
    """Claim and finish jobs, each batch in two transactions; give the rate."""
    begin = time.perf_counter()
    for _ in range(count // batch):
        claimed = [number for (number,) in connection.execute(CLAIM, (time.time(), batch))]
        connection.execute(FINISH, (time.time(), json.dumps(claimed))).fetchall()
    return count / (time.perf_counter() - begin)


def main() -> None:
    count = int(sys.argv[1])
    figures: dict[str, Any] = {"sqlite": apsw.sqlite_lib_version()}
    with TemporaryDirectory(prefix="peers-") as folder:
        for synchronous in ("normal", "full"):
            connection = connect(Path(folder) / f"{synchronous}.db", synchronous)
            stored = insert(connection, 2 * count)
            figures[synchronous] = stored | {
                "one": drain(connection, count, 1),
                "hundred": drain(connection, count, 100),
            }
            ended = connection.execute("select count(*) from jobs where state = 'succeeded'").fetchall()
            assert ended == [(2 * count,)], ended
            connection.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
