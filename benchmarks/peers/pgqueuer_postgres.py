# /// script
# requires-python = ">=3.11"
# dependencies = ["pgqueuer[asyncpg]==1.6.0", "uvloop==0.23.0"]
#
# [tool.peer]
# title = "PgQueuer"
# package = "pgqueuer"
# store = "postgres"
# settings = """\
#     coroutines; batch size 100; asyncpg; uvloop, as its own command uses; results are not kept, a log of the \
#     jobs is"""
# ///
"""PgQueuer on PostgreSQL."""

import json

import asyncpg
import uvloop
import work
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

queries: Queries


async def connect() -> None:
    global queries
    queries = Queries(AsyncpgDriver(await asyncpg.connect(work.URL)))


async def work_on() -> None:
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(work.URL)))

    @queue.entrypoint("job")
    async def job(job: Job) -> None:
        work.job(*json.loads(job.payload or b""))

    await queue.run(batch_size=100)


async def setup() -> None:
    await connect()
    await queries.install()


def serve(workers: int) -> None:
    work.run("python", __file__, copies=workers)


async def enqueue(number: int, nap: float) -> None:
    await queries.enqueue("job", json.dumps([number, nap]).encode())


async def bulk(numbers: list[int]) -> None:
    count = len(numbers)
    await queries.enqueue(["job"] * count, [b"[%d]" % number for number in numbers], [0] * count)


if __name__ == "__main__":
    uvloop.run(work_on())
