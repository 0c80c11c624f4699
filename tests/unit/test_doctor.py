"""The checks of the doctor: from facts to findings."""

from __future__ import annotations

import stat
from typing import Any

import msgspec
import pytest
from rich.console import Console

from autocron import wire
from autocron.cli import doctor_file, doctor_server, doctor_work
from autocron.cli.doctor_file import FileFacts
from autocron.cli.doctor_findings import Finding, Level, is_ill, ok, problem, rendered, warning
from autocron.cli.doctor_work import WorkFacts
from autocron.errors import BadSetting
from autocron.model import Declaration, QueueCounts, Settings, StoredSchedule
from autocron.store.postgres_health import Holder, Member, ServerHealth, Tables
from autocron.store.sqlite_health import FileHealth

MIB = 1 << 20
NOW = 1_000_000.0
FILE = FileFacts(
    "/f/x.db", 7, {"/f/x.db": (7, stat.S_IFREG | 0o600)}, (7, 0o40700), True, 999 * MIB, MIB, MIB, "ext4", 1
)
HEALTH = FileHealth(1, 1, [], True, 0, [], (3, 51, 3))
TABLES = Tables([Member("a", 1, 0.0, "")], [], 10, 10, 5.0, True, 5, 97)
SERVER = ServerHealth(180001, False, True, False, "owner", 1, 1, TABLES)
WORK = WorkFacts(NOW, Settings(), None, None, 0, [], [], None, {}, [], 0, "", [])


def node(*workers: wire.WorkerStatus) -> wire.Status:
    return wire.Status(9, NOW, "running", [], list(workers))


def schedule(text: str, tz: str = "UTC", *, cursor: float = NOW, paused: bool = False) -> StoredSchedule:
    return StoredSchedule(Declaration("tidy", "tidy", "app", text, tz), cursor, paused)


def bad(findings: Any) -> list[tuple[Level, str]]:
    return [(one.level, one.what) for one in findings if one.level is not Level.OK]


def expect(findings: Any, level: Level, text: str) -> None:
    ((found, what),) = bad(findings)
    assert found is level
    assert text in what


def test_what_is_whole_is_ok() -> None:
    assert bad(doctor_file.check(FILE)) == bad(doctor_file.check_content(HEALTH, MIB)) == []
    assert bad(doctor_server.check(SERVER)) == bad([doctor_server.check_clock(1.0)]) == []
    assert bad(doctor_work.check(WORK)) == []


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"kind": "nfs4"}, Level.PROBLEM, "network file system (nfs4)"),
        ({"links": 2}, Level.PROBLEM, "2 names"),
        ({"modes": {"/f/x.db": (7, 0o40600)}}, Level.PROBLEM, "not a file"),
        ({"modes": {"/f/x.db": (7, 0o100644)}}, Level.WARNING, "may read /f/x.db (mode 0644)"),
        ({"modes": {"/f/x.db": (7, 0o100620)}}, Level.PROBLEM, "may write /f/x.db (mode 0620)"),
        ({"modes": FILE.modes | {"/f/x.db-wal": (8, 0o100600)}}, Level.PROBLEM, "/f/x.db-wal belongs to"),
        ({"user": 8}, Level.PROBLEM, "it belongs to"),
        ({"writable": False}, Level.PROBLEM, "cannot be written"),
        ({"folder": (7, 0o40777)}, Level.PROBLEM, "may write in /f (mode 0777)"),
        ({"folder": (0, 0o41777)}, Level.WARNING, "may write in /f"),
        ({"folder": (7, 0o40775)}, Level.WARNING, "may write in /f"),
        ({"free": 100 * MIB}, Level.WARNING, "nearly full: 100 MiB left"),
        ({"free": 1000}, Level.PROBLEM, "it is full: 1000 B left"),
    ],
)
def test_files(change: dict[str, Any], level: Level, text: str) -> None:
    expect(doctor_file.check(msgspec.structs.replace(FILE, **change)), level, text)


def test_root_may_look_at_the_files_of_others() -> None:
    assert bad(doctor_file.check(msgspec.structs.replace(FILE, user=0))) == []


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"sqlite": (3, 51, 2)}, Level.PROBLEM, "SQLite 3.51.2"),
        ({"latest": 2}, Level.WARNING, "version 1 is older"),
        ({"damage": ["row 3 missing\nfrom index"]}, Level.PROBLEM, "row 3 missing from index"),
        (
            {"waiting": 80 * MIB, "readers": [5, 5]},
            Level.WARNING,
            "80 MiB wait in the write-ahead log: process 5 keeps",
        ),
        ({"waiting": 80 * MIB}, Level.WARNING, "somebody keeps"),
    ],
)
def test_content(change: dict[str, Any], level: Level, text: str) -> None:
    expect(doctor_file.check_content(FileHealth(**{**vars(HEALTH), **change}), MIB), level, text)


def test_a_database_that_is_too_large_is_said_to_be_looked_through_in_part() -> None:
    found = list(doctor_file.check_content(FileHealth(1, 1, [], False, 0, [], (3, 51, 3)), MIB))
    assert "too large to look through all" in found[1].what


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"server": 130012}, Level.PROBLEM, "PostgreSQL 13.12 is too old"),
        ({"local": False}, Level.WARNING, "not encrypted"),
        ({"pooled": True}, Level.WARNING, "pgbouncer"),
        ({"role": None, "tables": None}, Level.PROBLEM, "there is none"),
        ({"role": "", "tables": None}, Level.PROBLEM, "may not even read"),
        ({"latest": 2}, Level.WARNING, "version 1 is older"),
    ],
)
def test_server(change: dict[str, Any], level: Level, text: str) -> None:
    expect(doctor_server.check(ServerHealth(**{**vars(SERVER), **change})), level, text)


HOLDER = Holder("transaction", 5, "backup", 600.0, 10)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"members": [Member("a", 1, 9.0, "")]}, "silent: 1 on a for 9 s"),
        ({"holders": [HOLDER]}, "a transaction of process 5 (backup, for 10 min) keeps dead rows alive"),
        ({"holders": [Holder("prepared transaction", None, "x", 600.0, 1)]}, "a prepared transaction (x, for 10 min)"),
        ({"holders": [Holder("replication slot", None, "s", None, 2_000_000)]}, "a replication slot (s, unknown for"),
        ({"autovacuum": False, "vacuumed": None}, "autovacuum is off; dead rows were removed last: never"),
        ({"dead": 60_000, "living": 100}, "60000 dead rows beside 100"),
        ({"connections": 90}, "90 of 97 are in use"),
    ],
)
def test_tables(change: dict[str, Any], text: str) -> None:
    tables = Tables(**{**vars(TABLES), **change})
    expect(doctor_server.check(ServerHealth(**{**vars(SERVER), "tables": tables})), Level.WARNING, text)


def test_what_is_young_holds_nothing_up() -> None:
    young = [Holder("transaction", 5, "x", 200.0, 5_000_000), Holder("replication slot", None, "s", None, 10)]
    tables = Tables(**{**vars(TABLES), "holders": young})
    assert bad(doctor_server.check(ServerHealth(**{**vars(SERVER), "tables": tables}))) == []


@pytest.mark.parametrize(("ahead", "text"), [(60.0, "1 min ahead of"), (-60.0, "1 min behind")])
def test_clocks(ahead: float, text: str) -> None:
    expect([doctor_server.check_clock(ahead)], Level.WARNING, text)


DUE: dict[str, Any] = {"queues": [QueueCounts("mail", 2)], "due": {"mail": (2, NOW - 90)}}
IDLE, BUSY = wire.WorkerStatus(1, "ready", []), wire.WorkerStatus(2, "ready", ["u"])


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"settings": BadSetting("workers cannot be used")}, Level.PROBLEM, "workers cannot be used"),
        ({"settings": Settings(locked=True)}, Level.WARNING, "the autocron lock is on"),
        ({"pid": 5}, Level.PROBLEM, "5 is there, but does not answer"),
        (DUE, Level.PROBLEM, "none works, but 2 jobs are due, the first for 2 min"),
        ({**DUE, "due": {"mail": (2, NOW - 1)}}, Level.WARNING, "none works, but 2 jobs are due"),
        ({"queues": [QueueCounts("mail", 2, paused=True)]}, Level.WARNING, "the queue mail, which is paused"),
        ({**DUE, "node": node(BUSY), "pid": 9, "served": {"default"}}, Level.WARNING, "mail, which has no workers"),
        ({**DUE, "node": node(IDLE), "pid": 9}, Level.WARNING, "for 2 min, although workers are free: 1"),
        ({"held": [("unknown task", "app.gone", 3)]}, Level.WARNING, "3 of app.gone: unknown task"),
        (
            {"failed": 2, "last_failure": "app.work: no"},
            Level.WARNING,
            "2 jobs in the last day; the last: app.work: no",
        ),
        ({"schedules": [schedule("0 2 * * *", "Mars/Base")]}, Level.PROBLEM, '"Mars/Base" is unknown here'),
        (
            {"schedules": [schedule("every 60", cursor=NOW - 900)], "node": node(IDLE), "pid": 9},
            Level.WARNING,
            "tidy is overdue for 15 min",
        ),
    ],
)
def test_work(change: dict[str, Any], level: Level, text: str) -> None:
    expect(doctor_work.check(msgspec.structs.replace(WORK, **change)), level, text)


@pytest.mark.parametrize(
    "change",
    [
        {**DUE, "node": node(BUSY), "pid": 9},
        {**DUE, "node": node(wire.WorkerStatus(1, "ready", [], "default")), "pid": 9},
        {**DUE, "alive": 1},
        {"schedules": [schedule("every 60", cursor=NOW - 900)]},
        {"schedules": [schedule("0 2 * * *", "Mars/Base", paused=True)]},
    ],
)
def test_nothing_is_wrong_with_work_that_waits_for_a_reason(change: dict[str, Any]) -> None:
    assert bad(doctor_work.check(msgspec.structs.replace(WORK, **change))) == []


def test_the_log_is_quoted_where_no_node_does_what_is_due() -> None:
    facts = msgspec.structs.replace(WORK, **DUE, log=["a", "could not import shop"])
    assert (Level.WARNING, "its log ends with: a | could not import shop") in bad(doctor_work.check(facts))


def test_what_is_shown_says_the_level_as_a_word_and_escapes_what_a_terminal_would_act_on() -> None:
    findings: list[Finding] = [ok("disk", "much"), warning("queue", "x\x1b[2J", "resume it"), problem("node", "none")]
    console = Console(width=80, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(rendered("/f/x.db", findings))
    shown = capture.get()
    for text in ("ok", "warning", "problem", "x\\x1b[2J", "→ resume it", "1 problem, 1 warning"):
        assert text in shown
    assert is_ill(findings)
    assert not is_ill(findings[:2])
