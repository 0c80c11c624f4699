# /// script
# requires-python = ">=3.11"
# dependencies = ["celery[redis]==5.7.0"]
#
# [tool.peer]
# title = "Celery"
# package = "celery"
# store = "redis"
# settings = """\
#     prefork; `worker_prefetch_multiplier=64`, `acks_late`, `visibility_timeout` 30 s, looked at every 10 s; no \
#     gossip, mingle, heartbeat; no results (default)"""
# ///
"""Celery on Redis."""

import work
from celery import Celery

app = Celery("celery_redis", broker=work.URL.replace("unix://", "redis+socket://"))
app.conf.update(
    worker_prefetch_multiplier=64,
    task_acks_late=True,
    broker_transport_options={"visibility_timeout": 30, "unacked_restore_throttle": 1},
)
job = app.task(name="job")(work.job)


def serve(workers: int) -> None:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    work.run("celery", "-A", "celery_redis", "worker", "-c", str(workers), *quiet)


def enqueue(number: int, nap: float) -> None:
    job.delay(number, nap)
