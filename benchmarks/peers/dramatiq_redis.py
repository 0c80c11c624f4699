# /// script
# requires-python = ">=3.11"
# dependencies = ["dramatiq[redis]==2.2.1"]
#
# [tool.peer]
# title = "Dramatiq"
# package = "dramatiq"
# store = "redis"
# settings = """\
#     8 threads in each worker process (default), prefetch of 16 (default), `heartbeat_timeout` 20 s; no \
#     results (default)"""
# ///
"""Dramatiq on Redis."""

import dramatiq
import work
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=work.URL, heartbeat_timeout=20_000)
dramatiq.set_broker(broker)
job = dramatiq.actor(work.job)


def serve(workers: int) -> None:
    work.run("dramatiq", "dramatiq_redis", "--processes", str(workers))


def enqueue(number: int, nap: float) -> None:
    job.send(number, nap)
