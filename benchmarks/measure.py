"""What the benchmarks share: an application, processes beside it, and figures."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import autocron
from autocron.cli.facts import ask_node
from autocron.store.place import find_place

LIMIT = 60.0  # seconds until something is wrong


@contextmanager
def running(database: Path | str, workers: int) -> Iterator[Path | str]:
    """Give a database in use whose workers are ready, and end everything behind it."""
    autocron.start(database, workers)
    try:
        wait_until(lambda: ready_workers(database) == workers)
        yield database
    finally:
        autocron.stop()


def ready_workers(database: Path | str) -> int:
    status = ask_node(find_place(database))
    return sum(worker.state == "ready" for worker in status.workers) if status else 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("this took too long: something is wrong")
        time.sleep(0.005)


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


class Beside:
    """A function of a benchmark that runs in a process of its own: it prepares, waits for the word, gives a value.

    Args:
        function: "module:name"; a generator that yields once when it is prepared and then returns its value.
        args: its arguments, as JSON knows them.
    """

    def __init__(self, function: str, *args: Any) -> None:
        command = [sys.executable, __file__, function, json.dumps(args)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_until_prepared(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def value(self) -> Any:
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(f"{self._process.args} failed")
        return json.loads(out)


def beside(count: int, function: str, *args: Any) -> list[Any]:
    """Run it in so many processes at the same moment; give all values."""
    processes = [Beside(function, *args) for _ in range(count)]
    for process in processes:
        process.wait_until_prepared()
    for process in processes:
        process.go()
    return [process.value() for process in processes]


def _main(function: str, args: str) -> None:
    module, _, name = function.partition(":")
    steps = getattr(__import__(module), name)(*json.loads(args))
    next(steps)
    print("prepared", flush=True)
    sys.stdin.readline()
    try:
        next(steps)
    except StopIteration as end:
        print(json.dumps(end.value))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
