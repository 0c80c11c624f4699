"""Many nodes on one PostgreSQL server, and where that bends: `make bench-scaling`.

Each node is a process with a node's two connections. It claims and finishes jobs as fast as it can, 100 at a time, with
nothing between, says each second that it lives, and, in the second half of the table, tells the others 50 times a
second that there is work, as often as a node does at most. No job is run: the machine has the database's work to do.
"""

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from database import connect, fill, postgres
from measure import Beside, percentile
from rich.console import Console
from rich.table import Table

from autocron.model import Claim, Finished, State
from autocron.node.colleagues import BEAT, NOTIFY_EVERY
from autocron.store.place import find_place
from autocron.store.postgres import open_node_store
from autocron.store.postgres_nodes import Membership

NODES = (1, 4, 16, 64)
SECONDS = 3.0
BATCH = 100
MOST = 100_000  # jobs a second, for so many are stored before


def node(database: str, name: str, tells: bool) -> Iterator[None]:
    """Claim and finish jobs; give how many, and the seconds of each exchange. Runs in a process of its own."""
    address = find_place(database).address
    store, membership = open_node_store(address), Membership(address, name)
    store.become(membership.join())
    store.exchange([], 0, time.time())  # connects
    stopped = threading.Event()
    others = threading.Thread(target=live_among_others, args=(membership, stopped, tells))
    others.start()
    yield
    end = time.perf_counter() + SECONDS
    claims, times, done = list[Claim](), list[float](), 0
    while (before := time.perf_counter()) < end:
        claims = store.exchange([succeeded(claim) for claim in claims], BATCH, time.time()).claims
        times.append(time.perf_counter() - before)
        done += len(claims)
    stopped.set()
    others.join()
    return done, times


def succeeded(claim: Claim, kept: float = 1800.0) -> Finished:
    now = time.time()
    return Finished(claim.uuid, claim.attempt, State.SUCCEEDED, "null", "", "", now, now, now + kept)


def live_among_others(membership: Membership, stopped: threading.Event, tells: bool) -> None:
    """Do what a node does on its second connection."""
    never, _ = os.pipe()
    next_beat = 0.0
    while not stopped.is_set():
        if (now := time.perf_counter()) >= next_beat:
            next_beat = now + BEAT
            membership.beat()
            membership.bury()
        if tells:
            membership.tell("work")
        membership.listen(never, NOTIFY_EVERY)


def measure(database: str, nodes: int, tells: bool) -> list[str]:
    """Let so many nodes work at once; give a row of the table."""
    fill(database, int(MOST * SECONDS))
    with connect(database) as connection:
        connection.execute("vacuum analyze jobs")
        processes = [Beside("scaling:node", database, f"node-{number}", tells) for number in range(nodes)]
        for process in processes:
            process.wait_until_prepared()
        for process in processes:
            process.go()
        waits, samples = waiting(connection)
        answers = [process.value() for process in processes]
    done = sum(count for count, _ in answers)
    if done >= int(MOST * SECONDS):
        raise SystemExit("the queue was empty before the time was over")
    times = [seconds for _, some in answers for seconds in some]
    p50, p99 = (f"{percentile(times, percent) * 1e3:.1f}" for percent in (50, 99))
    seen = ", ".join(f"{name} {count / samples:.1f}" for name, count in waits.most_common(3) if count >= samples / 20)
    return [str(nodes), "yes" if tells else "no", f"{done / SECONDS:,.0f}", p50, p99, seen or "–"]


def waiting(connection: Any) -> tuple[Counter[str], int]:
    """Look again and again what the nodes' sessions wait for; give how many of them were seen at it, and how often."""
    query = """
        select concat(wait_event_type, ':', wait_event) from pg_stat_activity
        where application_name like 'autocron %' and state = 'active' and wait_event is not null
    """
    seen, samples, end = Counter[str](), 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        seen.update(name for (name,) in connection.execute(query))
        samples += 1
        time.sleep(0.02)
    return seen, samples


def main() -> None:
    """Measure and print the table; arguments are the numbers of nodes."""
    table = Table("nodes", "tell", "jobs/s", "exchange p50 ms", "p99", "sessions that wait, on average, and for what")
    with tempfile.TemporaryDirectory() as home, postgres(max_connections="200") as server:
        os.environ["AUTOCRON_HOME"] = home
        for tells in (False, True):
            for nodes in map(int, sys.argv[1:] or NODES):
                row = measure(server.fresh(), nodes, tells)
                print(*row, sep="\t", file=sys.stderr, flush=True)
                table.add_row(*row)
            table.add_section()
        Console(width=120).print(f"{server.title}, {os.cpu_count()} cores", table)


if __name__ == "__main__":
    main()
