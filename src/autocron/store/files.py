"""The files beside a database: whose they are, how they are created, and where they must not be."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from autocron.errors import ConfigError, StoreError, StoreGone

Identity = tuple[int, int]  # device and inode
NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "sshfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("gfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "ncpfs", "davfs", "davfs2", "s3fs", "rclone"),
}


def identity(path: str) -> Identity | None:
    """Tell files apart even when they have the same name; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_unchanged(known: dict[str, Identity]) -> None:
    """Raise StoreGone when one of these files is not there any more, or is another one."""
    for path, before in known.items():
        if identity(path) != before:
            raise StoreGone(
                f"{path} was deleted or replaced while it was in use. Nothing more is written: it would be "
                "lost. Put the file back if you can, then restart all processes that use it."
            )


def open_private(path: str, like: str) -> int:
    """Open a file for reading and writing that only its owner may use; create it when it is missing.

    Args:
        path: the file; a symbolic link in its place is refused.
        like: whose owner a file gets that root creates, so that it doesn't lock out who it is for.
    """
    try:
        return create_private(path, like)
    except FileExistsError:
        pass
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path, error) from error


def create_private(path: str, like: str) -> int:
    """Create a file as open_private() does; FileExistsError when there is one."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unusable(path, error) from error
    os.fchmod(descriptor, 0o600)  # whatever the umask is
    if os.geteuid() == 0:
        owner = Path(like).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def check_suitable(path: str) -> None:
    """Refuse a place where a database would be damaged, or one that belongs to another user."""
    kind = file_system(path, mounts())
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigError(
            f"{path} is on a network file system ({kind}), where SQLite loses data. Put the database on a local disk, "
            "or use PostgreSQL, which several machines can share."
        )
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a file. Give the path of a database file.")
    if found.st_nlink > 1:
        raise ConfigError(
            f"{path} has {found.st_nlink} names (hard links). SQLite keeps a log beside each name, which damages the "
            "database. Remove the other names."
        )
    user = os.geteuid()
    if user not in (0, found.st_uid):
        raise ConfigError(
            f"{path} belongs to the user with uid {found.st_uid}, but this process runs as uid {user}. Run it as that "
            "user, or give it a database of its own."
        )


def file_system(path: str, mounts: str) -> str:
    """Give the type of the file system that holds a path, by the text of /proc/self/mountinfo."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of mounts on the same point the last is seen
            best, kind = len(point), source.split(" ")[0]
    return kind.removeprefix("fuse.")


def mounts() -> str:
    """Give the text of /proc/self/mountinfo; empty where there is none."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:  # not Linux
        return ""


def _unusable(path: str, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return ConfigError(
            f"{path} cannot be created: its folder does not exist. Create the folder or change the path."
        )
    if isinstance(error, PermissionError):
        return ConfigError(
            f"{path} cannot be opened by uid {os.geteuid()}: permission denied. Run as the owner, or change the path."
        )
    return StoreError(f"{path} cannot be opened: {error.strerror}. Repair what that says, then try again.")
