"""Writing what tasks have printed to the application's own terminal, without ever waiting for it."""

import atexit
import os
import select
import sys
import threading
from collections import deque

from autocron.log import logger

MAX_PENDING = 1 << 20  # bytes
EXIT_LIMIT = 1.0  # seconds that the end of the process waits for the last output


class Terminal:
    """A thread that writes to the standard streams; what comes too fast is dropped and counted."""

    def __init__(self) -> None:
        self._pending: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._dropped = 0
        self._failed = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, stream: int, data: bytes) -> None:
        """Take this for stream 1 or 2; returns at once."""
        with self._changed:
            if self._closed or self._size + len(data) > MAX_PENDING:
                self._dropped += len(data)
                return
            if self._dropped:
                self._add(2, f"[autocron: {self._dropped} bytes of output dropped]\n".encode())
                self._dropped = 0
            self._add(stream, data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="autocron-terminal", daemon=True)
                self._thread.start()
                atexit.register(self._close_at_exit, os.getpid())
            self._changed.notify_all()

    def _add(self, stream: int, data: bytes) -> None:
        self._pending.append((stream, data))
        self._size += len(data)

    def close(self, limit: float) -> None:
        """Write what is left, for at most `limit` seconds, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._size == 0, limit)

    def _close_at_exit(self, pid: int) -> None:
        if pid == os.getpid():  # a forked child has no such thread, and perhaps a lock that nobody will release
            self.close(EXIT_LIMIT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if not self._pending:
                    return
                stream, data = self._pending.popleft()
            self._write(stream, data)
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()

    def _write(self, stream: int, data: bytes) -> None:
        try:
            _write_all(_descriptor(stream), data)
        except (OSError, ValueError) as error:
            if not self._failed:
                self._failed = True
                logger.warning("what tasks print can't be written to this application's terminal: %s", error)


def _descriptor(stream: int) -> int:
    file = sys.__stdout__ if stream == 1 else sys.__stderr__
    if file is None:
        raise ValueError("there is none")
    return file.fileno()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody has made the terminal non-blocking
            select.select([], [descriptor], [], 1.0)
