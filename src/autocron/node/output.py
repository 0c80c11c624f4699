"""The bounded file for output that no connected application can take."""

import contextlib
import os
from pathlib import Path

from autocron.store.paths import log_path

MAX_SIZE = 1 << 20  # bytes; then the file is kept once as .old and begun anew


class OutputLog:
    """Appends to the log beside the database. What cannot be written is dropped: output never stops a job."""

    def __init__(self, database: Path) -> None:
        self._path = log_path(database)
        self._descriptor: int | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append to the file."""
        with contextlib.suppress(OSError):
            if self._descriptor is None:
                self._open()
            if self._size > MAX_SIZE:
                self.close()
                self._path.replace(f"{self._path}.old")
                self._open()
            assert self._descriptor is not None
            self._size += os.write(self._descriptor, data)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size
