# /// script
# requires-python = ">=3.11"
# dependencies = ["psycopg[binary]==3.3.9"]
#
# [tool.peer]
# title = "autocron 2, PostgreSQL"
# package = "autocron"
# store = "postgres"
# checkout = true
# settings = "defaults; results are stored"
# ///
"""autocron, this checkout, on PostgreSQL."""

import os
import signal

import work

os.environ["AUTOCRON_HOME"] = str(work.FOLDER)

import autocron


@autocron.delay
def job(number: int, nap: float) -> None:
    work.job(number, nap)


def serve(workers: int) -> None:
    autocron.start(work.URL, workers)
    signal.pause()


def connect() -> None:
    autocron.start(work.URL, 0)


def enqueue(number: int, nap: float) -> None:
    job(number, nap)


def bulk(numbers: list[int]) -> None:
    job.starmap((number, 0.0) for number in numbers)
