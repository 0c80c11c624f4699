# /// script
# requires-python = ">=3.12"
# dependencies = ["oban==0.7.0"]
#
# [tool.peer]
# title = "Oban"
# package = "oban"
# store = "postgres"
# settings = """\
#     coroutines, 50 at once in each worker, uvloop as its own command uses; `lifeline`: looks every 10 s for \
#     jobs that began 30 s ago; results are not kept, jobs are"""
# ///
"""Oban for Python on PostgreSQL."""

import asyncio

import uvloop
import work
from oban import Oban
from oban import job as declare
from oban.schema import install

client: Oban


@declare()
async def job(number: int, nap: float) -> None:
    work.job(number, nap)


async def setup() -> None:
    pool = await Oban.create_pool(work.URL)
    await install(pool)


async def work_on() -> None:
    pool = await Oban.create_pool(work.URL)
    async with Oban(pool=pool, queues={"default": 50}, lifeline={"interval": 10.0, "rescue_after": 30.0}):
        await asyncio.Event().wait()


def serve(workers: int) -> None:
    work.run("python", __file__, copies=workers)


async def connect() -> None:
    global client
    client = Oban(pool=await Oban.create_pool(work.URL))


async def enqueue(number: int, nap: float) -> None:
    await client.enqueue(job.new(number, nap))


async def bulk(numbers: list[int]) -> None:
    await client.enqueue_many(job.new(number, 0.0) for number in numbers)


if __name__ == "__main__":
    uvloop.run(work_on())
