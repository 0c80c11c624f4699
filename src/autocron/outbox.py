"""The ends of jobs that a worker has not sent yet, in memory that the node sees, too.

Ends are sent together, but no worker takes those of its last millisecond to its grave, and a job that runs for long
does not keep back those of the jobs before it: the node reads them here.
"""

import mmap
import os
import struct
import tempfile

_SIZE = 64 << 10  # bytes
_HEAD = struct.Struct("<QQ")  # how many were sent before; bytes that are used
_LENGTH = struct.Struct("<I")


def create() -> int:
    """Give the descriptor of an empty outbox."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("autocron-outbox")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, _SIZE)
    return descriptor


class Outbox:
    """An outbox, on either side.

    Args:
        descriptor: as create() gives it; it may be closed afterwards.

    Attributes:
        sent: how many ends were in it and have been sent, for the side that sends.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self.sent = 0
        self._used = 0

    def add(self, body: bytes) -> bool:
        """Add an end; False when there is no place for it."""
        start = _HEAD.size + self._used
        end = start + _LENGTH.size + len(body)
        if end > _SIZE:
            return False
        _LENGTH.pack_into(self._memory, start, len(body))
        self._memory[start + _LENGTH.size : end] = body
        self._used = end - _HEAD.size
        _HEAD.pack_into(self._memory, 0, self.sent, self._used)  # last, so that what is seen is complete
        return True

    def clear(self, count: int) -> None:
        """Forget those that are in it: they were sent."""
        self.sent += count
        self._used = 0
        _HEAD.pack_into(self._memory, 0, self.sent, 0)

    def read(self) -> tuple[int, list[bytes]]:
        """Give how many ends were sent before, and those that are in it; none when they are being sent just now."""
        head = sent, used = _HEAD.unpack_from(self._memory, 0)
        bodies = list[bytes]()
        start, end = _HEAD.size, _HEAD.size + used
        while start < end:
            (length,) = _LENGTH.unpack_from(self._memory, start)
            start += _LENGTH.size + length
            bodies.append(self._memory[start - length : start])
        return sent, bodies if _HEAD.unpack_from(self._memory, 0) == head else []

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
