"""Millions of jobs through one PostgreSQL table: is it slower at the end than at the beginning? `make bench-churn`.

One node's worth: jobs are stored, claimed, finished and, ten seconds later, pruned, each in short transactions, while
the server vacuums as the table's settings say. Arguments: how many jobs (default: 5,000,000), and for how many seconds
at most (default: all it takes), and settings of the server, such as autovacuum_naptime=10s.
"""

import os
import sys
import tempfile
import time

from database import fill, postgres, query, store_of
from measure import percentile
from scaling import succeeded

from autocron.model import Claim
from autocron.node.storage import PRUNE_BATCH, PRUNE_EVERY
from autocron.store.place import find_place
from autocron.store.postgres import open_node_store

JOBS = 5_000_000
PART = 100_000  # jobs whose rate is told
WAVE = 10_000  # jobs that are stored at once
BATCH = 200
KEPT = 10.0  # seconds until a result is pruned
SIZE = "select pg_table_size('jobs'), pg_indexes_size('jobs'), count(*) from jobs"


class Churn:
    """A node's store with nothing around it."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._store = store_of(database)
        self._node = open_node_store(find_place(database).address)
        self._next_prune = time.monotonic() + PRUNE_EVERY

    def part(self) -> tuple[float, float]:
        """Have so many jobs pass; give the rate of claims and finishes, and the seconds of the median exchange."""
        times = list[float]()
        for _ in range(PART // WAVE):
            fill(self._database, WAVE)
            times += self._drain()
            if time.monotonic() > self._next_prune:
                self._next_prune = time.monotonic() + PRUNE_EVERY
                while self._node.prune(time.time(), PRUNE_BATCH) == PRUNE_BATCH:
                    pass
        return PART / sum(times), percentile(times, 50)

    def _drain(self) -> list[float]:
        claims, times = list[Claim](), list[float]()
        while claims or not times:
            ends = [succeeded(claim, KEPT) for claim in claims]
            before = time.perf_counter()
            claims = self._node.exchange(ends, BATCH, time.time()).claims
            times.append(time.perf_counter() - before)
        return times


def main() -> None:
    """Measure, tell each part, and compare the last one with the first."""
    jobs = int(sys.argv[1]) if sys.argv[1:] else JOBS
    end = time.monotonic() + (float(sys.argv[2]) if sys.argv[2:] else float("inf"))
    settings = dict(word.split("=") for word in sys.argv[3:])
    parts = list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as home, postgres(**settings) as server:
        os.environ["AUTOCRON_HOME"] = home
        database = server.fresh()
        churn = Churn(database)
        while len(parts) < jobs // PART and time.monotonic() < end:
            parts.append(churn.part())
            ((table, indexes, rows),) = query(database, SIZE)
            passed = f"{len(parts) * PART:,} jobs: {parts[-1][0]:,.0f} /s, exchange {parts[-1][1] * 1e3:.1f} ms"
            print(f"{passed}; {rows:,} rows, table {table >> 20} MB, indexes {indexes >> 20} MB", flush=True)
    (first, its_exchange), (last, exchange) = parts[0], parts[-1]
    print(f"{len(parts) * PART:,} jobs; last {PART:,} / first: rate {last / first:.2f}, {exchange / its_exchange:.2f}")


if __name__ == "__main__":
    main()
