"""What is measured, each as a function of a new database's path."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tasks
from database import Database, fill, query, store_of
from measure import LIMIT, beside, percentile, running, wait_until

import autocron
from autocron.cli.facts import ask_node
from autocron.codec import encode_call
from autocron.model import Durability, Finished, NewJob, State
from autocron.names import new_uuid
from autocron.store.base import Store
from autocron.store.place import find_place

CALLS = 10_000
DRAINED = 20_000
SAMPLES = 1_000
PAUSE = 0.02  # seconds between samples, in which the system becomes idle again
STEADY_RATE, STEADY_CALLS = 1_000, 4_000
MIXED_RATE, MIXED_CALLS, MIXED_LONG = 1_000, 4_000, 0.1  # every hundredth job takes so many seconds
LOADED = 400_000  # jobs that wait when the producers begin
LOAD_SECONDS = 3.0
GROWN = 1_000_000
GROWTH_SAMPLES = 5_000
IDLE = 20.0  # seconds

# Calls


def calls(database: Database, durability: Durability) -> list[float]:
    """Store calls that nobody runs; give the seconds that each took."""
    autocron.start(database, workers=0, durability=durability)
    tasks.nothing(0)  # opens the database
    times: list[float] = []
    before = time.perf_counter()
    for number in range(CALLS):
        tasks.nothing(number)
        after = time.perf_counter()
        times.append(after - before)
        before = after
    autocron.stop()
    return times


def producer(database: str, seconds: float, threads: int, pause: float, durability: Durability) -> Iterator[None]:
    """Call for so long in so many threads; give the seconds that each call took. Runs in a process of its own."""
    autocron.start(database, durability=durability)
    tasks.nothing(0)
    yield
    times: list[float] = []
    end = time.perf_counter() + seconds

    def produce() -> None:
        while (before := time.perf_counter()) < end:
            tasks.nothing(0)
            times.append(time.perf_counter() - before)
            if pause:
                time.sleep(pause)

    producers = [threading.Thread(target=produce) for _ in range(threads)]
    for thread in producers:
        thread.start()
    for thread in producers:
        thread.join()
    return times


def many_producers(database: Database, processes: int, threads: int, durability: Durability) -> list[float]:
    """Call from many threads of many processes at once, the worker at work; give the seconds that each call took."""
    with running(database, 1):
        parts = beside(processes, "scenarios:producer", str(database), LOAD_SECONDS, threads, 0.0, durability)
    return [seconds for part in parts for seconds in part]


# Jobs


def drain(database: Database, workers: int) -> float:
    """Store jobs, let workers run them, see in the database that each one succeeded; give the rate.

    The clock runs from the moment at which the first job has started: start() is measured by itself.
    """
    fill(database, DRAINED)
    store = store_of(database)
    with running(database, workers):
        wait_until(lambda: is_drained(store))
    succeeded = store.counts(time.time()).by_state.get(State.SUCCEEDED, 0)
    if succeeded != DRAINED:
        raise SystemExit(f"{succeeded} of {DRAINED} jobs succeeded")
    ((first, last),) = query(database, "select min(started_at), max(finished_at) from jobs")
    store.close()
    return DRAINED / float(last - first)


def is_drained(store: Store) -> bool:
    time.sleep(0.1)  # looking disturbs, and counting would even more
    return not any(store.find(state, 1, time.time()) for state in ("queued", "running"))


@dataclass(frozen=True)
class Load:
    """What happened while the workers had more to do than they can, and four processes called."""

    calls: list[float]
    called: float  # per second
    drained: float  # per second


def load(database: Database, pause: float) -> Load:
    """Let four processes call, with pauses of so many seconds, while two workers have more to do than they can."""
    fill(database, LOADED)
    with running(database, 2):
        begin = time.time()
        parts = beside(4, "scenarios:producer", str(database), LOAD_SECONDS, 1, pause, "normal")
        times = [seconds for part in parts for seconds in part]
        sql = "select count(*), min(finished_at), max(finished_at), (select count(*) from jobs where state = 'queued')"
        ((ended, first, last, left),) = query(database, f"{sql} from jobs where finished_at > {begin + 1.0}")
        if not left:
            raise SystemExit("the queue was empty before the time was over")
        query(database, "delete from jobs where state = 'queued'")
    return Load(times, len(times) / LOAD_SECONDS, ended / (last - first))


def idle_latency(database: Database) -> list[float]:
    """Give the seconds from a call to the first line of its function, while nothing else is to be done."""
    with running(database, 1):
        late: list[float] = []
        for _ in range(SAMPLES):
            time.sleep(PAUSE)
            late.append(tasks.lateness(time.time_ns()).wait(LIMIT) / 1e9)
    return late


def remote_latency(database: str) -> list[float]:
    """Give the seconds from a call to the first line of its function, on a PostgreSQL database, where the only node is
    on another machine: it has another home.
    """
    with TemporaryDirectory() as home:
        node = subprocess.Popen(
            [sys.executable, "-c", f"import autocron, signal, tasks; autocron.start({database!r}, 1); signal.pause()"],
            cwd=Path(__file__).parent,
            env=os.environ | {"AUTOCRON_HOME": home},
        )
        store, late = store_of(database), list[float]()
        try:
            for _ in range(SAMPLES):
                time.sleep(PAUSE)
                late.append(called_from_afar(store) / 1e9)
        finally:
            node.terminate()
            node.wait()
        return late[1:]  # the first one waits for the node to start


def called_from_afar(store: Store) -> int:
    """Store a call as an application without a node does; give the nanoseconds until its function began."""
    now = time.time()
    job = NewJob(new_uuid(), "tasks.lateness", encode_call((time.time_ns(),), {}), now, now)
    store.insert(job)
    store.tell_nodes()
    wait_until(lambda: bool(store.final_among([job.uuid])))
    done = store.get(job.uuid, now)
    return int(done.result or 0) if done else 0


def waiting(database: Database) -> list[float]:
    """Give the seconds from a call until its caller has the value."""
    with running(database, 1):
        times: list[float] = []
        for number in range(SAMPLES):
            time.sleep(PAUSE)
            before = time.perf_counter()
            tasks.nothing(number).wait(LIMIT)
            times.append(time.perf_counter() - before)
    return times


def steady_latency(database: Database) -> list[float]:
    """Give the seconds from a call to the first line of its function, at a steady rate."""
    with running(database, 2):
        results = [tasks.lateness(time.time_ns()) for _ in paced(STEADY_RATE, STEADY_CALLS)]
        results[-1].wait(LIMIT)
        return [result.wait(LIMIT) / 1e9 for result in results]


def mixed_latency(database: Database) -> list[float]:
    """Give the seconds from a call to the first line of its function, while each hundredth job takes long."""
    with running(database, 2):
        results: list[Any] = []
        for number in paced(MIXED_RATE, MIXED_CALLS):
            if number % 100 == 50:
                tasks.long(MIXED_LONG)
            else:
                results.append(tasks.lateness(time.time_ns()))
        return [result.wait(LIMIT) / 1e9 for result in results]


def paced(rate: float, count: int) -> Iterator[int]:
    """Count at this rate; who is late does not wait."""
    begin = time.perf_counter()
    for number in range(count):
        while (early := begin + number / rate - time.perf_counter()) > 0:
            time.sleep(early)
        yield number


# Growth


@dataclass(frozen=True)
class Costs:
    """Microseconds of one call, and of claiming and finishing one job."""

    insert: float
    exchange: float


def costs(database: Database, waiting: int, finished: int) -> Costs:
    """Measure at the store with so many jobs in it."""
    fill(database, waiting, "queued")
    fill(database, finished, "succeeded")
    autocron.start(database, workers=0)
    times: list[float] = []
    for number in range(GROWTH_SAMPLES):
        before = time.perf_counter()
        tasks.nothing(number)
        times.append(time.perf_counter() - before)
    autocron.stop()
    store = store_of(database)
    ends: list[Finished] = []
    exchanges: list[float] = []
    for _ in range(GROWTH_SAMPLES // 100):
        now = time.time()
        before = time.perf_counter()
        claims = store.exchange(ends, 100, now).claims
        exchanges.append(time.perf_counter() - before)
        ends = [Finished(c.uuid, c.attempt, State.SUCCEEDED, "null", "", "", now, now, now + 1800) for c in claims]
    store.close()
    return Costs(percentile(times, 50) * 1e6, percentile(exchanges, 50) * 1e6 / 100)


# Processes


@dataclass(frozen=True)
class Idle:
    """What the processes use while there is nothing to do, by their kinds."""

    seconds: dict[str, float]  # of processor time
    bytes: dict[str, float]


def idle(database: Database) -> Idle:
    with running(database, 2):
        tasks.nothing(0).wait(LIMIT)
        time.sleep(2.0)
        pids = processes(database)
        before = {name: sum(map(processor_seconds, of_kind)) for name, of_kind in pids.items()}
        time.sleep(IDLE)
        used = {name: sum(map(processor_seconds, of_kind)) - before[name] for name, of_kind in pids.items()}
        return Idle(used, {name: sum(map(memory, of_kind)) for name, of_kind in pids.items()})


def processes(database: Database) -> dict[str, list[int]]:
    """Give the process ids of all that belongs to a database."""
    status = ask_node(find_place(database))
    assert status is not None
    workers = [worker.pid for worker in status.workers]
    return {"application": [os.getpid()], "node": [status.pid], "workers": workers}


def processor_seconds(pid: int) -> float:
    """Give the processor time that a process has used, to the nanosecond: /proc/PID/stat counts in ticks of 10 ms."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory(pid: int) -> int:
    """Give the bytes of a process, with its part of what it shares with others (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


# Starting


def import_time(_: Database) -> float:
    return in_new_process("pass", "import autocron")


def first_start(database: Database) -> float:
    return in_new_process("import autocron", f"autocron.start({str(database)!r}, 1)")


def later_start(database: Database) -> float:
    """Give the seconds of a start() that finds a node, as in all processes of a server but the first."""
    with running(database, 1):
        return in_new_process("import autocron", f"autocron.start({str(database)!r}, 1)")


def first_job(database: Database) -> float:
    """Give the seconds from start() to the first line of the first job."""
    code = f"before = time.time_ns(); autocron.start({str(database)!r}, 1); late = tasks.lateness(before).wait(10)"
    return in_new_process("import autocron, tasks", code, "late / 1e9")


def in_new_process(before: str, timed: str, result: str = "time.perf_counter() - begin") -> float:
    """Give the seconds that this code takes in an interpreter of its own."""
    code = f"import time; {before}; begin = time.perf_counter(); {timed}; print({result})"
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, cwd=here)
    return float(done.stdout)
