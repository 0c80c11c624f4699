"""Hooks: something around each job, and something after each that failed."""

import time
from collections.abc import Iterator
from pathlib import Path

import autocron
from autocron import Job, TaskResult, around, delay, on_failure

TOLD = Path("told.txt")


@around
def measure(job: Job) -> Iterator[None]:
    begin = time.monotonic()
    yield
    print(f"{job.task} took {time.monotonic() - begin:.1f} s")  # of a job that raises nothing


@on_failure
def tell(result: TaskResult[object]) -> None:
    TOLD.write_text(f"{result.task}: {result.error_message}")


@delay
def divide(one: float, other: float) -> float:
    return one / other


def main() -> None:
    TOLD.unlink(missing_ok=True)
    autocron.start("hooks.db")
    good, bad = divide(6, 3), divide(1, 0)
    print("6 / 3 =", good.wait(20))
    print("what the hook around it printed:", good.output.strip())
    while not TOLD.exists() or not TOLD.read_text():
        time.sleep(0.05)
    print("what the hook after", bad.status, "jobs has told:", TOLD.read_text())
    TOLD.unlink()
    autocron.stop()


if __name__ == "__main__":
    main()
