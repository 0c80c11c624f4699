"""The admin tool beside a node, and as the node: run as people run it."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

AUTOCRON = [sys.executable, "-m", "autocron"]


def admin(lab: Any, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AUTOCRON, *args], check=False, env=lab.environ, cwd=lab.folder, capture_output=True, text=True, timeout=30
    )


def facts(lab: Any) -> Any:
    return json.loads(admin(lab, "test.db", "--json").stdout)


def test_it_shows_the_node_and_its_workers(lab: Any):
    app = lab.start(2)
    workers = lab.ready(2)
    found = facts(lab)
    assert found["node"]["pid"] == found["node_pid"] == lab.node()
    assert sorted(worker["pid"] for worker in found["node"]["workers"]) == sorted(workers)
    assert found["node"]["applications"] == [app.pid]
    shown = admin(lab, "test.db").stdout
    assert all(str(pid) in shown for pid in (lab.node(), app.pid, *workers))


def test_a_node_that_does_not_answer_is_not_taken_for_none(lab: Any):
    lab.start()
    node = lab.node()
    os.kill(node, signal.SIGSTOP)
    assert f"node {node} is there, but does not answer" in admin(lab, "test.db").stdout
    assert admin(lab, "test.db", "--delete-database", "--yes").returncode == 1
    assert lab.database.exists()
    os.kill(node, signal.SIGCONT)


def test_a_running_node_follows_new_settings_at_once(lab: Any):
    lab.start(1)
    lab.ready(1)
    assert admin(lab, "test.db", "--set-max-workers", "3").returncode == 0
    lab.ready(3)


def test_the_lock_ends_the_node_and_then_the_database_can_be_deleted(lab: Any):
    app = lab.start()
    node = lab.node()
    refused = admin(lab, "test.db", "--delete-database", "--yes")
    assert refused.returncode == 1
    assert f"node {node} works on {lab.database}" in refused.stderr
    assert admin(lab, "test.db", "--set-autocron-lock", "ON").returncode == 0
    lab.until(lambda: not lab.background(), what="the node has ended")
    assert "does not answer" not in admin(lab, "test.db").stdout
    app.close()
    assert admin(lab, "test.db", "--delete-database", "--yes").returncode == 0
    assert list(lab.database.parent.iterdir()) == []


def test_work_goes_on_although_nobody_reads_what_tasks_print(lab: Any):
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*AUTOCRON, "test.db", "work", "tasks"], env=lab.environ, cwd=lab.folder, stdout=writing, stderr=writing
    ) as node:
        assert lab.node() == node.pid
        assert lab.ended(lab.insert("tasks.run", "[[\"print('x' * 1_000_000)\"],{}]")).state == "succeeded"
        assert lab.ended(lab.insert("tasks.work", "[[7],{}]")).result == "7"
        assert lab.node() == node.pid
        node.terminate()
    os.close(reading)
    os.close(writing)


def test_work_tells_of_a_module_that_does_not_exist(lab: Any):
    lab.launch("-m", "autocron", "test.db", "work", "tasks", "taks")
    lab.until(lambda: "the worker could not import taks" in lab.output(), what="the message")
    assert "there is no such module in the current folder" in lab.output()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_work_is_the_node_in_the_foreground(lab: Any, ending: signal.Signals):
    node = lab.launch("-m", "autocron", "test.db", "work", "tasks")
    assert lab.node() == node.pid
    job = lab.insert("tasks.work", "[[7],{}]")
    assert lab.ended(job).result == "7"
    second = admin(lab, "test.db", "work", "tasks")
    assert second.returncode == 1
    assert f"another node works on {lab.database}" in second.stderr
    node.signal(ending)
    node.wait()
    assert lab.background() == {}
    assert facts(lab)["node_pid"] is None


def top(lab: Any) -> tuple[int, int]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*AUTOCRON, "test.db", "top"], {**lab.environ, "TERM": "xterm"})
    return pid, terminal


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_top_goes_on_until_a_key_is_pressed_and_leaves_the_terminal_as_it_was(lab: Any, key: bytes):
    lab.store.settings()
    pid, terminal = top(lab)
    before = termios.tcgetattr(terminal)
    read_until(terminal, b"running")
    job = lab.insert("tasks.shown_while_it_is_watched", "[[],{}]")
    read_until(terminal, b"tasks.shown")
    os.write(terminal, key)
    read_until(terminal, b"\x1b[?1049l")  # back from the second screen
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    assert lab.job(job).state == "queued"


def test_top_says_why_the_database_cannot_be_read_and_goes_on_when_it_can(lab: Any):
    lab.store.settings()
    pid, terminal = top(lab)
    read_until(terminal, b"running")
    away = lab.database.rename(lab.database.with_name("away"))
    read_until(terminal, b"deleted or replaced")
    away.rename(lab.database)
    lab.insert("tasks.shown_again", "[[],{}]")
    read_until(terminal, b"tasks.shown_again")
    os.write(terminal, b"q")
    read_until(terminal, b"\x1b[?1049l")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def read_until(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        assert select.select([terminal], [], [], 15)[0], seen
        seen += os.read(terminal, 65536)


def test_what_is_piped_gets_one_frame(lab: Any):
    lab.store.settings()
    shown = admin(lab, "test.db", "top")
    assert shown.returncode == 0
    assert str(lab.database) in shown.stdout


def test_errors_are_one_line_and_a_status(lab: Any):
    missing = admin(lab, "nope.db")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith(f"Error: there is no database {lab.database.with_name('nope.db')}")
    letter = Path(lab.database.parent / "letter")
    letter.write_text("Dear Sir")
    refused = admin(lab, "letter")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert admin(lab, "test.db", "--nonsense").returncode == 2


def test_work_that_was_told_to_end_is_not_called_back(lab: Any):
    node = lab.launch("-m", "autocron", "test.db", "work", "tasks")
    lab.ready()
    held = lab.insert("tasks.hold", '[["gate"],{}]')
    lab.begun("gate")
    node.signal(signal.SIGTERM)
    lab.until(lambda: (status := lab.status()) and status.state == "draining")
    app = lab.launch("app.py")
    app.ask("autocron.start('test.db')")
    node.wait(10)
    lab.open_gate("gate")
    assert lab.ended(held).attempt == 2  # with the node that the application has started then
