"""Limits and uniqueness: one import at a time for each customer, and one job for many calls."""

import time
from datetime import UTC, datetime

import autocron
from autocron import TaskResult, delay


@delay(concurrency=1, limit_key="{customer}")
def import_orders(customer: str) -> str:
    time.sleep(0.3)
    return customer


@delay(unique_key="{page}", on_duplicate="replace", seconds=1)
def index(page: str, text: str) -> str:
    return f"{page}: {text}"


def times(result: TaskResult[str]) -> tuple[datetime, datetime]:
    result.wait(20)
    attempt = result.attempts[-1]
    return attempt.started_at, attempt.finished_at or datetime.max.replace(tzinfo=UTC)


def main() -> None:
    autocron.start("limits.db", workers=2)
    (_, end), (begin, _) = sorted(times(result) for result in import_orders.map(["a", "a"]))
    print("two imports, one after the other:", end <= begin)
    edits = [index("home", text) for text in ("H", "He", "Hello")]
    print(len(edits), "edits,", len({edit.uuid for edit in edits}), "job:", edits[-1].wait(20))
    autocron.stop()


if __name__ == "__main__":
    main()
