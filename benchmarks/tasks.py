"""The tasks of the benchmarks."""

import time

import autocron


@autocron.delay
def nothing(number: int) -> None:
    pass


@autocron.delay
def lateness(called_at: int) -> int:
    return time.time_ns() - called_at


@autocron.delay
def long(seconds: float) -> None:
    time.sleep(seconds)
