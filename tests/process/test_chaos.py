"""Four machines on one PostgreSQL server while everything between and in them fails, at random and all the time.

$AUTOCRON_CHAOS_JOBS (50,000) and $AUTOCRON_CHAOS_SECONDS (300) say how long that goes on; $AUTOCRON_CHAOS_SEED makes
the same choices again.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from network import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Application, Lab
    from server import Server

JOBS = int(os.environ.get("AUTOCRON_CHAOS_JOBS", "50000"))
SECONDS = float(os.environ.get("AUTOCRON_CHAOS_SECONDS", "300"))
MACHINES = 4
RESTARTS = 3
SETTLED = 120.0  # seconds after the last fault by which all is over
TASKS = """
    import random

    @delay(result_ttl=86400)
    def job(number):
        current = autocron.current()
        note("ran", number, current.uuid)
        time.sleep(random.random() * 0.01)
        return current.attempt

    def pour(first, count):
        errors = 0
        with open("accepted", "a") as accepted:
            for number in range(first, first + count):
                while True:
                    try:
                        print(number, job(number).uuid, file=accepted)
                        break
                    except autocron.StoreError:
                        errors += 1
                        time.sleep(0.1)
        return errors
"""
TICKS = """
    def tick():
        note("slot", autocron.current().uuid)

    for number in range(20):
        cron(every=1, name=f"second-{number}", missed="all", overlap="allow", result_ttl=86400)(tick)
"""
# Each change of a job's state, as the database sees it.
AUDIT = """
    create table {}.audit (uuid text, before text, after text);
    create function {}.audit() returns trigger language plpgsql as $$ begin
        insert into {}.audit values (new.uuid, old.state, new.state); return null; end $$;
    create trigger audit after update of state on {}.jobs for each row execute function {}.audit()
"""
FINALS = "('succeeded', 'failed', 'cancelled')"


class Fleet:
    """Machines, each with its own way to the server."""

    def __init__(self, server: Server, machine: Callable[[str], Lab]) -> None:
        self.server = server
        self.proxies = [Proxy(server.url) for _ in range(MACHINES)]
        self.labs = [machine(f"{proxy.url}schema=chaos") for proxy in self.proxies]
        self.faults: Counter[str] = Counter()
        self.seed = int(os.environ.get("AUTOCRON_CHAOS_SEED", time.time_ns() % 1_000_000))
        self._random = random.Random(self.seed)
        self._calm = threading.Event()

    def start(self, *code: str) -> list[Application]:
        for lab, text in itertools.product(self.labs, code):
            lab.add("tasks.py", text)
        apps = [lab.start(2) for lab in self.labs]
        for lab in self.labs:
            lab.ready(2)
        self.run(AUDIT)
        return apps

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            cursor = connection.execute(statement.replace("{}", "chaos").encode())
            return cursor.fetchall() if cursor.description else []

    def storm(self) -> threading.Thread:
        thread = threading.Thread(target=self._storm, daemon=True)
        thread.start()
        return thread

    def calm(self, storm: threading.Thread) -> None:
        """End the storm, and whatever it has done to the network."""
        self._calm.set()
        storm.join()
        for proxy in self.proxies:
            proxy.up()

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()

    def _storm(self) -> None:
        broken: dict[int, float] = {}  # until when the network of a machine is away
        while not self._calm.wait(self._random.uniform(0.3, 1.5)):
            for number in [number for number, end in broken.items() if end < time.monotonic()]:
                del broken[number]
                self.proxies[number].up()
            number = self._random.randrange(MACHINES)
            fault, seconds = self._random.choices(
                [
                    ("kill -9 of a node", 0.0),
                    ("network cut", 0.0),
                    ("network down for up to 3 s", self._random.uniform(0.5, 3)),
                    ("network silent for up to 6 s", self._random.uniform(1, 6)),
                    ("network silent for longer than the lease", self._random.uniform(16, 20)),
                ],
                weights=[30, 30, 15, 15, 10],
            )[0]
            if number in broken and fault != "kill -9 of a node":
                continue
            if fault == "kill -9 of a node":
                lab = self.labs[number]
                if not sum(lab.kill(pid) for pid in lab.nodes()):
                    continue
            elif fault == "network cut":
                self.proxies[number].cut()
            else:
                broken[number] = time.monotonic() + seconds
                (self.proxies[number].down if "down" in fault else self.proxies[number].stall)()
            self.faults[fault] += 1

    def restart(self) -> None:
        self.server.restart("immediate")
        self.faults["server restarted -m immediate"] += 1

    def unfinished(self) -> int:
        ((count,),) = self.run(f"select count(*) from {{}}.jobs where state not in {FINALS}")
        return count

    def settle(self) -> float:
        """Wait for the end of all jobs; give the seconds that this took."""
        began = time.monotonic()
        while count := self.unfinished():
            assert time.monotonic() < began + SETTLED, (count, self.run("select * from {}.nodes"), self.stuck())
            time.sleep(0.5)
        return time.monotonic() - began

    def stuck(self) -> list[tuple[Any, ...]]:
        return self.run(f"select uuid, state, held, attempt, node from {{}}.jobs where state not in {FINALS} limit 10")

    def ledger(self, word: str) -> list[list[str]]:
        """Give what all machines have noted, without the first word."""
        lines = [line.split() for lab in self.labs for line in lab.ledger()]
        return [line[1:] for line in lines if line[0] == word]

    def ran_twice(self, uuids: list[str]) -> Counter[str]:
        """Say why jobs ran more than once."""
        twice = {uuid for uuid, count in Counter(uuids).items() if count > 1}
        past = dict(self.run("select uuid, past_attempts from {}.jobs where past_attempts is not null"))
        return Counter(_why(past.get(uuid)) for uuid in twice)

    def late(self) -> int:
        """Count outcomes that were accepted: of a former attempt, or of a job that did not run."""
        illegal = f"(after in {FINALS} and before <> 'running') or before in {FINALS}"
        ((count,),) = self.run(f"select count(*) from {{}}.audit where {illegal}")
        ((late,),) = self.run("select count(*) from {}.jobs where result::int <> attempt")
        return count + late


def _why(past_attempts: str | None) -> str:
    outcomes = {past["outcome"] for past in json.loads(past_attempts)} if past_attempts else set()
    return " and ".join(sorted(outcomes)) or "unknown"


@pytest.fixture
def fleet(own_server: Server, machine: Callable[[str], Lab]) -> Iterator[Fleet]:
    one = Fleet(own_server, machine)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_job_is_lost(fleet: Fleet) -> None:
    apps = fleet.start(TASKS)
    began = time.monotonic()
    for number, app in enumerate(apps):
        app.tell(f"pour({number * (JOBS // MACHINES)}, {JOBS // MACHINES})")
    storm = fleet.storm()
    for number in range(1, RESTARTS + 1):
        _wait_until_ended(fleet, JOBS * number // (RESTARTS + 1))
        fleet.restart()
    errors = sum(app.answer(2400) for app in apps)
    _wait_until_ended(fleet, JOBS * 0.95)
    fleet.calm(storm)
    settled = fleet.settle()

    accepted = [line.split() for lab in fleet.labs for line in (lab.folder / "accepted").read_text().splitlines()]
    ends = dict(fleet.run("select uuid, state from {}.jobs"))
    runs, late = [uuid for _, uuid in fleet.ledger("ran")], fleet.late()
    print(f"seed {fleet.seed}, {dict(fleet.faults)}")
    print(f"{len(accepted)} jobs accepted, {errors} calls raised, {time.monotonic() - began:.0f} s")
    print(f"ends: {dict(Counter(ends[uuid] for _, uuid in accepted))}, the last {settled:.0f} s after the storm")
    print(f"late outcomes accepted: {late}, stuck: 0")
    twice = fleet.ran_twice(runs)
    print(f"ran twice: {twice.total()} of {len(ends)}: {dict(twice)}")
    print(f"calls that raised and were stored all the same: {len(ends) - len(accepted)}")
    for lab in fleet.labs:
        _print_log(lab)
    assert len(accepted) == JOBS
    assert {ends[uuid] for _, uuid in accepted} == {"succeeded"}
    assert late == 0
    assert set(runs) == ends.keys()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_slot_fires_once(fleet: Fleet) -> None:
    fleet.start(TICKS)
    storm = fleet.storm()
    for _ in range(RESTARTS):
        time.sleep(SECONDS / (RESTARTS + 1))
        fleet.restart()
    time.sleep(SECONDS / (RESTARTS + 1))
    fleet.calm(storm)
    calmed = time.time()
    latest = "select max(slot) from {}.jobs where schedule is not null group by schedule"
    each = "each schedule to fire after the storm"
    fleet.labs[0].until(lambda: all(slot > calmed for (slot,) in fleet.run(latest)), SETTLED, each)
    fleet.run("update {}.schedules set active = false")
    fleet.settle()
    slots = fleet.run("select schedule, slot from {}.jobs where schedule is not null order by 1, 2")
    by_name: dict[str, list[float]] = {}
    for name, slot in slots:
        by_name.setdefault(name, []).append(slot)
    gaps = sum(later - slot != 1 for found in by_name.values() for slot, later in itertools.pairwise(found))
    span = {name: found[-1] - found[0] for name, found in by_name.items()}
    print(f"seed {fleet.seed}, {dict(fleet.faults)}")
    print(f"{len(by_name)} schedules, {len(slots)} slots over {min(span.values()):.0f} s: {gaps} missed, ", end="")
    print(f"{len(slots) - len(set(slots))} twice")
    twice = fleet.ran_twice([uuid for (uuid,) in fleet.ledger("slot")])
    print(f"jobs of slots that ran twice: {twice.total()}: {dict(twice)}, stuck: 0")
    assert len(by_name) == 20
    assert (gaps, len(slots)) == (0, len(set(slots)))
    assert min(span.values()) >= SECONDS - 10
    assert fleet.late() == 0


def _wait_until_ended(fleet: Fleet, count: float) -> None:
    ended = f"select count(*) >= {count} from {{}}.jobs where state in {FINALS}"
    fleet.labs[0].until(lambda: fleet.run(ended) == [(True,)], 2400, f"the end of {count} jobs", every=0.5)


def _print_log(lab: Lab) -> None:
    """Print how often what was logged, without the parts that differ."""
    lines = Counter(line.partition(": postgresql")[0][:90] for line in (lab.output() + lab.log()).splitlines())
    for line, count in lines.most_common(12):
        print(f"    {count:6} x {line}")
