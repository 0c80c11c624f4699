"""The disk fails, or the process is killed, at every single step of what it does to the files."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SYNC_CALLS = {"x86_64": (74, 75), "aarch64": (82, 83)}  # the numbers of fsync and fdatasync
START = """
import ctypes, itertools, os, shutil, signal, struct, sys
from pathlib import Path
import apsw
from autocron.errors import StoreError
from autocron.model import NewJob
from autocron.store import sqlite_open
from autocron.store.sqlite import open_store
folder = Path(sys.argv[1])
def job(uuid):
    return NewJob(uuid, "app.work", "[]", 1.0, 1.0)
"""
FAIL_TO_SYNC = """
def fail_calls(numbers, error):
    load, equal, give = 0x20, 0x15, 0x06  # BPF: look at the number of the system call
    code = [(load, 0, 0, 0)]
    for number in numbers:
        code += [(equal, 0, 1, number), (give, 0, 0, 0x50000 | error)]
    code += [(give, 0, 0, 0x7FFF0000)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        raise SystemExit(77)

store = open_store(folder / "jobs.db", durability=sys.argv[2])
store.insert(job("before"))
fail_calls([int(number) for number in sys.argv[3:]], 5)
for attempt in (lambda: store.insert(job("during")), lambda: store.set({"workers": 3}), store.sync):
    try:
        attempt()
    except StoreError as error:
        print(error.maybe_stored, error)
    else:
        print("no error")
assert store.get("before", 1.0)
"""
DIE = """
SIGNATURES = {
    "open": (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    "ftruncate": (ctypes.c_int, ctypes.c_int, ctypes.c_int64),
    "unlink": (ctypes.c_int, ctypes.c_char_p),
    **dict.fromkeys(["pwrite", "pwrite64"],
        (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)),
}
kept = [apsw.VFS("dying", "unix")]

def die_at(step):
    \"\"\"Kill this process instead of the step-th time that SQLite opens, writes, cuts or deletes a file.\"\"\"
    steps = itertools.count(1)
    for name, signature in SIGNATURES.items():
        address = kept[0].xGetSystemCall(name)
        if address is None:  # one of the two ways to write is used, by how SQLite was compiled
            continue
        kind = ctypes.CFUNCTYPE(*signature, use_errno=True)
        original = kind(address)
        def call(*arguments, original=original):
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)
        kept.append(kind(call))
        assert kept[0].xSetSystemCall(name, ctypes.cast(kept[-1], ctypes.c_void_p).value)

def run(action, *arguments):
    \"\"\"Run something in a process of its own; tell whether that was killed.\"\"\"
    child = os.fork()
    if not child:
        try:
            action(*arguments)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0

def look(path):
    \"\"\"Look at what would be found now, without touching it.\"\"\"
    copy = path.parent.with_name("copy")
    shutil.copytree(path.parent, copy)
    try:
        connection = apsw.Connection(str(copy / path.name))
        assert connection.pragma("integrity_check") == "ok"
        tables = {name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")}
        jobs = [uuid for (uuid,) in connection.execute("select uuid from jobs order by id")] if tables else []
        version = connection.pragma("user_version")
        connection.close()
        return version, tables, jobs
    finally:
        shutil.rmtree(copy)

def begin(path, *jobs):
    store = open_store(path, background=True)
    store.settings()
    for uuid in jobs:
        assert store.insert(job(uuid))
    store.close()

def sweep(prepare, attempt, check):
    for step in itertools.count(1):
        path = folder / str(step) / "jobs.db"
        path.parent.mkdir(mode=0o700)
        run(prepare, path)
        killed = run(lambda: (die_at(step), attempt(path)))
        run(check, path)
        shutil.rmtree(path.parent)
        if not killed:
            print(step)
            return
"""
CREATE = """
TABLES = {"jobs", "settings", "modules", "schedules", "failure_hooks", "steps", "edges", "move"}
TABLES |= {"limits", "lines", "paused"}

def check(path):
    if path.exists():
        version, tables, jobs = look(path)
        assert (version, tables) in [(0, set()), (1, TABLES)], (version, tables)
        assert jobs in ([], ["a"])
    begin(path, "b")
    assert look(path)[:2] == (1, TABLES)

sweep(lambda path: None, lambda path: begin(path, "a"), check)
"""
MIGRATE = """
import importlib.resources
package = importlib.resources.files("autocron.store")
new = folder / "new" / "schema"
shutil.copytree(package / "schema", new)
(new / "sqlite-2.sql").write_text(
    "alter table jobs add column note text; update jobs set note = uuid; create table notes (x); drop table modules;"
)
JOBS = [f"job-{number}" for number in range(100)]
OLD = {"jobs", "settings", "modules", "schedules", "failure_hooks", "steps", "edges", "move"}
OLD |= {"limits", "lines", "paused"}
NEW = OLD - {"modules"} | {"notes"}

def migrate(path):
    sqlite_open.latest_version, sqlite_open.files = lambda: 2, lambda package: new.parent
    begin(path)

def check(path):
    version, tables, jobs = look(path)
    assert (version, tables) in [(1, OLD), (2, NEW)], (version, tables)
    assert jobs == JOBS
    migrate(path)
    assert look(path) == (2, NEW, JOBS)
    assert look(path.with_name("jobs.db.backup-v1")) == (1, OLD, JOBS)
    assert not list(path.parent.glob("*.partial"))

sweep(lambda path: begin(path, *JOBS), migrate, check)
"""


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.skipif(platform.machine() not in SYNC_CALLS or sys.platform != "linux", reason="needs Linux's seccomp")
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_disk_that_does_not_keep_what_is_written(tmp_path: Path, durability: str) -> None:
    ended = python(FAIL_TO_SYNC, tmp_path, durability, *SYNC_CALLS[platform.machine()])
    if ended.returncode == 77:
        pytest.skip("this system forbids seccomp")
    assert (ended.stderr, ended.returncode) == ("", 0)
    insert, change, sync = ended.stdout.splitlines()
    told = [insert, change] if durability == "full" else []
    assert told or (insert, change) == ("no error", "no error")
    for text in told:
        assert text.startswith("True Reading or writing ")
        assert "It is unknown whether the last change was stored. See whether the disk" in text
    assert "could not be written to the disk: Input/output error" in sync
    assert sync.startswith("True ")


@pytest.mark.parametrize("script", [CREATE, MIGRATE], ids=["creation", "migration"])
def test_killed_at_every_step(tmp_path: Path, script: str) -> None:
    ended = python(DIE + script, tmp_path)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert int(ended.stdout) > 20
