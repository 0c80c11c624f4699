"""Where a database and the files beside it are, and the locks on them."""

import contextlib
import os
import re
import socket
import struct
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

from autocron.errors import ConfigError
from autocron.store.files import open_private

Database = str | os.PathLike[str]

NODE_BYTE = 0  # held by the node as long as it lives
SPAWN_BYTE = 1  # held by an application while it starts a node
FIRST_WORKER_BYTE = 16  # and those after it: each worker holds one
WORKER_BYTES = 1 << 20
_LONGEST_ADDRESS = 107 if sys.platform == "linux" else 103  # bytes of a socket's path
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CONNECTION_STRING = re.compile(r"(^|\s)(dbname|host|password|user)\s*=")


# Names


def resolve_database(name: Database | None, *, create: bool = True) -> Path:
    """Give the full path of a database.

    Args:
        name: a relative name lives in $AUTOCRON_HOME or ~/.autocron; an absolute path is taken as it is and its folder
            must exist; None is $AUTOCRON_DATABASE.
        create: create the folder of a relative name; who only looks leaves everything as it is.

    Raises:
        ConfigError: there is no such folder, or it can't be created or looked into.
    """
    text = os.fspath(name) if name is not None else os.environ.get("AUTOCRON_DATABASE", "")
    if not text or text.endswith(os.sep) or "\0" in text:
        raise ConfigError(
            f"{text!r} is not the name of a database"
            if text
            else 'which database? autocron.start("project.db"), or set AUTOCRON_DATABASE'
        )
    _refuse_address(text)
    path = _expanded(Path(text))
    is_absolute = path.is_absolute()
    if not is_absolute:
        path = home() / path
        if create:
            create_folder(path.parent)
    try:
        if is_absolute and not path.parent.is_dir():
            raise ConfigError(f"the folder {path.parent} does not exist; create it, or give a name without folders")
        if path.is_dir():
            raise ConfigError(f"{path} is a folder, not a database")
        return path.resolve()
    except PermissionError as error:
        raise ConfigError(f"{path} can't be used by uid {os.geteuid()}: {error.strerror}{_owned(path)}") from error


def _refuse_address(text: str) -> None:
    """Refuse what is meant for a server. It may hold a password: nothing shows it, and no file is called so."""
    scheme = _SCHEME.match(text)
    if scheme or _CONNECTION_STRING.search(text):
        what = f"{scheme[0]}..." if scheme else "a text of key=value pairs"
        raise ConfigError(
            f"{what} is not the address of a database that autocron can use; give the name or path of an SQLite file,"
            " or postgresql://user@host/database"
        )


def _owned(path: Path) -> str:
    """Say whose the folder is that a path is in, if that can be seen."""
    for folder in path.parents:
        with contextlib.suppress(OSError):
            owner = other_owner(folder)
            return f". {folder} belongs to {owner}; run this as that user" if owner else ""
    return ""


def home() -> Path:
    """Give the folder of the databases with relative names.

    Raises:
        ConfigError: this user has no home, or it is relative to a folder that was deleted.
    """
    chosen = os.environ.get("AUTOCRON_HOME")
    folder = _expanded(Path(chosen or "~/.autocron"))
    if folder.is_absolute():
        return folder
    try:
        return Path.cwd() / folder
    except FileNotFoundError as error:
        raise ConfigError(
            f"AUTOCRON_HOME is {folder}, in the working directory, but that was deleted; give an absolute path"
        ) from error


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: no such home; set AUTOCRON_HOME to a folder that this user may write, or give an absolute path"
        ) from error


def create_folder(folder: Path) -> None:
    """Create a folder and those above it, for this user only.

    Raises:
        ConfigError: it can't be created, or this user can't write in it.
    """
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigError(f"{_cannot_use(folder)} ({error.strerror})") from error
    if not writable:
        raise ConfigError(_cannot_use(folder))


def _cannot_use(folder: Path) -> str:
    return (
        f"the folder {folder} can't be created or written by this user; set AUTOCRON_HOME to one that can,"
        " or give the database as an absolute path in one"
    )


def other_owner(path: Path) -> str | None:
    """Name the user to whom the file belongs, if that is another one than runs this process."""
    try:
        uid = path.stat().st_uid
    except FileNotFoundError:
        return None
    return None if uid == os.geteuid() else user_name(uid)


def user_name(uid: int) -> str:
    """Name a user: ``www-data (uid 33)``."""
    import pwd  # a Windows machine must be able to import this module

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"the user with uid {uid}"


# Files beside the database. They stand beside its real path: containers that share a volume meet there.


def socket_path(database: Path) -> Path:
    """Give the path of the node's socket."""
    return beside(database, ".sock")


def lock_path(database: Path) -> Path:
    """Give the path of the file whose bytes the node, its workers and those that start a node lock."""
    return beside(database, ".lock")


def log_path(database: Path) -> Path:
    """Give the path of what the node logs while no application is there to tell."""
    return beside(database, ".log")


def beside(database: Path, ending: str) -> Path:
    """Give the path of a file that belongs to the database."""
    return database.with_name(database.name + ending)


@contextlib.contextmanager
def socket_address(database: Path) -> Generator[str]:
    """Give the address of the node's socket, also when its path is longer than addresses may be."""
    path = socket_path(database)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(database: Path, timeout: float) -> socket.socket:
    """Connect to the node's socket; `timeout`, in seconds, stays on the socket that is given.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        with socket_address(database) as address:
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


# Locks on single bytes of the lock file. The system releases them when the process ends, however it ends. A forked
# child has none of them. Closing any descriptor of the file would release all of a process, so it is opened once and
# never closed.

_descriptors: dict[Path, int] = {}
_IS_LINUX = sys.platform == "linux"
_FLOCK = struct.Struct("hhqqi" if _IS_LINUX else "qqihh")


def try_lock(database: Path, byte: int) -> bool:
    """Lock a byte; False when another process holds it."""
    import fcntl  # a Windows machine must be able to import this module

    try:
        fcntl.lockf(_lock_descriptor(database), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(database: Path, byte: int) -> None:
    """Unlock a byte."""
    import fcntl

    fcntl.lockf(_lock_descriptor(database), fcntl.LOCK_UN, 1, byte)


def lock_holder(database: Path, byte: int, count: int = 1) -> int | None:
    """Give the id of another process that holds one of these bytes, as far as this namespace knows it; else None."""
    import fcntl

    query = (fcntl.F_WRLCK, os.SEEK_SET, byte, count, 0) if _IS_LINUX else (byte, count, 0, fcntl.F_WRLCK, os.SEEK_SET)
    room = bytes(16)  # some systems have more fields than these
    answer = _FLOCK.unpack_from(fcntl.fcntl(_lock_descriptor(database), fcntl.F_GETLK, _FLOCK.pack(*query) + room))
    kind, pid = (answer[0], answer[4]) if _IS_LINUX else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


def lock_identity(database: Path) -> str:
    """Give what tells the lock file from all others, on this and other machines, until the machine starts anew."""
    found = os.fstat(_lock_descriptor(database))
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # not Linux
        machine = socket.gethostname()
    return f"{machine}:{found.st_dev}:{found.st_ino}"


def _lock_descriptor(database: Path) -> int:
    path = lock_path(database)
    known = _descriptors.get(path)
    if known is None or not _is_same_file(known, path):
        known = _descriptors[path] = open_private(str(path), str(path.parent))
    return known


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


# Starting our own processes


def package_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment with which a new interpreter finds this very package."""
    folder = str(Path(__file__).resolve().parents[2])
    if folder.endswith(("site-packages", "dist-packages")):
        return dict(environ)
    others = environ.get("PYTHONPATH", "").split(os.pathsep)
    return {**environ, "PYTHONPATH": os.pathsep.join([*filter(None, others), folder])}
