"""Machines that share a PostgreSQL database: here each has a home, and with that a node, of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg

from autocron.model import State
from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab

    NewMachine = Callable[[], Lab]


def test_jobs_run_and_their_results_come_back(machine: NewMachine) -> None:
    lab = machine()
    app = lab.start()
    assert app.ask("work(7).wait(10)") == 7
    assert app.ask("[r.wait(10) for r in [work(n) for n in range(50)]]") == list(range(50))
    assert app.ask("run.options(seconds=0.2)('value = 5').wait(10)") == 5
    assert app.ask("autocron.stop()") is None
    lab.until(lambda: not lab.background())


def test_the_password_is_in_no_command_line_and_no_log(machine: NewMachine) -> None:
    lab = machine()
    at = lab.name.index("@")
    lab.name = f"{lab.name[:at]}:s3cret{lab.name[at:]}"
    app = lab.start()
    assert app.ask("run('import os; value = open(\"/proc/self/cmdline\").read()').wait(10)")
    lines = " ".join(lab.processes().values())
    assert "autocron.node" in lines
    assert "s3cret" not in lines + lab.output() + lab.log()


def test_the_admin_tool_looks_at_it(machine: NewMachine) -> None:
    lab = machine()
    app = lab.start(3)
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")

    def autocron(*words: str, **environ: str) -> str:
        command = [sys.executable, "-m", "autocron", *words]
        return subprocess.run(command, env=lab.environ | environ, capture_output=True, text=True, check=True).stdout

    found = json.loads(autocron(lab.name, "--json"))
    assert (found["settings"]["workers"], found["jobs"]) == (3, {"running": 1})
    assert found["node"]["pid"] == lab.node()
    assert uuid[-4:] in autocron("top", "--once", AUTOCRON_DATABASE=lab.name)
    assert autocron("--set-max-workers", "1", AUTOCRON_DATABASE=lab.name)
    lab.until(lambda: len(lab.ready_now()) == 1, what="one worker")
    lab.open_gate("gate")


def test_another_machine_takes_what_this_one_has_no_room_for(machine: NewMachine) -> None:
    one, other = machine(), machine()
    first = one.start()
    one.ready()
    first.ask("hold('gate').uuid")
    one.begun("gate")
    second = other.start()
    other.ready()
    # With looks at the database once a second alone, for work and for results, this would take half a minute.
    assert first.ask("[work(n).wait(10) for n in range(30)]") == list(range(30))
    assert other.ledger() == [f"ran {n}" for n in range(30)]
    one.open_gate("gate")
    assert second.ask("work(9).wait(10)") == 9


def test_who_has_no_node_wakes_those_of_others(machine: NewMachine) -> None:
    one, other = machine(), machine()
    one.start()
    one.ready()
    app = other.launch("app.py")
    assert app.ask(f"autocron.start({other.name!r}, 0)") is False
    assert app.ask("[work(n).wait(10) for n in range(30)]") == list(range(30))
    assert one.ledger() == [f"ran {n}" for n in range(30)]
    assert not other.background()


def test_the_jobs_of_a_dead_machine_are_run_by_another(machine: NewMachine) -> None:
    one, other = machine(), machine()
    first = one.start()
    uuid = first.ask("hold('gate').uuid")
    one.begun("gate")
    other.start()
    other.ready()
    (other.folder / "gate").touch()
    first.kill()
    for pid in list(one.background()):
        one.kill(pid)
    assert other.ended(uuid, 20).state is State.SUCCEEDED
    job = other.job(uuid)
    assert job.attempt == 2
    assert [past.outcome for past in job.past_attempts] == ["node lost"]
    assert other.ledger() == [line for line in other.ledger() if "gate" in line]


def test_the_place_of_a_job_on_a_dead_machine_is_free(machine: NewMachine) -> None:
    one, other = machine(), machine()
    for lab in (one, other):
        lab.add("tasks.py", "alone = hold.options(concurrency=1, limit_key='all')")
    first = one.start()
    held = first.ask("alone.options(on_crash='fail')('held').uuid")
    one.begun("held")
    second = other.start()
    waiting = second.ask("alone('next').uuid")
    assert second.ask("work(1).wait(10)") == 1
    assert other.job(waiting).state is State.QUEUED
    first.kill()
    for pid in list(one.background()):
        one.kill(pid)
    other.begun("next")
    other.open_gate("next")
    assert other.ended(waiting).state is State.SUCCEEDED
    assert other.job(held).state is State.FAILED


def test_a_successor_on_the_same_machine_takes_over_at_once(
    machine: NewMachine, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    lab = machine()
    app = lab.start()
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")
    former = lab.node()
    lab.kill(former)
    lab.begun("gate", 2)
    assert run(f"select count(*) from {{}}.nodes where pid = {former}") == [(0,)]
    assert f"node {former}" not in lab.output()  # which would tell that it was silent for long enough
    lab.open_gate("gate")
    assert lab.ended(uuid).attempt == 2


def test_a_living_node_whose_sessions_end_keeps_its_jobs(
    machine: NewMachine, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    lab = machine()
    app = lab.start()
    uuid = app.ask("hold('gate').uuid")
    lab.begun("gate")
    again = "the other nodes can be reached again"
    for times in range(1, 4):
        run("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'autocron % {}'")
        assert app.ask("work(1).uuid")
        lab.until(lambda count=times: lab.output().count(again) == count, what=f"{again} {times} times")
    lab.open_gate("gate")
    assert lab.ended(uuid).attempt == 1
    assert lab.job(uuid).state is State.SUCCEEDED


def test_jobs_end_once_while_the_connection_breaks_that_takes_its_turn(
    machine: NewMachine, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    lab = machine()
    lab.add("tasks.py", "@delay\ndef nothing(number): pass")
    app = lab.start(workers=2)
    lab.ready(2)
    app.ask("globals().update(jobs=nothing.map(range(30000)))")
    moves = "from pg_stat_activity where application_name = 'autocron listener {}' and query like '%.levels%'"
    for _ in range(2):
        lab.until(lambda: run(f"select pg_terminate_backend(pid, 5000) {moves}"), what="ends that come this way")
    app.ask("jobs[-1].wait(60)")
    lab.until(lambda: run("select state, attempt, count(*) from {}.jobs group by 1, 2") == [("succeeded", 1, 30000)])


def test_a_claim_whose_answer_was_lost_is_given_back(
    machine: NewMachine, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    lab = machine()
    app = lab.start()
    gate = app.ask("hold('gate').uuid")
    lab.begun("gate")
    uuid = app.ask("work.options(hours=1)(5).uuid")
    claim = "state = 'running', attempt = 1, started_at = created_at, node = (select id from {}.nodes)"
    run(f"update {{}}.jobs set {claim} where uuid = '{uuid}'")
    with psycopg.connect(for_libpq(canonical(lab.name))) as stranger:
        stranger.execute(f"lock table {schema_of(canonical(lab.name))}.jobs in share mode".encode())
        lab.open_gate("gate")
        stuck = "from pg_stat_activity where application_name = 'autocron node {}' and wait_event_type = 'Lock'"
        lab.until(lambda: run(f"select pid {stuck}"), what="an exchange that waits")
        run(f"select pg_terminate_backend(pid, 5000) {stuck}")
    lab.until(lambda: lab.job(uuid).state is State.QUEUED, what="the job to be given back")
    assert lab.ended(gate).attempt == 1


def test_a_node_that_was_taken_for_dead_stops_its_jobs_and_begins_anew(
    machine: NewMachine, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    one, other = machine(), machine()
    first = one.start()
    uuid = first.ask("hold('gate').uuid")
    worker = one.begun("gate")
    node = one.node()
    other.start()
    other.ready()
    (other.folder / "gate").touch()
    os.kill(node, signal.SIGSTOP)
    try:
        run(f"update {{}}.nodes set heartbeat_at = heartbeat_at - 60 where pid = {node}")  # a minute later
        assert other.ended(uuid).attempt == 2
    finally:
        os.kill(node, signal.SIGCONT)
    one.until(lambda: worker not in one.processes(), what="the end of the worker")
    one.open_gate("gate")
    assert first.ask("work(4).wait(15)") == 4
    assert run("select count(*) from {}.nodes") == [(2,)]
    assert other.job(uuid).attempt == 2


def test_nodes_whose_schedules_differ_say_so(machine: NewMachine) -> None:
    one, other = machine(), machine()
    for lab, zone in ((one, "UTC"), (other, "Europe/Rome")):
        lab.add("tasks.py", f"cron('0 3 * * *', tz='{zone}', name='nightly')(note)")
    one.start()
    one.ready()
    app = other.start()
    other.ready()
    text = "nightly is '0 3 * * *' in Europe/Rome here, '0 3 * * *' in UTC there"
    other.until(lambda: text in other.output(), what=text)
    assert app.ask("work(1).wait(10)") == 1


def test_the_victim_of_a_deadlock_stores_what_has_ended_all_the_same(
    machine: Callable[..., Lab], postgres: str
) -> None:
    lab = machine(f"{postgres}&options=-c%20deadlock_timeout%3D3s")
    app = lab.start(workers=2)  # with one free the node looks at what waits
    lab.ready(2)
    app.ask("globals().update(limited=hold.options(concurrency=1))")
    app.ask("globals().update(first=limited('one'), second=limited('two'))")
    lab.begun("one")
    url, schema = for_libpq(canonical(postgres)), schema_of(canonical(postgres))
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as observer:
        stands = f"select 1 from {schema}.lines where next_at is null".encode()  # the end of a job has to change it
        lab.until(lambda: observer.execute(stands).fetchall(), what="the second job to wait for the first one")
        other.execute("set deadlock_timeout = '60s'")
        other.execute(f"update {schema}.lines set next_at = next_at".encode())
        lab.open_gate("one")
        waiting = "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
        lab.until(lambda: observer.execute(waiting, (f"autocron node {schema}",)).fetchall(), what="the node to wait")
        other.execute(f"select from {schema}.jobs for update".encode())
    lab.open_gate("two")
    assert len(app.ask("[first.wait(10), second.wait(10)]")) == 2
    assert "the database can" not in lab.output()
