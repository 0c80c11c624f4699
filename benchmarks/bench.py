"""What autocron costs, measured on this machine: `make bench`. Takes one to two minutes; other work disturbs it."""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import apsw
from rich.console import Console
from rich.table import Table

import autocron
from autocron.cli.facts import ask_node
from autocron.model import Durability, State
from autocron.store.base import Store
from autocron.store.sqlite import open_store

CALLS = 5_000
DRAINED = 10_000
SAMPLES = 200
PAUSE = 0.02  # seconds between samples, in which the system becomes idle again
IDLE = 20.0  # seconds
REPEATS = 3  # the median of so many counts
LIMIT = 60.0  # seconds until something is wrong

T = TypeVar("T")
Row = tuple[str, str]


@autocron.delay
def nothing(number: int) -> None:
    pass


@autocron.delay
def lateness(called_at: int) -> int:
    return time.time_ns() - called_at


@contextmanager
def running(database: Path, workers: int) -> Iterator[Path]:
    """Give a database in use, and end everything behind it."""
    autocron.start(database, workers)
    try:
        yield database
    finally:
        autocron.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("this took too long: something is wrong")
        time.sleep(0.005)


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


# Enqueueing and draining


def enqueue(database: Path, durability: Durability) -> tuple[float, list[float]]:
    """Store calls that nobody runs; give the rate, and the seconds that each call took."""
    autocron.start(database, workers=0, durability=durability)
    nothing(0)  # opens the database
    times: list[float] = []
    begin = before = time.perf_counter()
    for number in range(CALLS):
        nothing(number)
        after = time.perf_counter()
        times.append(after - before)
        before = after
    autocron.stop()
    return CALLS / (before - begin), times


def drain(database: Path, workers: int) -> float:
    """Store jobs, let workers run them, see in the database that each one succeeded; give the rate.

    The clock runs from the moment at which the first job has started: start() is measured by itself.
    """
    autocron.start(database, workers=0)
    for number in range(DRAINED - 1):
        nothing(number)
    last_call = nothing(DRAINED)
    autocron.stop()
    store = open_store(database)
    with running(database, workers):
        last_call.wait(LIMIT)  # rather than count all the time, which would disturb
        wait_until(lambda: is_drained(store))
    succeeded = store.counts(time.time()).by_state.get(State.SUCCEEDED, 0)
    if succeeded != DRAINED:
        raise SystemExit(f"{succeeded} of {DRAINED} jobs succeeded")
    first, last = span(database)
    store.close()
    return DRAINED / (last - first)


def is_drained(store: Store) -> bool:
    by_state = store.counts(time.time()).by_state
    return not by_state.get(State.QUEUED) and not by_state.get(State.RUNNING)


def span(database: Path) -> tuple[float, float]:
    """Give when the first job was started and when the last one ended."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[Any] = connection.execute("select min(started_at), max(finished_at) from jobs").fetchall()
    first, last = rows[0]
    connection.close()
    return float(first), float(last)


def latency(database: Path) -> list[float]:
    """Give the seconds from a call to the first line of its function, while nothing else is to be done."""
    with running(database, 1):
        nothing(0).wait(LIMIT)
        late: list[float] = []
        for _ in range(SAMPLES):
            time.sleep(PAUSE)
            late.append(lateness(time.time_ns()).wait(LIMIT) / 1e9)
    return late


# Processes


def processes(database: Path) -> dict[str, list[int]]:
    """Give the process ids of all that belongs to a database."""
    status = ask_node(database)
    assert status is not None
    return {
        "application": [os.getpid()],
        "node": [status.pid],
        "workers": [worker.pid for worker in status.workers],
    }


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scheduled_seconds(pid: int) -> float:
    """Give the same to the nanosecond: /proc/PID/stat counts in ticks, too coarse for a process that sleeps."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory(pid: int) -> int:
    """Give the bytes of a process, with its part of what it shares with others (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


@dataclass(frozen=True)
class Idle:
    """What the processes use while there is nothing to do, by their kinds."""

    ticks: dict[str, float]  # parts of a core
    exact: dict[str, float]
    bytes: dict[str, float]


def idle(database: Path) -> Idle:
    with running(database, 2):
        wait_until(lambda: len(processes(database)["workers"]) == 2)
        nothing(0).wait(LIMIT)
        time.sleep(2.0)
        pids = processes(database)
        ticks, exact = total(pids, cpu_seconds), total(pids, scheduled_seconds)
        time.sleep(IDLE)
        ticks = {name: (after - ticks[name]) / IDLE for name, after in total(pids, cpu_seconds).items()}
        exact = {name: (after - exact[name]) / IDLE for name, after in total(pids, scheduled_seconds).items()}
        return Idle(ticks, exact, total(pids, memory))


def total(pids: dict[str, list[int]], measure: Callable[[int], float]) -> dict[str, float]:
    return {name: sum(measure(pid) for pid in of_kind) for name, of_kind in pids.items()}


def in_new_process(before: str, timed: str) -> float:
    """Give the seconds that this code takes in an interpreter of its own."""
    code = f"import time; {before}; begin = time.perf_counter(); {timed}; print(time.perf_counter() - begin)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def import_time(_: Path) -> float:
    return in_new_process("pass", "import autocron")


def first_start(database: Path) -> float:
    return in_new_process("import autocron", f"autocron.start({str(database)!r}, 1)")


def later_start(database: Path) -> float:
    """Give the seconds of a start() that finds a node, as in all processes of a server but the first."""
    with running(database, 1):
        return in_new_process("import autocron", f"autocron.start({str(database)!r}, 1)")


# The table


def repeated(measure: Callable[[Path], T], folder: Path) -> list[T]:
    """Measure several times, each time with a new database."""
    return [measure(folder / f"{time.monotonic_ns()}.db") for _ in range(REPEATS)]


def enqueue_rows(folder: Path, durability: Durability) -> list[Row]:
    runs = repeated(lambda database: enqueue(database, durability), folder)
    what = f'call, durability="{durability}"'
    return [
        (f"{what}: rate of one thread", per_second([rate for rate, _ in runs])),
        (f"{what}: p50", micro([percentile(times, 50) for _, times in runs])),
        (f"{what}: p99", micro([percentile(times, 99) for _, times in runs])),
    ]


def drain_rows(folder: Path, workers: int) -> list[Row]:
    rates = repeated(lambda database: drain(database, workers), folder)
    return [(f"jobs that do nothing, {workers} worker{'s'[: workers - 1]}", per_second(rates))]


def latency_rows(folder: Path) -> list[Row]:
    runs = repeated(latency, folder)
    what = "call to first line of the function, idle"
    return [
        (f"{what}: p50", micro([percentile(times, 50) for times in runs])),
        (f"{what}: p99", micro([percentile(times, 99) for times in runs])),
    ]


def start_rows(folder: Path) -> list[Row]:
    return [
        ("import autocron", milli(repeated(import_time, folder))),
        ("start(), first process", milli(repeated(first_start, folder))),
        ("start(), a node is there", milli(repeated(later_start, folder))),
    ]


def idle_rows(folder: Path) -> list[Row]:
    used = idle(folder / "idle.db")
    what = f"idle for {IDLE:.0f} s, 2 workers"
    names = ", ".join(used.ticks)
    return [
        (f"{what}: processor, by ticks", f"{sum(used.ticks.values()):.3%} of a core"),
        (f"{what}: processor, exactly", f"{sum(used.exact.values()):.3%} of a core"),
        (f"  {names}", ", ".join(f"{part:.3%}" for part in used.exact.values())),
        (f"{what}: memory (PSS)", mega(sum(used.bytes.values()))),
        (f"  {names}", ", ".join(mega(size) for size in used.bytes.values())),
    ]


def per_second(rates: list[float]) -> str:
    return f"{median(rates):,.0f} /s"


def micro(times: list[float]) -> str:
    return f"{median(times) * 1e6:,.0f} µs"


def milli(times: list[float]) -> str:
    return f"{median(times) * 1e3:,.0f} ms"


def mega(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def main() -> None:
    """Measure everything and print the table."""
    logging.getLogger("autocron").setLevel(logging.WARNING)
    table = Table("what", "measured", title=f"{os.cpu_count()} cores, load at the start {os.getloadavg()[0]:.1f}")
    table.columns[1].justify = "right"
    with tempfile.TemporaryDirectory(prefix="autocron-bench-") as name:
        folder = Path(name)
        parts: list[Callable[[], list[Row]]] = [
            lambda: start_rows(folder),
            lambda: enqueue_rows(folder, "normal"),
            lambda: enqueue_rows(folder, "full"),
            lambda: latency_rows(folder),
            lambda: drain_rows(folder, 1),
            lambda: drain_rows(folder, 2),
            lambda: idle_rows(folder),
        ]
        for part in parts:
            for row in part():
                table.add_row(*row)
            table.add_section()
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
