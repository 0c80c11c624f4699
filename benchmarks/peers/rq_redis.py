# /// script
# requires-python = ">=3.11"
# dependencies = ["rq==3.0.0"]
#
# [tool.peer]
# title = "RQ"
# package = "rq"
# store = "redis"
# settings = """\
#     `SimpleWorker`, which does not fork for each job; `job_timeout` 10 s, one retry, maintenance every 10 s; \
#     results are stored"""
# ///
"""RQ on Redis."""

import work
from redis import Redis
from rq import Queue, Retry

queue = Queue(connection=Redis.from_url(work.URL))
OPTIONS = {"timeout": 10, "retry": Retry(max=1)}


def serve(workers: int) -> None:
    options = ["--worker-class", "rq.SimpleWorker", "--maintenance-interval", "10", "--quiet"]
    work.run("rq", "worker", "--url", work.URL, *options, "default", copies=workers)


def enqueue(number: int, nap: float) -> None:
    queue.enqueue_call(work.job, (number, nap), **OPTIONS)


def bulk(numbers: list[int]) -> None:
    queue.enqueue_many([Queue.prepare_data(work.job, (number,), **OPTIONS) for number in numbers])
