"""The measurements. Each begins with an empty store and gives figures by their names, or raises `Wrong`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .peer import Peer
from .processes import cpu_seconds, kill_role
from .run import Record, Run, Wrong, run_of
from .servers import Server

Figures = dict[str, Any]
PRODUCERS = 4  # while workers drain so many times what they drain otherwise:
LOAD = 3
STORING = 3  # times as long as a drain takes, at most, are spent on storing its jobs
PAUSE = 0.005  # seconds between the calls of one of them
TRIES = 5  # of the first drain: some libraries run a job twice now and then
GRACE = 1.1  # seconds after the last call in which workers that keep up are done, even if they look once a second
SLOW_JOBS, NAP = 200, 0.05  # of the crash


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    repeats: int
    span: float  # seconds that a drain should take
    steady: float  # seconds of a steady rate
    jobs: int  # at most in a drain
    samples: int  # of the idle latency
    idle: float  # seconds
    crash: float  # seconds from the second start to the count


FULL = Scale(repeats=3, span=2.0, steady=4.0, jobs=50_000, samples=200, idle=20.0, crash=90.0)
QUICK = Scale(repeats=1, span=1.0, steady=2.0, jobs=3_000, samples=40, idle=5.0, crash=20.0)


class Bench:
    """Measures one peer on one server."""

    def __init__(self, peer: Peer, server: Server, scale: Scale) -> None:
        self.peer, self.server, self.scale = peer, server, scale
        self.jobs = 100  # in a drain; more, once it is known how fast they are drained

    def calibrate(self) -> None:
        """Find how many jobs make a drain of the wanted length. Also a warm-up."""
        tries = (attempt(Bench.one_worker, self) for _ in range(TRIES))
        figures = next((figures for figures in tries if "wrong" not in figures), None)
        if figures is None:
            raise Wrong(f"none of {TRIES} drains ran each job just once")
        storable = figures["enqueue"] * self.scale.span * STORING
        most = min(figures["drain"] * self.scale.span, storable, self.scale.jobs)
        self.jobs = max(self.jobs, int(most))

    def enqueue_and_drain(self, workers: int) -> Figures:
        """Store jobs by single calls, then start workers."""
        with run_of(self.peer, self.server) as run:
            stored = run.drive("enqueue", self.jobs)
            rate = drain(run, self.jobs, workers)
        times = stored["times"]
        return {
            "jobs": self.jobs,
            "enqueue": stored["rate"],
            "p50": percentile(times, 50),
            "p99": percentile(times, 99),
            "drain": rate,
        }

    def one_worker(self) -> Figures:
        return self.enqueue_and_drain(1)

    def two_workers(self) -> Figures:
        return self.enqueue_and_drain(2)

    def bulk(self) -> Figures:
        with run_of(self.peer, self.server) as run:
            stored = run.drive("bulk", self.jobs)
            if stored is None:
                return {}
            return {"rate": stored["rate"], "drain": drain(run, self.jobs, 2)}

    def idle_latency(self) -> Figures:
        with run_of(self.peer, self.server) as run, run.workers(2):
            self.warm_up(run)
            before = run.count()
            run.drive("idle", self.scale.samples)
            late = latencies(run.records()[before:])
        return {"samples": len(late), "p50": percentile(late, 50), "p99": percentile(late, 99)}

    def steady(self, rate: int) -> Figures:
        """Call at a steady rate; no figures if producer or workers cannot keep up with it."""
        with run_of(self.peer, self.server) as run, run.workers(2):
            self.warm_up(run)
            before = run.count()
            called = run.drive("paced", rate, self.scale.steady)
            kept_up = run.wait_for(before + called["calls"], patience=GRACE) and called["rate"] > 0.98 * rate
            late = latencies(run.wait_for_all(before + called["calls"])[before:])
        return {"p50": percentile(late, 50), "p99": percentile(late, 99)} if kept_up else {}

    def steady_100(self) -> Figures:
        return self.steady(100)

    def steady_1000(self) -> Figures:
        return self.steady(1_000)

    def load(self) -> Figures:
        """Have processes call while workers drain what was stored before; take the times of their calls."""
        backlog = LOAD * self.jobs
        with run_of(self.peer, self.server) as run:
            run.drive("enqueue", backlog)
            producers = [run.start("load", number, PAUSE) for number in range(1, PRODUCERS + 1)]
            time.sleep(3.0)  # in which they import, connect, and make a first call
            (run.folder / "go").touch()
            with run.workers(2):
                run.wait_for(backlog)
                (run.folder / "stop").touch()
                answers = [run.answer(producer) for producer in producers]
                records = run.wait_for_all(backlog + sum(answer["calls"] for answer in answers))
        first, last = records[0].at, records[backlog - 1].at
        times = [took for answer in answers for at, took in answer["times"] if first <= at <= last]
        errors = [error for answer in answers for error in answer["errors"]]
        return {"calls": len(times), "p99": percentile(times, 99), "max": percentile(times, 100), "errors": errors}

    def idle_cost(self) -> Figures:
        with run_of(self.peer, self.server) as run, run.workers(2):
            self.warm_up(run)
            time.sleep(self.scale.span)
            workers, servers = run.worker_processes(), self.server.processes()
            before = cpu_seconds(workers), cpu_seconds(servers)
            time.sleep(self.scale.idle)
            after = cpu_seconds(workers), cpu_seconds(servers)
        figures = {"workers": (after[0] - before[0]) / self.scale.idle}
        return figures | ({"server": (after[1] - before[1]) / self.scale.idle} if servers else {})

    def crash(self) -> Figures:
        """Kill everything on the worker side when half of the jobs have ended, and start it again."""
        with run_of(self.peer, self.server) as run:
            run.drive("enqueue", SLOW_JOBS, NAP)
            with run.workers(2):
                run.wait_for(SLOW_JOBS)  # two records for each job
                time.sleep(NAP / 2)  # workers that go in step have just ended theirs
                kill_role(run.role)
            with run.workers(2):
                time.sleep(self.scale.crash)
            numbers = [record.number for record in run.records()]
        begun = [number for number in numbers if number > 0]
        done = {-number for number in numbers if number < 0}
        return {"ended": len(done), "lost": SLOW_JOBS - len(done), "twice": len(begun) - len(set(begun))}

    def warm_up(self, run: Run) -> None:
        """See the workers at work."""
        run.drive("enqueue", 20)
        run.wait_for_all(20)


def drain(run: Run, count: int, workers: int) -> float:
    """Let workers run what is stored; give the rate from the first record to the last one."""
    with run.workers(workers):
        records = run.wait_for_all(count)
    if len(run.records()) != count:
        raise Wrong("jobs ran twice")
    times = sorted(record.at for record in records)
    return (count - 1) / (times[-1] - times[0])


def latencies(records: list[Record]) -> list[float]:
    """Give the seconds from call to function, of jobs whose number is the time of their call."""
    return [record.at - record.number / 1e9 for record in records]


def percentile(values: list[float], percent: int) -> float:
    if not values:
        raise Wrong("there was nothing to measure")
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


Measurement = Callable[[Bench], Figures]
SPEED: dict[str, Measurement] = {
    "one_worker": Bench.one_worker,
    "two_workers": Bench.two_workers,
    "bulk": Bench.bulk,
}
ONCE: dict[str, Measurement] = {
    "idle_latency": Bench.idle_latency,
    "steady_100": Bench.steady_100,
    "steady_1000": Bench.steady_1000,
    "load": Bench.load,
    "idle_cost": Bench.idle_cost,
}


def measure_speed(peer: Peer, server: Server, scale: Scale) -> dict[str, list[Figures]]:
    """Measure all that needs a quiet machine."""
    bench = Bench(peer, server, scale)
    bench.calibrate()
    results = {name: [attempt(measure, bench) for _ in range(scale.repeats)] for name, measure in SPEED.items()}
    return results | {name: [attempt(measure, bench)] for name, measure in ONCE.items()}


def measure_crash(peer: Peer, server: Server, scale: Scale) -> dict[str, list[Figures]]:
    return {"crash": [attempt(Bench.crash, Bench(peer, server, scale))]}


def attempt(measure: Measurement, bench: Bench) -> Figures:
    """Measure, or tell what was wrong."""
    try:
        return measure(bench)
    except Wrong as wrong:
        return {"wrong": str(wrong)}
