"""Queues, limits and uniqueness, with real nodes, workers and callers."""

import random
import subprocess
import sys
import time
from typing import Any

import pytest
from databases import on_each_database

from autocron.model import State

pytestmark = on_each_database

TASKS = """
    import fcntl

    @delay(queue="mail")
    def mail(number):
        note("mailed", number)

    @delay(concurrency=1, limit_key="{customer}", retries=5)
    def load(customer, number, seconds=0.02):
        with open(f"lock-{customer}", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a process that dies gives it back
            except OSError:
                note("overlap", customer)
            time.sleep(seconds)
        note("loaded", customer, number)

    @delay(rate="2/d")
    def scarce(number):
        note("scarce", number)

    @delay(unique_key=lambda number: "one", minutes=5)
    def once(number): ...

    @delay(unique_key="{name}", on_duplicate="replace")
    def save(name, text, seconds=0):
        note("saved", name, text)
"""
CALLER = """
import sys, autocron, tasks
autocron.start(sys.argv[1], 0)
sys.stdin.readline()
print(*{tasks.once(number).uuid for number in range(20)})
"""


@pytest.fixture
def shop(lab: Any) -> Any:
    lab.add("tasks.py", TASKS)
    return lab


def admin(lab: Any, *words: str) -> str:
    command = [sys.executable, "-m", "autocron", lab.name, *words]
    return subprocess.run(command, env=lab.environ, capture_output=True, text=True, check=True).stdout


def test_a_job_knows_its_queue(lab: Any) -> None:
    app = lab.start()
    assert app.ask("run.options(queue='mail')('value = autocron.current().queue').wait(10)") == "mail"


def test_each_queue_has_its_own_workers(shop: Any) -> None:
    app = shop.start(None, queues={"default": 1, "mail": 1})
    app.ask("hold('gate').uuid")
    shop.begun("gate")
    flood = [app.ask(f"work({number}).uuid") for number in range(3)]
    shop.ended(app.ask("mail(1).uuid"))
    assert all(shop.job(uuid).state is State.QUEUED for uuid in flood)
    # One pool of workers for all of them, from now on.
    assert app.ask(f"autocron.start({shop.name!r}, 1)")
    shop.open_gate("gate")
    assert all(shop.ended(uuid).state is State.SUCCEEDED for uuid in flood)
    shop.until(lambda: len(shop.ready_now()) == 1 and len(shop.status().workers) == 1)
    assert {worker.queue for worker in shop.status().workers} == {""}


def test_a_flood_in_one_queue_does_not_starve_another(shop: Any) -> None:
    app = shop.start(1)
    app.ask("[work(number, 0.02).uuid for number in range(40)][0]")
    shop.ended(app.ask("mail(1).uuid"))
    assert app.ask("work(40).uuid")
    shop.until(lambda: len(shop.ledger()) == 42)
    assert shop.ledger().index("mailed 1") < 39


def test_a_queue_is_paused_and_resumed(shop: Any) -> None:
    app = shop.start(1)
    assert "is paused" in admin(shop, "pause", "mail")
    paused = app.ask("mail(1).uuid")
    shop.ended(app.ask("work(1).uuid"))
    assert shop.job(paused).state is State.QUEUED
    assert "paused" in admin(shop, "top", "--once")
    assert "is not paused" in admin(shop, "resume", "mail")
    assert shop.ended(paused).state is State.SUCCEEDED


def test_jobs_of_a_queue_without_workers_wait_and_that_is_told(shop: Any) -> None:
    app = shop.start(None, queues={"default": 1})
    waiting = app.ask("mail(1).uuid")
    shop.until(lambda: "jobs wait in the queue 'mail', which has no workers here" in shop.output())
    assert "no workers here" in admin(shop, "top", "--once")
    assert app.ask(f"autocron.start({shop.name!r}, queues={{'default': 1, 'mail': 1}})")
    assert shop.ended(waiting).state is State.SUCCEEDED


def test_a_rate_is_kept(shop: Any) -> None:
    app = shop.start(2)
    uuids = app.ask("[scarce(number).uuid for number in range(4)]")
    for uuid in uuids[:2]:
        shop.ended(uuid)
    shop.ended(app.ask("work(1).uuid"))
    assert [shop.job(uuid).state for uuid in uuids[2:]] == [State.QUEUED] * 2


def test_places_do_not_leak_when_workers_and_nodes_are_killed(shop: Any) -> None:
    chance = random.Random(7)
    app = shop.start(3)
    uuids = app.ask("[load('ab'[number % 2], number).uuid for number in range(30)]")
    for _ in range(6):
        before = len(shop.ledger())
        shop.until(lambda before=before: len(shop.ledger()) > before)
        victims = [*shop.ready(), shop.node()]
        shop.kill(chance.choice(victims))
        time.sleep(chance.random() / 20)
    ends = [shop.ended(uuid, 40).state for uuid in uuids]
    assert ends.count(State.SUCCEEDED) >= 24  # three crashes are too many for a job
    assert not [line for line in shop.ledger() if line.startswith("overlap")]
    assert shop.ended(app.ask("load('a', 99).uuid")).state is State.SUCCEEDED


def test_many_processes_make_one_job(shop: Any) -> None:
    callers = [
        subprocess.Popen(
            [sys.executable, "-c", CALLER, shop.name],
            cwd=shop.folder,
            env=shop.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for caller in callers:
        assert caller.stdin
        caller.stdin.write("go\n")
        caller.stdin.flush()
    found = {caller.communicate(timeout=60)[0].strip() for caller in callers}
    assert len(found) == 1
    assert " " not in found.pop()
    assert shop.store.counts(time.time()).by_state == {State.QUEUED: 1}


def test_the_last_of_many_calls_counts(shop: Any) -> None:
    app = shop.start(1)
    app.ask("hold('gate').uuid")
    shop.begun("gate")
    (uuid,) = app.ask("list({save('page', text).uuid for text in 'abc'})")
    shop.open_gate("gate")
    shop.ended(uuid)
    assert [line for line in shop.ledger() if line.startswith("saved")] == ["saved page c"]
