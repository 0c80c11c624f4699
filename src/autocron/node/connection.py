"""A connected application: its messages in, frames for it out, never waiting for it."""

import contextlib
import os
import socket
import struct

from autocron import wire

READ_SIZE = 64 << 10
MAX_PENDING = 1 << 20  # bytes that wait for an application that does not read


class AppConnection:
    """One connection of an application, or of somebody who only asks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.hello: wire.Hello | None = None
        self.accepted = False
        self.leaving = False
        self.dropped = 0
        self.watched_for_writes = False
        self._reader = wire.FrameReader(wire.FromApp)
        self._pending = bytearray()

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self.socket.fileno()

    def receive(self) -> list[wire.FromApp] | None:
        """Give the messages that have come; None at the end of the stream.

        Raises:
            WireError: what came is not of this protocol.
        """
        try:
            data = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._reader.feed(data) if data else None

    def send(self, message: wire.FromNode) -> None:
        """Send as much as goes without waiting; the rest goes with flush(). Output beyond the bound is dropped."""
        if isinstance(message, wire.Output | wire.Log) and len(self._pending) > MAX_PENDING:
            self.dropped += len(message.data if isinstance(message, wire.Output) else message.text)
            return
        if self.dropped:
            lost, self.dropped = self.dropped, 0
            self._pending += wire.frame(wire.Output(2, f"[autocron: {lost} bytes of output dropped]\n".encode()))
        self._pending += wire.frame(message)
        self.flush()

    def flush(self) -> None:
        """Send what waits, without waiting."""
        with contextlib.suppress(BlockingIOError, OSError):
            while self._pending:
                sent = self.socket.send(self._pending)
                del self._pending[:sent]

    @property
    def wants_to_write(self) -> bool:
        """Is there something that could not be sent yet?"""
        return bool(self._pending)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def is_own_user(sock: socket.socket) -> bool:
    """Is the peer this user, or root? Where the system does not tell, the socket file's mode protects."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))
    return uid in (0, os.geteuid())
