"""What autocron costs on PostgreSQL, measured on this machine: `make bench-postgres`. Other work disturbs it.

The server is PostgreSQL 18 with a data directory of its own and its default settings: each commit waits for the disk.
"""

import logging
import os
import tempfile
from statistics import median

import bare_postgres
import scenarios
from bench import micros, millis
from comparison.servers import Postgres
from database import postgres
from rich.console import Console
from rich.table import Table

REPEATS = 3  # the median of so many counts
BARE_BATCHED = 20_000

Row = tuple[str, str]


def calls(server: Postgres) -> list[Row]:
    """Measure calls in one thread, between bare inserts of the same row, and in many threads."""
    ours = scenarios.calls(server.fresh(), "normal")
    theirs = bare_postgres.inserts(server.fresh(), scenarios.CALLS)
    many = scenarios.many_producers(server.fresh(), 4, 4, "normal")
    return [
        ("calls of one thread", f"{len(ours) / sum(ours):,.0f} /s"),
        ("– as a part of bare inserts", f"{sum(theirs) / sum(ours):.0%}"),
        ("– a call: p50, p99", micros(ours)),
        ("calls of 16 threads in 4 processes, 1 worker", f"{len(many) / scenarios.LOAD_SECONDS:,.0f} /s"),
        ("– a call: p50, p99", millis(many)),
    ]


def latencies(server: Postgres) -> list[Row]:
    """Measure how long it takes until a job runs."""
    return [
        ("call to first line of the function, idle: p50, p99", millis(scenarios.idle_latency(server.fresh()))),
        ("– the node is on another machine: p50, p99", millis(scenarios.remote_latency(server.fresh()))),
        ("call to value by wait(): p50, p99", millis(scenarios.waiting(server.fresh()))),
    ]


def drains(server: Postgres) -> list[Row]:
    """Measure how fast stored jobs that do nothing are run, beside what the server can do."""
    rates = [
        (
            bare_postgres.claims_and_finishes(server.fresh(), BARE_BATCHED, 100),
            scenarios.drain(server.fresh(), 1),
            scenarios.drain(server.fresh(), 2),
        )
        for _ in range(REPEATS)
    ]
    bare, one, two = (median(column) for column in zip(*rates, strict=True))
    return [
        ("bare claims and finishes, batches of 100", f"{bare:,.0f} /s"),
        ("jobs that do nothing, 1 worker", f"{one:,.0f} /s"),
        ("jobs that do nothing, 2 workers", f"{two:,.0f} /s"),
        ("– as a part of bare claims and finishes", f"{median(b / a for a, _, b in rates):.0%}"),
    ]


def main() -> None:
    """Measure everything and print the table."""
    logging.getLogger("autocron").setLevel(logging.WARNING)
    title = f"{os.cpu_count()} cores, load at the start {os.getloadavg()[0]:.1f}"
    with tempfile.TemporaryDirectory(prefix="autocron-bench-") as home, postgres() as server:
        os.environ["AUTOCRON_HOME"] = home
        table = Table("what", "measured", title=f"{server.title}, {title}")
        table.columns[1].justify = "right"
        for part in (calls, latencies, drains):
            for row in part(server):
                table.add_row(*row)
            table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
