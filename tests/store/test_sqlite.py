"""What is special about SQLite: files, forks, many processes, and everything that may be wrong with a disk."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import apsw
import pytest

from autocron.errors import BadSetting, ConfigError, SchemaTooNew, StoreBusy, StoreCorrupt, StoreError, StoreGone
from autocron.model import NewJob
from autocron.store import files, sqlite_open
from autocron.store.gate import gate_of
from autocron.store.sqlite import SMALL_LOG, SqliteDriver, open_store
from autocron.store.sqlite_errors import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autocron.store.base import Store

START = """
import os, sys
from pathlib import Path
from autocron.model import NewJob
from autocron.store.sqlite import SqliteDriver, open_store
path = Path(sys.argv[1])
def job(uuid):
    return NewJob(uuid, "app.work", "[]", 1.0, 1.0)
def end(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
INSERT = """
store = open_store(path)
sys.stdin.read()  # until all are there
for number in range(int(sys.argv[3])):
    assert store.insert(job(f"{sys.argv[2]}-{number}"), 60.0)
"""
FORK = """
store, second = open_store(path), open_store(path, background=True)
store.insert(job("before"))
second.insert(job("second"))
child = os.fork()
if not child:
    assert store.insert(job("child"))
    assert second.insert(job("child of second"))
    grandchild = os.fork()
    store.insert(job("grandchild" if not grandchild else "child again"))
    if grandchild:
        end(grandchild)
    os._exit(0)
store.insert(job("parent"))
end(child)
second.close()
store.close()
"""
FORK_WITHOUT_HOOKS = """
import ctypes
from autocron.errors import StoreGone
parent_closes_first = sys.argv[2] == "first"
store = open_store(path, background=True)
store.insert(job("before"))
store._driver._connections.sessions.latest.mutex.acquire()  # as if another thread were using it
turn, turn_of_parent = os.pipe(), os.pipe()
child = ctypes.PyDLL(None).fork()
if not child:
    if parent_closes_first:
        os.read(turn[0], 1)
        try:
            store.insert(job("lost"))
        except StoreGone:
            os._exit(0)
        os._exit(1)
    assert store.insert(job("child"))
    os.write(turn_of_parent[1], b"x")
    os.read(turn[0], 1)
    assert store.insert(job("child, when the parent has closed"))
    os._exit(0)
store._driver._connections.sessions.latest.mutex.release()
if not parent_closes_first:
    os.read(turn_of_parent[0], 1)
store.insert(job("parent"))
store.close()
os.write(turn[1], b"x")
end(child)
"""
FORK_IN_A_CALL = """
import autocron.store.sqlite_session as module
from autocron.errors import StoreBusy
module.FORK_LIMIT = 0.01
store = open_store(path)
store.insert(job("before"))
with store._driver.transaction() as transaction:
    transaction.run("set", ("workers", "9"))
    child = os.fork()
    if not child:
        try:
            store.insert(job("too early"), 0.01)
        except StoreBusy:
            os._exit(0)
        os._exit(1)
    end(child)
assert store.settings().workers == 9
"""
HOLD = """
import apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("begin immediate")
print("held", flush=True)
sys.stdin.read()
"""
FULL_DISK = """
import resource, signal
from autocron.errors import StoreError
store = open_store(path)
store.insert(job("before"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (40000, most))
try:
    for number in range(100):
        store.insert(job(f"more-{number}"))
except StoreError as error:
    print(error)
else:
    raise SystemExit("stored beyond the limit")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert store.insert(job("after"))
assert store.get("before", 1.0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(path)
    yield opened
    opened.close()


def job(uuid: str) -> NewJob:
    return NewJob(uuid, "app.work", "[]", 1.0, 1.0)


def python(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + script, str(path), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate()[1] for process in processes]
    assert errors == [""] * len(processes)
    assert [process.returncode for process in processes] == [0] * len(processes)


def queued(store: Store) -> set[str]:
    return {found.uuid for found in store.find("queued", 9999, 1.0)}


def raw(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


# Files


def test_every_file_is_private_whatever_the_umask_is(store: Store, tmp_path: Path) -> None:
    for mask in (0, 0o777):
        before = os.umask(mask)
        try:
            folder = tmp_path / str(mask)
            folder.mkdir()
            folder.chmod(0o700)
            open_store(folder / "jobs.db").insert(job("a"))
        finally:
            os.umask(before)
        names = {found.name: found.stat().st_mode & 0o777 for found in folder.iterdir()}
        assert names == dict.fromkeys(("jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db.gate"), 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_creates_belongs_to_the_owner_of_the_folder(store: Store, tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    store.insert(job("a"))
    owners = {(found.stat().st_uid, found.stat().st_gid) for found in tmp_path.iterdir()}
    assert owners == {(12345, 12346)}


def test_another_users_database_is_refused(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.insert(job("a"))
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigError, match=rf"uid {path.stat().st_uid}.* uid 54321"):
        open_store(path).insert(job("b"))


def test_a_symbolic_link_leads_to_the_same_store(store: Store, path: Path, tmp_path: Path) -> None:
    store.insert(job("a"))
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = open_store(link)
    linked.insert(job("b"))
    assert queued(store) == {"a", "b"}
    assert not (tmp_path / "link.db-wal").exists()


def test_several_hard_links_are_refused(store: Store, path: Path) -> None:
    store.insert(job("a"))
    store.close()
    path.with_name("other.db").hardlink_to(path)
    with pytest.raises(ConfigError, match="hard links"):
        store.insert(job("b"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a file"):
        open_store(tmp_path).settings()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder does not exist"):
        open_store(tmp_path / "missing" / "jobs.db").settings()


def test_the_file_system_is_that_of_the_longest_mount_point() -> None:
    mounts = "\n".join(
        [
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw",
            "23 22 0:44 / /srv rw shared:2 master:3 - nfs4 server:/srv rw",
            "24 23 8:2 / /srv/local\\040disk rw - xfs /dev/sdb rw",
            "25 22 0:45 / /home rw - ext4 /dev/sdc rw",
            "26 22 0:46 / /home rw - fuse.sshfs server: rw",
        ]
    )
    for path, kind in [
        ("/jobs.db", "ext4"),
        ("/srv/jobs.db", "nfs4"),
        ("/srvs/jobs.db", "ext4"),
        ("/srv/local disk/jobs.db", "xfs"),
        ("/home/jobs.db", "sshfs"),
    ]:
        assert files.file_system(path, mounts) == kind
    assert files.file_system("/jobs.db", "") == ""


def test_a_network_file_system_is_refused(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "mounts", lambda: f"1 0 0:1 / {path.parent} rw - nfs4 server:/ rw\n")
    with pytest.raises(ConfigError, match=r"nfs4.*PostgreSQL"):
        store.insert(job("a"))
    assert not path.exists()


# Files that vanish


def test_a_deleted_database_takes_nothing_more(store: Store, path: Path) -> None:
    store.insert(job("a"))
    store.check()
    path.unlink()
    for attempt in (store.check, lambda: store.insert(job("b")), lambda: store.get("a", 1.0)):
        with pytest.raises(StoreGone, match=r"jobs\.db was deleted or replaced"):
            attempt()
    store.close()
    with pytest.raises(StoreGone):  # also not into a new file
        store.insert(job("b"))
    assert not path.exists()


def test_a_replaced_database_takes_nothing_more(store: Store, path: Path) -> None:
    store.insert(job("a"))
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)
    for attempt in (store.check, lambda: store.set({"workers": 2})):
        with pytest.raises(StoreGone):
            attempt()


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_without_its_log_a_database_takes_nothing_more(store: Store, path: Path, ending: str) -> None:
    store.insert(job("a"))
    Path(f"{path}{ending}").unlink()
    for attempt in (store.check, lambda: store.insert(job("b"))):
        with pytest.raises(StoreGone, match=ending):
            attempt()


def test_before_its_first_use_nothing_is_missing(store: Store, path: Path) -> None:
    store.check()
    store.sync()
    store.checkpoint()
    assert not path.exists()


# Files that are something else


def test_a_newer_schema_is_refused(store: Store, path: Path) -> None:
    store.insert(job("a"))
    store.close()
    raw(path, "pragma user_version = 99")
    with pytest.raises(SchemaTooNew, match=r"version 99.*up to 1"):
        store.insert(job("b"))


def test_another_database_is_left_alone(store: Store, path: Path) -> None:
    raw(path, "create table things (x)", "insert into things values (1)")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="something else"):
        store.insert(job("a"))
    assert path.read_bytes() == before


def test_another_application_id_is_left_alone(store: Store, path: Path) -> None:
    raw(path, "pragma application_id = 7")
    with pytest.raises(StoreCorrupt, match="something else"):
        store.insert(job("a"))


def test_a_file_that_is_no_database_is_left_alone(store: Store, path: Path) -> None:
    path.write_text("notes\n" * 1000)
    with pytest.raises(StoreCorrupt, match="not a database") as caught:
        store.insert(job("a"))
    assert isinstance(caught.value.__cause__, apsw.NotADBError)
    assert path.read_text() == "notes\n" * 1000


def test_a_damaged_page_is_reported(store: Store, path: Path) -> None:
    for number in range(200):
        store.insert(job(str(number)))
    store.close()
    raw(path, "pragma wal_checkpoint(truncate)")
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xa5" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match="recover"):
        store.insert(job("a"))
    assert path.read_bytes() == damaged


def test_an_empty_file_becomes_a_database(store: Store, path: Path) -> None:
    path.touch()
    assert store.insert(job("a"))


def test_what_a_crash_left_of_a_creation_becomes_a_database(store: Store, path: Path) -> None:
    raw(path, "pragma journal_mode = wal")
    assert path.stat().st_size
    assert store.insert(job("a"))


def use_second_schema(patch: pytest.MonkeyPatch, folder: Path, statements: str) -> None:
    """Let there be a next version of the schema, in this folder."""
    schema = folder / "autocron" / "schema"
    schema.mkdir(parents=True)
    (schema / "sqlite-2.sql").write_text(statements)
    patch.setattr(sqlite_open, "latest_version", lambda: 2)
    patch.setattr(sqlite_open, "files", lambda _package: schema.parent)


def test_an_older_schema_is_backed_up_and_migrated(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert(job("a"))
    store.close()
    use_second_schema(monkeypatch, tmp_path, "alter table jobs add column note text default 'new';")
    backup = path.with_name("jobs.db.backup-v1")
    backup.with_name("jobs.db.backup-v1.partial").write_text("of a migration that was killed")
    assert store.insert(job("b"))
    store.close()
    for file, version, jobs in [(path, 2, 2), (backup, 1, 1)]:
        connection = apsw.Connection(str(file))
        assert connection.pragma("user_version") == version
        assert connection.execute("select count(*) from jobs").get == jobs
        connection.close()
    assert backup.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.partial"))


def test_a_failed_migration_changes_nothing(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert(job("a"))
    store.close()
    with monkeypatch.context() as patch:
        use_second_schema(patch, tmp_path, "alter table jobs add column note text; drop table nowhere;")
        with pytest.raises(StoreError, match="nowhere"):
            store.insert(job("b"))
    assert store.insert(job("b"))
    assert queued(store) == {"a", "b"}


# Several connections


def test_a_setting_that_is_no_json_cannot_be_used(store: Store, path: Path) -> None:
    store.settings()
    raw(path, "insert into settings values ('workers', 'four')")
    with pytest.raises(BadSetting, match="set it again"):
        store.settings()
    store.set({"workers": 4})
    assert store.settings().workers == 4


def test_changes_of_others_are_noticed(store: Store, path: Path) -> None:
    other = open_store(path)
    assert store.changed()
    assert not store.changed()
    store.insert(job("own"))
    assert not store.changed()
    other.insert(job("other"))
    assert store.changed()
    assert not store.changed()
    other.close()


def test_threads_share_a_store(store: Store) -> None:
    def insert(thread: int) -> None:
        for number in range(50):
            store.insert(job(f"{thread}-{number}"), 60.0)

    threads = [Thread(target=insert, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queued(store)) == 400


def test_processes_insert_at_once(store: Store, path: Path) -> None:
    processes = [python(INSERT, path, str(number), "100") for number in range(8)]
    finish(*processes)
    assert len(queued(store)) == 800


def test_simultaneous_first_opens(store: Store, path: Path) -> None:
    processes = [python(INSERT, path, str(number), "1") for number in range(20)]
    finish(*processes)
    assert len(queued(store)) == 20


def test_parent_and_child_insert_after_a_fork(store: Store, path: Path) -> None:
    finish(python(FORK, path))
    names = ["before", "second", "child", "child of second", "grandchild", "child again", "parent"]
    assert queued(store) == set(names)


def test_a_child_that_no_hook_has_seen_inserts(store: Store, path: Path) -> None:
    finish(python(FORK_WITHOUT_HOOKS, path, "last"))
    assert queued(store) == {"before", "child", "parent", "child, when the parent has closed"}


def test_a_child_that_no_hook_has_seen_loses_nothing_silently(store: Store, path: Path) -> None:
    finish(python(FORK_WITHOUT_HOOKS, path, "first"))
    assert queued(store) == {"before", "parent"}


def test_a_fork_does_not_wait_for_ever_for_a_call(path: Path) -> None:
    finish(python(FORK_IN_A_CALL, path))


def test_a_stranger_is_waited_for_as_long_as_the_caller_may(store: Store, path: Path) -> None:
    store.insert(job("a"))
    with python(HOLD, path) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match="locked for too long"):
            store.insert(job("b"), 0.05)
        assert queued(store) == {"a"}  # reading goes on
        finish(holder)
    assert store.insert(job("b"), 30.0)


def test_readers_need_no_gate(store: Store, path: Path) -> None:
    store.insert(job("a"))
    gate = gate_of(str(path))
    gate.acquire(1)
    try:
        assert queued(open_store(path)) == {"a"}
        with pytest.raises(StoreBusy):
            store.insert(job("b"), 0.01)
    finally:
        gate.release()
    assert store.insert(job("b"), 0.5)


def test_a_busy_thread_is_waited_for_as_long_as_the_caller_may(path: Path) -> None:
    driver = SqliteDriver(path)
    with driver.transaction(), pytest.raises(StoreBusy, match="thread"):
        driver.write("set", ("workers", "2"), 0.01)
    assert driver.write("set", ("workers", "2"), 0.5) == 1


# Transactions


@pytest.mark.parametrize("rows", [[("workers", "2"), ("grace", None)], [("workers", None)]])
def test_a_transaction_that_fails_leaves_nothing(path: Path, rows: list[tuple[str, str | None]]) -> None:
    driver = SqliteDriver(path)

    def attempt() -> None:
        with driver.transaction() as transaction:
            transaction.run("set", ("linger", "2"))
            transaction.many("set", rows)

    with pytest.raises(StoreError, match="constraint"):
        attempt()
    assert driver.read("settings") == []


def test_a_block_that_raises_leaves_nothing(path: Path) -> None:
    driver = SqliteDriver(path)

    def attempt() -> None:
        with driver.transaction() as transaction:
            transaction.run("set", ("workers", "2"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attempt()
    assert driver.read("settings") == []
    assert driver.write("set", ("workers", "2"), 1.0) == 1


def test_the_same_job_is_not_stored_twice(store: Store) -> None:
    store.insert(job("a"))
    with pytest.raises(StoreError, match="UNIQUE") as caught:
        store.insert(job("a"))
    assert not caught.value.maybe_stored
    assert store.insert(job("b"))


# The log


def test_the_log_is_written_over_after_a_checkpoint(path: Path) -> None:
    node, application = open_store(path, background=True), open_store(path)
    log = Path(f"{path}-wal")

    for start in range(0, 250, 50):
        for number in range(start, start + 50):
            application.insert(NewJob(str(number), "app.work", "x" * 100_000, 1.0, 1.0))
        node.checkpoint()
        node.sync()
    assert SMALL_LOG < log.stat().st_size < 4 * SMALL_LOG
    application.close()
    node.close()
    assert not log.exists()  # the node puts everything into one file when it is the last


def test_what_a_reader_keeps_in_the_log_is_told(path: Path) -> None:
    node, reader = open_store(path, background=True), apsw.Connection(str(path))
    node.insert(NewJob("first", "app.work", "x", 1.0, 1.0))
    reader.execute("begin; select count(*) from jobs").fetchall()
    for number in range(2):
        node.insert(NewJob(str(number), "app.work", "x" * SMALL_LOG, 1.0, 1.0))
    assert node.checkpoint() > 2 * SMALL_LOG
    reader.execute("commit")
    assert node.checkpoint() == 0
    reader.close()
    node.close()


def test_applications_leave_the_log_to_the_next(store: Store, path: Path) -> None:
    store.insert(job("a"))
    store.close()
    assert Path(f"{path}-wal").stat().st_size
    assert queued(store) == {"a"}


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability(path: Path, durability: str, level: int) -> None:
    driver = SqliteDriver(path, durability="full" if durability == "full" else "normal")
    driver.read("settings")
    connection = driver._connections.sessions.latest.connection
    assert connection
    assert connection.pragma("synchronous") == level
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("mmap_size") == 0


# The disk


def test_a_full_disk_is_reported_and_overcome(path: Path) -> None:
    process = python(FULL_DISK, path)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "jobs.db" in output


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (apsw.BusyError("locked"), StoreBusy, "try again"),
        (apsw.LockedError("locked"), StoreBusy, "try again"),
        (apsw.CorruptError("malformed"), StoreCorrupt, "recover"),
        (apsw.NotADBError("no database"), StoreCorrupt, "backup"),
        (apsw.FullError("full"), StoreError, "Free space"),
        (apsw.ReadOnlyError("readonly"), StoreError, "writable"),
        (apsw.CantOpenError("unable"), StoreError, "writable"),
        (apsw.IOError("disk I/O error"), StoreError, "unknown whether"),
        (apsw.SQLError("no such table"), StoreError, "no such table"),
    ],
)
def test_errors_say_what_to_do(error: apsw.Error, kind: type[StoreError], text: str) -> None:
    explained = explain(error, "/srv/jobs.db", committing=True)
    assert type(explained) is kind
    assert text in str(explained)
    assert "/srv/jobs.db" in str(explained)
    assert explained.maybe_stored == isinstance(error, apsw.IOError)
