"""The doctor's look at the files of an SQLite database, and at their folder."""

import os
import shutil
import stat
from collections.abc import Iterator

import msgspec

from autocron.cli.doctor_findings import Finding, ok, problem, warning
from autocron.store import paths
from autocron.store.files import NETWORK_FILE_SYSTEMS, file_system, mounts
from autocron.store.place import Place
from autocron.store.sqlite_health import SAFE_VERSION, FileHealth

MIB = 1 << 20
NEARLY_FULL, FULL = 256 * MIB, 16 * MIB  # bytes left on the disk
LONG_LOG = 64 * MIB  # bytes that wait in the write-ahead log; writing alone does not reach that
ENDINGS = ("", "-wal", "-shm", ".gate", ".lock", ".log")


class FileFacts(msgspec.Struct, frozen=True):
    """What can be seen without opening anything.

    Attributes:
        path: of the database.
        user: who looks.
        modes: owner and mode of the files that are there, by their paths.
        folder: owner and mode of the folder.
        writable: this user can create files in the folder.
        free: bytes left on the disk.
        size: bytes of the database.
        log: bytes of the write-ahead log.
        kind: of the file system; empty where that cannot be seen.
        links: names of the database file.
    """

    path: str
    user: int
    modes: dict[str, tuple[int, int]]
    folder: tuple[int, int]
    writable: bool
    free: int
    size: int
    log: int
    kind: str
    links: int


def collect(place: Place) -> FileFacts:
    """Look at the files."""
    path, folder = place.files, place.files.parent
    found = {str(one): one.stat() for ending in ENDINGS if (one := paths.beside(path, ending)).exists()}
    database, log = found[str(path)], found.get(f"{path}-wal")
    return FileFacts(
        str(path),
        os.geteuid(),
        {name: (one.st_uid, one.st_mode) for name, one in found.items()},
        (folder.stat().st_uid, folder.stat().st_mode),
        os.access(folder, os.W_OK | os.X_OK) and os.access(path, os.W_OK),
        shutil.disk_usage(folder).free,
        database.st_size,
        log.st_size if log else 0,
        file_system(str(path), mounts()),
        database.st_nlink,
    )


def check(facts: FileFacts) -> Iterator[Finding]:
    """Say what is to be said of the files."""
    yield from _place(facts)
    yield from _permissions(facts)
    yield _space(facts)


def _place(facts: FileFacts) -> Iterator[Finding]:
    if facts.kind in NETWORK_FILE_SYSTEMS:
        yield problem(
            "file",
            f"it is on a network file system ({facts.kind}), where SQLite loses data",
            "put it on a local disk, or use PostgreSQL, which several machines can share",
        )
    if facts.links > 1:
        yield problem(
            "file",
            f"it has {facts.links} names (hard links); SQLite keeps a log beside each name, which damages it",
            "remove the other names",
        )
    if not stat.S_ISREG(facts.modes[facts.path][1]):
        yield problem("file", "it is not a file", "give the path of a database file")


def _permissions(facts: FileFacts) -> Iterator[Finding]:
    owner = facts.modes[facts.path][0]
    found = [*_of_files(facts, owner), *_of_folder(facts)]
    if facts.user not in (0, owner):
        found.append(problem("file", f"it belongs to {paths.user_name(owner)}", "run this as that user"))
    elif not facts.writable:
        then = f"make both writable for uid {facts.user}; see whether the disk is mounted read-only"
        found.append(problem("file", "it or its folder cannot be written", then))
    where = f" on {facts.kind}" if facts.kind else ""
    whose = "this user" if owner == facts.user else paths.user_name(owner)
    yield from found or [ok("file", f"{_size(facts.size)}{where}; it is of {whose} alone")]


def _of_files(facts: FileFacts, owner: int) -> Iterator[Finding]:
    for path, (uid, mode) in facts.modes.items():
        if uid != owner:
            yield problem("file", f"{path} belongs to {paths.user_name(uid)}", f"chown {owner} {path}")
        if mode & 0o077:
            say = problem if mode & 0o022 else warning
            does = "write" if mode & 0o022 else "read"
            yield say("file", f"other users may {does} {path} (mode {mode & 0o777:04o})", f"chmod 600 {path}")


def _of_folder(facts: FileFacts) -> Iterator[Finding]:
    mode, folder = facts.folder[1], os.path.dirname(facts.path)  # noqa: PTH120
    if mode & 0o022:
        say = problem if mode & 0o002 and not mode & stat.S_ISVTX else warning
        yield say("folder", f"other users may write in {folder} (mode {mode & 0o777:04o})", f"chmod go-w {folder}")


def _space(facts: FileFacts) -> Finding:
    left = f"{_size(facts.free)} left"
    if facts.free < FULL:
        return problem("disk", f"it is full: {left}", "free space; nothing can be stored until then")
    if facts.free < NEARLY_FULL:
        return warning("disk", f"it is nearly full: {left}", "free space before nothing can be stored any more")
    return ok("disk", left)


def check_content(health: FileHealth, log: int) -> Iterator[Finding]:
    """Say what is to be said of the content; `log` is the size of the write-ahead log in bytes."""
    yield _version(health)
    yield _damage(health)
    yield _log(health, log)


def _version(health: FileHealth) -> Finding:
    sqlite = ".".join(map(str, health.sqlite))
    if health.sqlite < SAFE_VERSION:
        then = "pip install --upgrade apsw"
        return problem("sqlite", f"SQLite {sqlite} is in use, which can damage a write-ahead log", then)
    if health.version < health.latest:
        return warning(
            "schema",
            f"version {health.version} is older than this autocron, which has {health.latest}",
            "it is backed up and brought up to date when an application starts; the jobs were not looked at",
        )
    return ok("schema", f"version {health.version}, SQLite {sqlite}")


def _damage(health: FileHealth) -> Finding:
    if health.damage:
        return problem(
            "content",
            f"it is damaged: {'; '.join(' '.join(text.split()) for text in health.damage[:2])}",
            "stop all processes, copy it with its -wal file, and restore a backup, or try `sqlite3 FILE .recover`",
        )
    if not health.complete:
        return ok("content", "no damage was seen, but it is too large to look through all of it here")
    return ok("content", "no damage")


def _log(health: FileHealth, log: int) -> Finding:
    if health.waiting < LONG_LOG:
        return ok("log", f"the write-ahead log has {_size(log)}, {_size(health.waiting)} of it not copied yet")
    who = f"process {', '.join(map(str, sorted({*health.readers})))}" if health.readers else "somebody"
    return warning(
        "log",
        f"{_size(health.waiting)} wait in the write-ahead log: {who} keeps a read transaction open",
        "end it, or start the application if no node works; `fuser FILE` names who has the database open",
    )


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
