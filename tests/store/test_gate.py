"""The gate lets one writer pass at a time, and nobody waits longer than they said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from autocron.errors import ConfigError, StoreBusy
from autocron.store.gate import NEXT_BYTE, Gate, gate_of

HOLD = """
import sys
from autocron.store.gate import gate_of
gate_of(sys.argv[1]).acquire(5)
print("held", flush=True)
sys.stdin.read()
"""
BE_NEXT = """
import sys
from autocron.store import gate
next_one = gate.gate_of(sys.argv[1])
print(next_one._lock(gate.NEXT_BYTE), flush=True)
sys.stdin.read()
"""
PASS = """
import sys
from autocron.store.gate import gate_of
gate = gate_of(sys.argv[1])
gate.acquire(30)
print("passed", flush=True)
sys.stdin.readline()
gate.release()
"""
COUNT = """
import sys
from pathlib import Path
from autocron.store.gate import gate_of
gate, number = gate_of(sys.argv[1]), Path(sys.argv[1])
for _ in range(100):
    gate.acquire(30)
    number.write_text(str(int(number.read_text()) + 1))
    gate.release()
"""
AFTER_FORK = """
import os, sys
from autocron.store.gate import gate_of
gate = gate_of(sys.argv[1])
gate.acquire(1)
child = os.fork()
if not child:
    try:
        gate.acquire(0.01)
    except Exception as error:
        os._exit(7 if "another process" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
gate.release()
child = os.fork()
if not child:
    gate.acquire(0.01)
    gate.release()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return gate_of(str(tmp_path / "jobs.db"))


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_path_has_one_gate(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    assert gate_of(path) is gate_of(path)


def test_a_replaced_file_gets_a_new_gate(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    gate.acquire(1)
    gate.release()
    assert gate_of(str(path)) is gate
    path.with_name("jobs.db.gate").unlink()
    assert gate_of(str(path)) is not gate


def test_threads_take_turns(gate: Gate) -> None:
    gate.acquire(1)
    with pytest.raises(StoreBusy, match="another thread"):
        gate.acquire(0.01)
    with pytest.raises(StoreBusy, match="another thread"):
        gate.acquire(-1)
    gate.release()
    gate.acquire(0)
    gate.release()


def test_a_waiting_thread_passes_when_the_gate_is_released(gate: Gate) -> None:
    passed: list[bool] = []

    def wait() -> None:
        gate.acquire(30)
        passed.append(True)
        gate.release()

    gate.acquire(1)
    thread = Thread(target=wait)
    thread.start()
    gate.release()
    thread.join()
    assert passed


def test_another_process_is_waited_for_as_long_as_the_caller_may(gate: Gate, tmp_path: Path) -> None:
    with python(HOLD, str(tmp_path / "jobs.db")) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match="another process"):
            gate.acquire(0.01)
        holder.stdin.close()
        gate.acquire(30)  # its end opens the gate
        gate.release()


def took_next(gate: Gate) -> bool:
    """Take and give back the place of the next one, if nobody has it."""
    if not gate._lock(NEXT_BYTE):
        return False
    gate._unlock(NEXT_BYTE)
    return True


def test_who_comes_last_lets_one_who_waits_go_first(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocron.store.gate.PATIENCE", 30)
    path = str(tmp_path / "jobs.db")
    passed: list[str] = []
    with python(HOLD, path) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        with python(PASS, path) as waiting:
            assert waiting.stdout
            assert waiting.stdin
            deadline = time.monotonic() + 15
            while took_next(gate):
                assert time.monotonic() < deadline, "the other process has not become the next one"
                time.sleep(0.001)

            def come_last() -> None:
                gate.acquire(30, last=True)
                passed.append("last")
                gate.release()

            thread = Thread(target=come_last)
            thread.start()
            holder.stdin.close()
            passed.append(waiting.stdout.readline().strip())
            waiting.stdin.write("\n")
            waiting.stdin.flush()
            thread.join()
    assert passed == ["passed", "last"]


def test_one_who_is_next_and_stopped_holds_up_nobody(gate: Gate, tmp_path: Path) -> None:
    with python(BE_NEXT, str(tmp_path / "jobs.db")) as stopped:
        assert stopped.stdout
        assert stopped.stdin
        assert stopped.stdout.readline() == "True\n"
        gate.acquire(30, last=True)
        gate.release()
        gate.acquire(0)
        with pytest.raises(StoreBusy, match="another thread"):
            gate.acquire(0.01, last=True)
        gate.release()
        stopped.stdin.close()


def test_one_process_at_a_time_passes(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    processes = [python(COUNT, str(number)) for _ in range(4)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    assert number.read_text() == "400"


def test_a_forked_child_does_not_hold_what_its_parent_holds(tmp_path: Path) -> None:
    with python(AFTER_FORK, str(tmp_path / "jobs.db")) as process:
        process.communicate()
    assert process.returncode == 0


def test_the_file_is_private_and_has_one_descriptor(gate: Gate, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        gate.acquire(1)
    finally:
        os.umask(before)
    gate.release()
    gate.acquire(1)
    gate.release()
    path = tmp_path / "jobs.db.gate"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sum(link.resolve() == path for link in Path("/proc/self/fd").iterdir()) == 1


def test_a_symbolic_link_is_not_followed(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "jobs.db.gate").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="cannot be opened"):
        gate.acquire(1)
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder does not exist"):
        gate_of(str(tmp_path / "missing" / "jobs.db")).acquire(1)
