"""The network or the server fails under nodes, workers and applications."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from network import Fault

from autocron.codec import encode_call
from autocron.model import NewJob, State
from autocron.names import new_uuid
from autocron.store.postgres_nodes import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Lab
    from network import Proxy
    from server import Server

    NewMachine = Callable[..., Lab]
    Run = Callable[[str], list[tuple[object, ...]]]

CLAIM = b".claim("
FAULTS = [Fault.REQUEST_LOST, Fault.ANSWER_LOST, pytest.param(Fault.ANSWER_SILENT, marks=pytest.mark.slow)]
POUR = """
    def pour(count):
        accepted = []
        for number in range(count):
            accepted.append(work(number).uuid)
            time.sleep(0.005)
        return accepted
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_claim_that_fails(proxy: Proxy, machine: NewMachine, fault: Fault) -> None:
    lab = machine(proxy.url)
    job = NewJob(new_uuid(), "tasks.work", encode_call((7,), {}), time.time(), time.time())
    assert lab.store.insert(job)
    sprung = proxy.trap(CLAIM, fault)
    lab.start()
    assert lab.ended(job.uuid).state is State.SUCCEEDED
    assert sprung.is_set()
    assert lab.ledger() == ["ran 7"]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outcome_that_fails(proxy: Proxy, machine: NewMachine, fault: Fault) -> None:
    lab = machine(proxy.url)
    app = lab.start()
    lab.ready()
    sprung = proxy.trap(b'"succeeded"', fault)
    uuid = app.ask("work(7).uuid")
    assert lab.ended(uuid).attempt == 1
    lab.until(lambda: "the database can be used again" in lab.output(), what="the node to go on")
    assert sprung.is_set()
    assert lab.ledger() == ["ran 7"]
    assert "late outcome" not in lab.output()


def test_a_call_of_a_task_that_fails(proxy: Proxy, machine: NewMachine) -> None:
    lab = machine(proxy.url)
    app = lab.start()
    lab.ready()
    sprung = proxy.trap(b"tasks.work", Fault.ANSWER_LOST)
    inner = app.ask("run('value = work(5).uuid').wait(10)")
    assert lab.ended(inner).attempt == 1
    assert sprung.is_set()
    assert lab.ledger() == ["ran 5"]


def test_a_node_that_was_cut_off_comes_back(proxy: Proxy, machine: NewMachine, run: Run) -> None:
    one, other = machine(proxy.url), machine()
    app = one.start(2)
    ends, runs = app.ask("hold('ends').uuid"), app.ask("hold('runs').uuid")
    one.begun("ends")
    worker = one.begun("runs")
    other.start(2)
    other.ready(2)
    proxy.stall()
    other.open_gate("ends")
    run(f"update {{}}.nodes set heartbeat_at = heartbeat_at - 60 where pid = {one.node()}")  # a minute later
    assert other.ended(ends).attempt == 2
    other.begun("runs")
    one.open_gate("ends")
    one.until(lambda: "ended ends" in one.ledger(), what="the late end")
    proxy.up()
    one.until(lambda: worker not in one.processes(), what="the end of the worker")
    other.open_gate("runs")
    assert other.ended(runs).attempt == 2
    for uuid in (ends, runs):
        assert [past.outcome for past in other.job(uuid).past_attempts] == ["node lost"]
    assert app.ask("work(4).wait(15)") == 4
    assert run("select count(*) from {}.nodes") == [(2,)]


@pytest.mark.slow
def test_a_node_that_is_cut_off_stops_its_jobs_before_others_take_them(proxy: Proxy, machine: NewMachine) -> None:
    lab = machine(proxy.url)
    app = lab.start()
    uuid = app.ask("hold('gate').uuid")
    worker = lab.begun("gate")
    proxy.stall()
    lab.until(lambda: worker not in lab.processes(), LEASE, "the end of the worker")
    proxy.up()
    lab.begun("gate", 2)
    lab.open_gate("gate")
    assert lab.ended(uuid).state is State.SUCCEEDED


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_restarts(own_server: Server, machine: NewMachine, mode: str) -> None:
    lab = machine(own_server.url)
    lab.add("tasks.py", POUR)
    app = lab.start(2)
    app.tell("pour(200)")
    lab.until(lambda: len(lab.ledger()) > 20, what="the first jobs")
    own_server.restart(mode)
    accepted = app.answer(40)
    assert len(accepted) == 200
    for uuid in accepted:
        assert lab.ended(uuid).state is State.SUCCEEDED
    assert {line.split()[1] for line in lab.ledger()} == {str(number) for number in range(200)}
