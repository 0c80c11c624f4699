# /// script
# requires-python = ">=3.11"
# dependencies = ["saq[redis,hiredis]==0.26.4", "typing_extensions==4.16.0"]
#
# [tool.peer]
# title = "SAQ"
# package = "saq"
# store = "redis"
# settings = """\
#     coroutines, 10 at once in each worker (default); two attempts, sweep every 60 s (default); results are stored"""
# ///
"""SAQ on Redis."""

from typing import Any

import work
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

queue = RedisQueue(Redis.from_url(work.URL))


async def job(_: Any, *, number: int, nap: float) -> None:
    work.job(number, nap)


settings = {"queue": queue, "functions": [job], "concurrency": 10}


def serve(workers: int) -> None:
    work.run("saq", "saq_redis.settings", "--workers", str(workers))


async def connect() -> None:
    await queue.connect()


async def enqueue(number: int, nap: float) -> None:
    await queue.enqueue("job", number=number, nap=nap, retries=2)
