"""What PostgreSQL itself can do with the same rows through psycopg: the yardstick."""

import time

from bare import ARGUMENTS
from database import connect, fill

from autocron.names import new_uuid

INSERT = "insert into jobs (uuid, task, arguments, state, run_at, created_at) values (%s, %s, %s, 'queued', %s, %s)"
CLAIM = """
    with due as materialized (
        select id from jobs where state = 'queued' and held is null and run_at <= %s
        order by run_at, id limit %s for update skip locked
    )
    update jobs set state = 'running', attempt = attempt + 1, started_at = %s from due where jobs.id = due.id
    returning uuid, attempt, task, arguments
"""
FINISH = """
    update jobs set state = 'succeeded', result = 'null', started_at = %s, finished_at = %s, expires_at = %s
    from unnest(%s::text[], %s::integer[]) as ended (uuid, attempt)
    where jobs.uuid = ended.uuid and jobs.attempt = ended.attempt and state || '' = 'running'
"""


def inserts(database: str, count: int) -> list[float]:
    """Store rows one by one; give the seconds that each took."""
    fill(database, 0)  # creates it
    times: list[float] = []
    with connect(database) as connection:
        before = time.perf_counter()
        for _ in range(count):
            now = time.time()
            connection.execute(INSERT, (new_uuid(), "tasks.nothing", ARGUMENTS, now, now))
            after = time.perf_counter()
            times.append(after - before)
            before = after
    return times


def claims_and_finishes(database: str, count: int, batch: int) -> float:
    """Claim and finish stored rows in batches, each a transaction; give the rate of both together."""
    fill(database, count)
    done, begin = 0, time.perf_counter()
    with connect(database) as connection:
        while done < count:
            now = time.time()
            claims = connection.execute(CLAIM, (now, batch, now)).fetchall()
            uuids, attempts = zip(*((uuid, attempt) for uuid, attempt, *_ in claims), strict=True)
            now = time.time()
            connection.execute(FINISH, (now, now, now + 1800, list(uuids), list(attempts)))
            done += len(claims)
    return count / (time.perf_counter() - begin)
