# /// script
# requires-python = ">=3.11"
# dependencies = ["autocron==1.2.2"]
#
# [tool.peer]
# title = "autocron 1.2.2"
# package = "autocron"
# store = "sqlite"
# durability = "rollback journal, synchronous=FULL; but a thread stores the call after it has returned"
# settings = """\
#     defaults: idle workers look once a second; results are stored. A call only puts the job into a queue in \
#     memory; the rate counts until all are stored. After `kill -9` it does not start again by itself: its \
#     database says that a monitor is there"""
# ///
"""The last release of autocron before it was rewritten."""

import signal
import time
from typing import Any

import work
from autocron.sqlite_interface import SQLiteInterface

import autocron

last: Any = None


@autocron.delay
def job(number: int, nap: float) -> None:
    work.job(number, nap)


def serve(workers: int) -> None:
    autocron.start(str(work.DATABASE), workers=workers)
    signal.pause()


def connect() -> None:
    """Do what autocron.start() does except for starting workers."""
    interface = SQLiteInterface()
    interface.init_database(str(work.DATABASE))
    interface.registrator.start()


def enqueue(number: int, nap: float) -> None:
    global last
    last = job(number, nap)


def flush() -> None:
    while SQLiteInterface().get_result_by_uuid(last.uuid) is None:
        time.sleep(0.005)
