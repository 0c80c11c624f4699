"""The doctor on real SQLite databases: each fault is seen, and no longer when it has been repaired."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from autocron.model import NewJob
from autocron.store.sqlite import open_store

if TYPE_CHECKING:
    from pathlib import Path

READ = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute("begin; select count(*) from jobs").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


def look(path: Path, *, status: int = 0, environ: dict[str, str] | None = None) -> dict[str, list[tuple[str, str]]]:
    """Give (level, what) by what was looked at, as another process sees it."""
    command = [sys.executable, "-m", "autocron", str(path), "doctor", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, env=environ)
    assert done.returncode == status, done.stdout + done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for one in json.loads(done.stdout)["findings"]:
        found.setdefault(one["about"], []).append((one["level"], one["what"]))
    return found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    store = open_store(path)
    store.settings()
    store.close()
    return path


def sql(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.execute(statement).fetchall()
    connection.close()


def test_a_whole_database_is_green_and_nothing_is_changed(database: Path) -> None:
    before = {one.name: one.read_bytes() for one in database.parent.iterdir() if not one.name.endswith("-shm")}
    found = look(database)
    assert {level for lines in found.values() for level, _ in lines} == {"ok"}
    after = {one.name: one.read_bytes() for one in database.parent.iterdir() if not one.name.endswith("-shm")}
    assert after == before


def test_a_database_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    ((level, what),) = look(tmp_path / "nope.db", status=1)["database"]
    assert (level, "there is no database" in what) == ("problem", True)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_red_and_green_with_the_backup(database: Path) -> None:
    sql(database, "pragma wal_checkpoint(truncate)")
    backup = database.with_name("backup")
    shutil.copy(database, backup)
    with database.open("r+b") as file:  # a page in the middle
        file.seek(5 * 2048)
        file.write(b"\xff" * 2048)
    found = look(database, status=1)
    assert "problem" in [level for level, _ in found.get("content", []) + found.get("database", [])]
    with database.open("r+b") as file:
        file.write(b"x" * 100)  # the header
    assert "is damaged or not a database" in look(database, status=1)["database"][0][1]
    backup.replace(database)
    database.chmod(0o600)
    look(database)


def test_a_newer_schema_is_red(database: Path) -> None:
    sql(database, "pragma user_version = 99")
    ((level, what),) = look(database, status=1)["database"]
    assert (level, "schema version 99" in what) == ("problem", True)
    sql(database, "pragma user_version = 1")
    look(database)


def test_a_database_of_something_else_is_red(tmp_path: Path) -> None:
    sql(tmp_path / "other.db", "create table letters (text)")
    assert "not a database of autocron" in look(tmp_path / "other.db", status=1)["database"][0][1]


def test_permissions(database: Path) -> None:
    database.chmod(0o644)
    assert look(database)["file"][0][0] == "warning"
    database.chmod(0o666)
    assert look(database, status=1)["file"][0][0] == "problem"
    database.chmod(0o600)
    database.parent.chmod(0o777)
    assert look(database, status=1)["folder"][0][0] == "problem"
    database.parent.chmod(0o700)
    look(database)


def test_a_second_name_is_red(database: Path) -> None:
    other = database.with_name("other")
    os.link(database, other)
    assert "2 names" in look(database, status=1)["file"][0][1]
    other.unlink()
    look(database)


def test_a_reader_that_stays_is_named(database: Path) -> None:
    store = open_store(database)
    with subprocess.Popen(
        [sys.executable, "-c", READ, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout
        assert reader.stdout.readline() == "reads\n"
        for number in range(40):
            store.insert(NewJob(str(number), "app.work", "x" * (2 << 20), time.time() + 900, time.time()))
        ((level, what),) = look(database)["log"]
        assert level == "warning"
        assert f"process {reader.pid} keeps a read transaction open" in what
        reader.communicate("")
    sql(database, "pragma wal_checkpoint(truncate)")
    assert look(database)["log"][0][0] == "ok"
    store.close()


def test_a_move_is_red(database: Path) -> None:
    sql(database, "insert into move values ('1', 'source', '/new.db', 'moved', null)")
    assert "was moved to /new.db" in look(database, status=1)["database"][0][1]


def test_settings_and_the_lock(database: Path) -> None:
    store = open_store(database)
    store.set({"workers": 0})
    assert look(database, status=1)["settings"][0][0] == "problem"
    store.set({"workers": 1, "locked": True})
    assert look(database)["lock"][0][0] == "warning"
    store.set({"locked": False})
    found = look(database)
    assert {"lock", "settings"}.isdisjoint(found)
    store.close()


def test_a_paused_queue_and_one_without_workers(database: Path) -> None:
    store = open_store(database)
    store.insert(NewJob("a", "app.work", "[[],{}]", time.time(), time.time()))
    store.pause_queue("default")
    assert look(database)["queue"] == [("warning", "1 job is due in the queue default, which is paused")]
    store.resume_queue("default")
    store.set({"queues": {"mail": 1}})
    sql(database, "update jobs set run_at = run_at - 60")
    found = look(database, status=1)
    assert found["queue"] == [("warning", "1 job is due in the queue default, which has no workers")]
    store.set({"queues": {}})
    assert "queue" not in look(database, status=1)
    store.close()


def test_a_node_that_died_or_does_not_answer(lab: Any) -> None:
    app = lab.start()
    node = lab.node()
    lab.ready()
    assert look(lab.database)["node"] == [("ok", f"{node} is running, 1 of 1 workers ready")]
    os.kill(node, signal.SIGSTOP)
    assert look(lab.database, status=1)["node"] == [("problem", f"{node} is there, but does not answer")]
    os.kill(node, signal.SIGCONT)
    app.kill()
    lab.kill(node)
    lab.until(lambda: not lab.background())
    lab.store.insert(NewJob("late", "tasks.work", "[[1],{}]", time.time() - 60, time.time() - 60))
    ((level, what),) = [one for one in look(lab.database, status=1)["node"] if one[0] == "problem"]
    assert (level, "none works, but 1 job is due" in what) == ("problem", True)
    lab.start()
    lab.ended("late")
    assert look(lab.database)["node"][0][0] == "ok"


def test_a_job_that_failed_and_one_that_is_parked(lab: Any) -> None:
    app = lab.start()
    uuid = app.ask("run('1/0').uuid")
    gone = lab.insert("tasks.gone", "[[],{}]")
    lab.ended(uuid)
    lab.until(lambda: lab.job(gone).held)
    found = look(lab.database)
    assert found["failed"][0][0] == "warning"
    assert "tasks.run: " in found["failed"][0][1]
    assert found["parked"][0][0] == "warning"
