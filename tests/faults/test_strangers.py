"""Strangers at the node's socket, another program on the same database, and processes that are stopped."""

import contextlib
import os
import shutil
import signal
import struct
import time
from typing import Any

import pytest

from autocron.store import paths
from autocron.store.place import Place

FRAMES = {
    "noise": bytes(reversed(range(256))) * 40,
    "too long": struct.pack(">I", 1 << 31) + b"x",
    "no message": struct.pack(">I", 3) + b"\x93\x01\x02",
    "unknown kind": struct.pack(">I", 10) + b"\x81\xa4type\xa4Boom"[:10],
    "deep": struct.pack(">I", 100_000) + b"\x91" * 100_000,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_bad_frame_closes_only_its_connection(lab: Any, frame: bytes) -> None:
    app = lab.start()
    node = lab.node()
    with paths.connect(lab.database, 5) as sock:
        sock.sendall(frame)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert app.ask("work(1).wait(10)") == 1
    assert lab.node() == node


def test_unfinished_frames_disturb_nobody(lab: Any) -> None:
    app = lab.start()
    node = lab.node()
    strangers = [paths.connect(lab.database, 5) for _ in range(30)]
    for stranger in strangers:
        stranger.sendall(b"\0\0\1")
    assert app.ask("work(1).wait(10)") == 1
    app.kill()
    lab.until(lambda: node not in lab.processes(), 10, "the node ends, strangers or not")
    for stranger in strangers:
        stranger.close()


def test_another_program(lab: Any) -> None:
    """It may store calls; it is let in when the first one is gone."""
    first = lab.start()
    own = lab.folder
    lab.folder = own.with_name("other")
    lab.write("other_tasks.py", (own / "tasks.py").read_text())
    lab.write("app.py", (own / "app.py").read_text().replace("from tasks", "from other_tasks"))
    second = lab.launch("app.py")
    assert second.ask("autocron.start('test.db')") is False
    lab.until(lambda: f"another program, in {own}, works on" in lab.output())
    uuid = second.ask("work(2).uuid")
    assert lab.until(lambda: lab.job(uuid).held) == "unknown task 'other_tasks.work'"
    first.kill()
    assert lab.ended(uuid).result == "2"


def test_stopped_worker(lab: Any) -> None:
    """Others run what waits for it; killed in that state, it is one that died."""
    app = lab.start(workers=2)
    held = app.ask("hold('gate').uuid")
    worker = lab.begun("gate")
    os.kill(worker, signal.SIGSTOP)
    assert app.ask("[r.wait(10) for r in [work(n) for n in range(100)]]") == list(range(100))
    lab.kill(worker)
    lab.begun("gate", 2)
    lab.open_gate("gate")
    assert lab.ended(held).state == "succeeded"


def test_stopped_node(lab: Any) -> None:
    """Nothing is taken for dead after everything has stood still."""
    app = lab.start()
    node = lab.node()
    held = app.ask("hold('gate').uuid")
    worker = lab.begun("gate")
    for pid in (node, worker):
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    queued = app.ask("[work(n).uuid for n in range(200)]")  # nobody reads what it tells the node
    assert time.monotonic() - begin < 5
    for pid in (node, worker):
        os.kill(pid, signal.SIGCONT)
    lab.open_gate("gate")
    assert [lab.ended(uuid).attempt for uuid in (held, *queued)] == [1] * 201
    assert lab.node() == node


def test_worker_killed_while_it_starts(lab: Any) -> None:
    lab.write(
        "slow.py",
        "import os, time\nif not os.path.exists('imported'):\n"
        "    with open('starting', 'a') as file:\n        print(os.getpid(), file=file)\n    time.sleep(60)\n",
    )
    lab.add("tasks.py", "if sys.argv[0] != 'app.py': import slow\n")
    app = lab.start()
    starting = lab.folder / "starting"
    pid = int(lab.until(lambda: starting.exists() and starting.read_text()))
    uuid = app.ask("work(1).uuid")
    lab.open_gate("imported")
    lab.kill(pid)
    job = lab.ended(uuid)
    assert (job.result, job.past_attempts) == ("1", [])


def test_folder_of_the_application_is_deleted(lab: Any) -> None:
    app = lab.start()
    lab.ready()
    lab.folder.rename(lab.folder.with_name("moved"))
    assert app.ask("run('value = 5').wait(10)") == 5


def test_folder_of_the_application_is_deleted_before_it_starts(lab: Any) -> None:
    app = lab.launch("app.py")
    assert app.ask("os.getcwd()") == str(lab.folder)
    shutil.rmtree(lab.folder)
    assert app.ask("autocron.start('test.db')") is True
    assert f"the working directory of this process, {lab.folder}, was deleted" in lab.output()
    uuid = app.ask("work(1).uuid")
    assert lab.until(lambda: lab.job(uuid).held) == "unknown task 'tasks.work'"


def test_another_folder_stands_where_the_deleted_one_stood(lab: Any) -> None:
    app = lab.launch("app.py")
    assert app.ask("os.getcwd()") == str(lab.folder)
    shutil.copytree(lab.folder, lab.folder.with_name("new"))
    shutil.rmtree(lab.folder)
    lab.folder.with_name("new").rename(lab.folder)
    assert app.ask("autocron.start('test.db')") is True
    assert app.ask("work(1).wait(10)") == 1
    assert "was deleted" not in lab.output()


def test_long_path(lab: Any) -> None:
    lab.place = Place.of_file(lab.database.parent / ("d" * 100) / "test.db")
    app = lab.launch("app.py")
    assert app.ask(f"autocron.start({('d' * 100) + '/test.db'!r})") is True
    assert app.ask("work(1).wait(10)") == 1
    assert lab.node() in lab.nodes()
