# /// script
# requires-python = ">=3.11"
# dependencies = []
#
# [tool.peer]
# title = "autocron 2"
# package = "autocron"
# store = "sqlite"
# checkout = true
# settings = "defaults; results are stored"
#
# [tool.peer.variants.normal]
# durability = "WAL, synchronous=NORMAL, synced some 10 ms after a commit"
#
# [tool.peer.variants.full]
# title = "autocron 2, durability=full"
# durability = "WAL, synchronous=FULL: each commit waits for the disk"
# ///
"""autocron, this checkout."""

import signal

import work

import autocron


@autocron.delay
def job(number: int, nap: float) -> None:
    work.job(number, nap)


def start(workers: int) -> None:
    autocron.start(work.DATABASE, workers, durability="full" if work.VARIANT == "full" else "normal")


def serve(workers: int) -> None:
    start(workers)
    signal.pause()


def connect() -> None:
    start(0)


def enqueue(number: int, nap: float) -> None:
    job(number, nap)


def bulk(numbers: list[int]) -> None:
    job.starmap((number, 0.0) for number in numbers)
