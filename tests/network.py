"""A network that fails when it is told to: a TCP proxy before a PostgreSQL server."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from enum import Enum
from urllib.parse import parse_qs, urlencode, urlsplit

READ_SIZE = 256 << 10
SEND_LIMIT = 5.0  # seconds that a peer may take to read
READY = b"Z\0\0\0\5"  # what the server says when it has done everything that it was told
RESET = struct.pack("ii", 1, 0)  # linger for no time: the peer gets no orderly end


class Fault(Enum):
    """What happens to one connection."""

    REQUEST_LOST = "it is cut before the server hears of this"
    ANSWER_LOST = "it is cut when the server has done this, before the answer"
    REQUEST_SILENT = "nothing passes any more, neither this"
    ANSWER_SILENT = "the server does this, and nothing passes any more"


class Proxy:
    """Forwards connections to a server, on a thread of its own.

    Args:
        url: of the server.

    Attributes:
        url: the way through here.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._target = query.pop("host", "") or (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        login, at, _ = parts.netloc.rpartition("@")
        host = f"{login}{at}127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"postgresql://{host}{parts.path}?{urlencode(query)}"
        self._links: list[_Link] = []
        self._traps: list[tuple[bytes, Fault, threading.Event]] = []
        self._is_down = self._is_stalled = self._is_closed = False
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    # Faults

    def trap(self, text: bytes, fault: Fault) -> threading.Event:
        """Do this to the first connection on which a client says `text`; the event is set then."""
        sprung = threading.Event()
        with self._lock:
            self._traps.append((text, fault, sprung))
        return sprung

    def cut(self) -> None:
        """End all connections without a word; new ones are forwarded."""
        with self._lock:
            for link in list(self._links):
                self._end(link)
        self._wake()

    def down(self) -> None:
        """End all connections, and every new one, until up()."""
        self._is_down = True
        self.cut()

    def stall(self) -> None:
        """Let nothing pass and accept everything, until up(): this side of the network only looks alive."""
        self._is_stalled = True
        self._wake()

    def up(self) -> None:
        """Forward again; what was kept back passes now."""
        self._is_down = self._is_stalled = False
        self._wake()

    def close(self) -> None:
        self._is_closed = True
        self._wake()
        self._thread.join()
        self.cut()
        for one in (self._listener, self._wake_read, self._wake_write):
            one.close()

    # The thread

    def _wake(self) -> None:
        self._wake_write.send(b"\0")

    def _run(self) -> None:
        while not self._is_closed:
            sources = {link.client: link for link in self._links} | {link.server: link for link in self._links}
            watched = [self._wake_read]
            if not self._is_stalled:
                watched += [self._listener, *(one for one, link in sources.items() if not link.is_silent)]
            try:
                ready = select.select(watched, [], [])[0]
            except (OSError, ValueError):  # one was closed by another thread just now
                continue
            with self._lock:
                self._serve(ready, sources)

    def _serve(self, ready: list[socket.socket], sources: dict[socket.socket, _Link]) -> None:
        for one in ready:
            if one is self._wake_read:
                one.recv(READ_SIZE)
            elif self._is_stalled:
                continue
            elif one is self._listener:
                self._accept()
            elif (link := sources[one]) in self._links and not self._forward(link, one):
                self._end(link)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(SEND_LIMIT)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_local = isinstance(self._target, str)
        server = socket.socket(socket.AF_UNIX if is_local else socket.AF_INET)
        link = _Link(client, server)
        self._links.append(link)
        if self._is_down:
            self._end(link)
            return
        try:
            server.settimeout(SEND_LIMIT)
            server.connect(f"{self._target}/.s.PGSQL.5432" if is_local else self._target)
        except OSError:
            self._end(link)

    def _end(self, link: _Link) -> None:
        self._links.remove(link)
        with contextlib.suppress(OSError):
            link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        link.client.close()
        link.server.close()

    def _forward(self, link: _Link, source: socket.socket) -> bool:
        """Pass on what has come; False when the connection is to end."""
        try:
            data = source.recv(READ_SIZE)
            if not data:
                return False
            if source is link.server:
                return self._answer(link, data)
            link.fault = link.fault or self._spring(data)
            link.is_silent = link.fault is Fault.REQUEST_SILENT
            if link.fault in (Fault.REQUEST_LOST, Fault.REQUEST_SILENT):
                return link.is_silent
            link.server.sendall(data)
        except OSError:
            return False
        return True

    @staticmethod
    def _answer(link: _Link, data: bytes) -> bool:
        if link.fault is None:
            link.client.sendall(data)
            return True
        link.is_silent = link.fault is Fault.ANSWER_SILENT
        return link.is_silent or READY not in data

    def _spring(self, data: bytes) -> Fault | None:
        for trap in self._traps:
            text, fault, sprung = trap
            if text in data:
                self._traps.remove(trap)
                sprung.set()
                return fault
        return None


class _Link:
    """One connection of a client."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.fault: Fault | None = None
        self.is_silent = False
