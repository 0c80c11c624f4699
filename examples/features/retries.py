"""Retries and timeouts: a service that is down twice, and a task that would never end."""

import time

import autocron
from autocron import Retry, delay

DOWN = 2  # attempts


@delay(retries=Retry(3, delay=0.2, on=(ConnectionError,)))
def fetch(url: str) -> str:
    if autocron.current().attempt <= DOWN:
        raise ConnectionError(f"{url} does not answer")
    return "<h1>Hello</h1>"


@delay(timeout=0.5)
def count_stars() -> int:
    stars = 0
    while True:
        stars += 1
        time.sleep(0.01)


def main() -> None:
    autocron.start("retries.db")
    page, stars = fetch("example.org"), count_stars()
    print("fetched:", page.wait(20))
    for attempt in page.attempts:
        print(f"  attempt {attempt.number}: {attempt.outcome} {attempt.error_message}")
    try:
        stars.wait(20)
    except autocron.TaskFailed:
        print("not counted:", stars.error_message)
    autocron.stop()


if __name__ == "__main__":
    main()
