"""What autocron costs, measured on this machine: `make bench`. Takes about two minutes; other work disturbs it."""

import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import bare
import scenarios
from measure import percentile
from rich.console import Console
from rich.table import Table

from autocron.model import Durability

REPEATS = 3  # the median of so many counts
BARE_BATCHED = 50_000

T = TypeVar("T")
Row = tuple[str, str]


class Bench:
    """Measures everything, each in new databases of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bare_batched = 0.0

    def parts(self) -> list[Callable[[], list[Row]]]:
        """Give the parts of the table."""
        return [
            self.starting,
            lambda: self.calls("normal"),
            lambda: self.calls("full"),
            self.latencies,
            self.drains,
            self.load,
            self.producers,
            self.growth,
            self.idle,
        ]

    def new(self) -> Path:
        """Give the path of a new database."""
        return self._folder / f"{time.monotonic_ns()}.db"

    def several(self, measure: Callable[[Path], T]) -> list[T]:
        """Measure several times, each time with a new database."""
        return [measure(self.new()) for _ in range(REPEATS)]

    def starting(self) -> list[Row]:
        """Measure what happens before the first job."""
        return [
            ("import autocron", milli(self.several(scenarios.import_time))),
            ("start(), first process", milli(self.several(scenarios.first_start))),
            ("start(), a node is there", milli(self.several(scenarios.later_start))),
            ("start() to the first line of the first job", milli(self.several(scenarios.first_job))),
        ]

    def calls(self, durability: Durability) -> list[Row]:
        """Measure calls in one thread, between bare inserts of the same row."""
        rates: list[float] = []
        shares: list[float] = []
        times: list[float] = []
        for _ in range(REPEATS):
            ours = scenarios.calls(self.new(), durability)
            theirs = bare.inserts(durability, scenarios.CALLS)
            rates.append(len(ours) / sum(ours))
            shares.append(sum(theirs) / sum(ours))
            times += ours
        what = f'call, durability="{durability}"'
        return [
            (f"{what}: rate of one thread", f"{median(rates):,.0f} /s"),
            ("– as a part of bare SQLite inserts", f"{median(shares):.0%}"),
            (f"{what}: p50, p99", micros(times)),
        ]

    def latencies(self) -> list[Row]:
        """Measure how long it takes until a job runs."""
        what = "call to first line of the function"
        return [
            (f"{what}, idle: p50, p99", millis(scenarios.idle_latency(self.new()))),
            (f"{what}, 1,000 jobs/s: p50, p99", millis(scenarios.steady_latency(self.new()))),
            ("– 1% of them take 100 ms: p50, p99", millis(scenarios.mixed_latency(self.new()))),
            ("call to value by wait(): p50, p99", millis(scenarios.waiting(self.new()))),
        ]

    def drains(self) -> list[Row]:
        """Measure how fast stored jobs that do nothing are run."""
        bare_rate = median(bare.claims_and_finishes(BARE_BATCHED, 100) for _ in range(REPEATS))
        one = median(self.several(lambda database: scenarios.drain(database, 1)))
        two = median(self.several(lambda database: scenarios.drain(database, 2)))
        return [
            ("jobs that do nothing, 1 worker", f"{one:,.0f} /s"),
            ("jobs that do nothing, 2 workers", f"{two:,.0f} /s"),
            ("– as a part of bare SQLite, claims and finishes by 100", f"{two / bare_rate:.0%}"),
        ]

    def load(self) -> list[Row]:
        """Measure calls while everything is busy."""
        rows: list[Row] = []
        for what, pause in (("who pause for 5 ms", 0.005), ("without a pause", 0.0)):
            load = scenarios.load(self.new(), pause)
            rows += [
                (f"full drain, 4 callers {what}: a call: p50, p99, max", millis(load.calls, with_max=True)),
                ("– calls, jobs run", f"{load.called:,.0f} /s, {load.drained:,.0f} /s"),
            ]
        return rows

    def producers(self) -> list[Row]:
        """Measure many callers at once."""
        times = scenarios.many_producers(self.new(), 8, 8, "full")
        rate = len(times) / scenarios.LOAD_SECONDS
        return [
            ('64 threads in 8 processes, "full": rate', f"{rate:,.0f} /s"),
            ("– a call: p50, p99, max", millis(times, with_max=True)),
        ]

    def growth(self) -> list[Row]:
        """Measure what a large database costs."""
        empty = scenarios.costs(self.new(), scenarios.GROWTH_SAMPLES, 0)
        rows: list[Row] = []
        for what, waiting, finished in (("waiting", scenarios.GROWN, 0), ("finished", 0, scenarios.GROWN)):
            full = scenarios.costs(self.new(), waiting, finished)
            ratios = f"{full.insert / empty.insert:.2f}, {full.exchange / empty.exchange:.2f}"
            rows.append((f"1,000,000 jobs {what}: cost of a call, of claim and finish, against none", ratios))
        return rows

    def idle(self) -> list[Row]:
        """Measure what is used while there is nothing to do."""
        used = scenarios.idle(self.new())
        names = ", ".join(used.seconds)
        what = f"idle for {scenarios.IDLE:.0f} s, 2 workers"
        return [
            (f"{what}: processor seconds", f"{sum(used.seconds.values()):.4f}"),
            (f"– {names}", ", ".join(f"{seconds:.4f}" for seconds in used.seconds.values())),
            (f"{what}: memory (PSS)", mega(sum(used.bytes.values()))),
            (f"– {names}", ", ".join(mega(size) for size in used.bytes.values())),
        ]


def micros(times: list[float]) -> str:
    return f"{percentile(times, 50) * 1e6:,.0f} µs, {percentile(times, 99) * 1e6:,.0f} µs"


def millis(times: list[float], *, with_max: bool = False) -> str:
    values = [percentile(times, 50), percentile(times, 99), *([max(times)] if with_max else [])]
    return ", ".join(f"{value * 1e3:,.2f} ms" for value in values)


def milli(times: list[float]) -> str:
    return f"{median(times) * 1e3:,.0f} ms"


def mega(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def main() -> None:
    """Measure everything and print the table."""
    logging.getLogger("autocron").setLevel(logging.WARNING)
    table = Table("what", "measured", title=f"{os.cpu_count()} cores, load at the start {os.getloadavg()[0]:.1f}")
    table.columns[1].justify = "right"
    with tempfile.TemporaryDirectory(prefix="autocron-bench-") as folder:
        for part in Bench(Path(folder)).parts():
            for row in part():
                table.add_row(*row)
            table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
