"""Rows that cannot be run, or must not: they are parked, nothing in them is executed, other jobs go on."""

from typing import Any

import pytest
from databases import on_each_database

BAD_PAYLOADS = {
    "cut short": '[[1, 2], {"number"',
    "not JSON": "gASVBwAAAAAAAABLAUsChpQu",
    "unknown tag": '{"$tuple":[[{"$nothing":1}],{}]}',
    "no call": "17",
    "class that is not imported": '{"args":[{"$antigravity:Flight":{}}]}',
    "nested without end": "[" * 100_000,
    "empty": "",
}


@on_each_database
def test_unknown_task_runs_with_the_next_code(lab: Any) -> None:
    app = lab.start()
    call = app.ask("__import__('autocron').codec.encode_call((5,), {})")
    parked = lab.insert("tasks.later", call)
    assert lab.until(lambda: lab.job(parked).held) == "unknown task 'tasks.later'"
    assert app.ask("work(1).wait(10)") == 1
    app.ask("autocron.stop()")
    app.close()
    lab.add("tasks.py", "\n@delay\ndef later(number):\n    return number\n")
    lab.start()
    job = lab.ended(parked)
    assert (job.state, job.result, job.held) == ("succeeded", "5", None)


@on_each_database
def test_call_waits_for_code_that_takes_its_arguments(lab: Any) -> None:
    app = lab.start()
    parked = lab.insert("tasks.work", app.ask("__import__('autocron').codec.encode_call((5, 0, 'added'), {})"))
    assert lab.until(lambda: lab.job(parked).held) == "its arguments do not fit: too many positional arguments"
    raised = app.ask("run('len(1, 2)').uuid")
    assert lab.ended(raised).state == "failed"  # a TypeError inside of the task is its own
    app.ask("autocron.stop()")
    app.close()
    lab.add("tasks.py", "\n@delay\ndef work(number, seconds, more):\n    return more\n")
    lab.start()
    assert lab.ended(parked).result == '"added"'


@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS.keys())
def test_unreadable_arguments(lab: Any, payload: str) -> None:
    app = lab.start()
    parked = lab.insert("tasks.work", payload)
    assert lab.until(lambda: lab.job(parked).held).startswith("its arguments cannot be read: ")
    assert app.ask("work(1).wait(10)") == 1
    lab.until(lambda: f"tasks.work {parked} is parked" in lab.output())
    assert lab.ledger() == ["ran 1"]


@pytest.mark.parametrize("task", ["os.system", "os:system", "tasks.os.system", "tasks.note", "builtins.exec", "system"])
def test_foreign_function_is_never_executed(lab: Any, task: str) -> None:
    app = lab.start()
    call = app.ask("__import__('autocron').codec.encode_call(('touch executed; echo ran >> ledger',), {})")
    parked = lab.insert(task, call)
    assert lab.until(lambda: lab.job(parked).held) == f"unknown task {task!r}"
    assert app.ask("work(1).wait(10)") == 1
    assert not (lab.folder / "executed").exists()
    assert lab.ledger() == ["ran 1"]
