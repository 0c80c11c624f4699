"""What the time of one job is spent on, step by step, each measured by itself: `make bench-anatomy`."""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bare
import tasks
from rich.console import Console
from rich.table import Table

import autocron
from autocron import codec, wire
from autocron.app import in_use
from autocron.clock import SystemClock
from autocron.eventloop import EventLoop
from autocron.model import Claim, NewJob, Run, Settings, Succeeded
from autocron.names import new_uuid
from autocron.node.dispatch import Dispatcher
from autocron.node.lane import Lane
from autocron.node.process import PACK
from autocron.outbox import Outbox
from autocron.outbox import create as create_outbox
from autocron.permits import Permits, Taker
from autocron.retry import decide
from autocron.steps import StepsHere
from autocron.store.base import load_statements
from autocron.store.gate import gate_of
from autocron.store.placing import columns
from autocron.store.sqlite import open_store
from autocron.worker.__main__ import _flush
from autocron.worker.ends import Ends
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import MainThread
from autocron.worker.runner import Runner

BATCH = 128  # jobs of one exchange
REPEATS = 5  # the best of so many counts: what disturbs only adds

Row = tuple[str, str, float]


def cost(step: Callable[[], object], count: int = 5_000, jobs: int = 1) -> float:
    """Give the microseconds of processor time that a step takes for one job."""
    step()
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.thread_time()
        for _ in range(count // REPEATS):
            step()
        best = min(best, (time.thread_time() - begin) / (count // REPEATS))
    return best / jobs * 1e6


def a_claim() -> Claim:
    return Claim(new_uuid(), 1, "tasks.nothing", codec.encode_call((12345,), {}), time.time())


def the_call(folder: Path) -> list[Row]:
    """Measure what the application's thread does."""
    database = folder / "call.db"
    autocron.start(database, workers=0)
    whole = cost(lambda: tasks.nothing(12345))
    making = cost(lambda: in_use()._pending(tasks.nothing, (12345,), {}))
    autocron.stop()
    connection, now = bare.open_bare(folder, "normal"), time.time()
    insert = load_statements("sqlite")["insert"]
    statement = cost(
        lambda: connection.execute(insert, columns(NewJob(new_uuid(), "tasks.nothing", "[[12345],{}]", now, now)))
    )
    connection.close()
    gate = gate_of(str(database))

    def pass_gate() -> None:
        gate.acquire(5.0)
        gate.release()

    passing, (ours, theirs) = cost(pass_gate), wire.channel_pair()

    def wake() -> None:
        ours.send(b"wake")
        theirs.recv(16)

    return [
        ("call", "name, arguments to JSON, TaskResult", making),
        ("call", "the gate: lock and unlock", passing),
        ("call", "insert: SQLite, its log included", statement),
        (
            "call",
            "all else: are the files still those, mutexes, the way there and back",
            whole - making - passing - statement,
        ),
        ("call", "wake-up: send (with its receipt)", cost(wake)),
    ]


def the_exchange(folder: Path) -> tuple[Row, Row]:
    """Measure what the node's store thread does, at a batch of jobs."""
    store, now = open_store(folder / "exchange.db"), time.time()
    for _ in range(BATCH * 60):
        store.insert(NewJob(new_uuid(), "tasks.nothing", "[[12345],{}]", now, now))
    claimed: list[list[Claim]] = []
    claims = cost(lambda: claimed.append(store.exchange([], BATCH, now + 1).claims), 50, BATCH)
    finished = [[decide(Run(one, Succeeded("null"), now, now), Settings()) for one in some] for some in claimed]
    ends = cost(lambda: store.exchange(finished.pop(), 0, now), 50, BATCH)
    store.close()
    return ("node", f"claim: SQLite, at {BATCH} a time", claims), (
        "node",
        f"finish: to JSON, SQLite, at {BATCH} a time",
        ends,
    )


def _runner() -> Runner:
    async def nothing() -> None:
        pass

    return Runner(1 << 20, lambda: None, nothing, EventLoop(), lambda _: {})


def the_journey() -> list[Row]:
    """Measure the way from the node to the worker and back."""
    claim = a_claim()
    ours, theirs = (wire.Channel(end, wire.ToWorker) for end in wire.channel_pair())
    permits, runner, clock = Permits(), _runner(), SystemClock()
    taker, outbox = Taker(permits.fileno()), create_outbox()
    job = RunningJob(claim, StepsHere(), Reporter(lambda _: None), MainThread())
    outcome = runner.run(claim, job)
    back_ours, back_theirs = (wire.Channel(end, wire.SentByWorker) for end in wire.channel_pair())
    ends = Ends(back_theirs, Outbox(outbox))
    ended = wire.Ended(claim.uuid, claim.attempt, outcome, claim.claimed_at, claim.claimed_at, 0.0)
    some = [a_claim() for _ in range(64)]
    dispatcher = Dispatcher()
    dispatcher.add(1, Lane())

    def there() -> None:
        permits.give(PACK)
        ours.send(wire.Begin([claim] * PACK, permits.round))
        begin = theirs.receive()
        for _ in begin.claims:
            taker.take(begin.round)

    def back() -> None:
        for number in range(PACK):
            ends.send(ended, 0.0, more_follow=number < PACK - 1)
        back_ours.receive()

    def dispatch() -> None:
        dispatcher.put(some)
        for worker, one in dispatcher.assign(0.0):
            dispatcher.ended(worker, one.uuid, 1, 0.0, 0.0)

    for _ in range(8):  # the window grows to its full size
        dispatch()
    return [
        ("node", "which job to which worker", cost(dispatch, 500, len(some))),
        (
            "both",
            f"jobs to the worker, {PACK} at a time: permits, encode, send, receive, decode",
            cost(there, jobs=PACK),
        ),
        (
            "worker",
            "find and call the function, arguments from JSON, value to JSON",
            cost(lambda: runner.run(claim, job)),
        ),
        ("worker", "clocks; flush what was printed", cost(lambda: (clock.now(), clock.monotonic(), _flush()))),
        ("both", f"ends to the node, {PACK} at a time: encode, outbox, send, receive, decode", cost(back, jobs=PACK)),
        ("node", "what becomes of the job", cost(lambda: decide(Run(claim, outcome, 0.0, 0.0), Settings()))),
    ]


def main() -> None:
    """Measure all steps and print the table."""
    logging.getLogger("autocron").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="autocron-anatomy-") as folder:
        call = the_call(Path(folder))
        claim, finish = the_exchange(Path(folder))
    first, *journey = the_journey()
    rows = [*call, claim, first, *journey, finish]
    table = Table("where", "step", "µs")
    table.columns[2].justify = "right"
    for where, step, microseconds in rows:
        table.add_row(where, step, f"{microseconds:.1f}")
    table.add_section()
    table.add_row("", "together", f"{sum(microseconds for *_, microseconds in rows):.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
