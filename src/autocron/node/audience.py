"""The connected applications: who is there, what is sent to whom, who waits for which job."""

import contextlib
import logging
import selectors
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable

from autocron import wire
from autocron.node.connection import AppConnection, is_own_user
from autocron.node.output import OutputLog
from autocron.terminal import Terminal

Handler = Callable[[AppConnection, wire.FromApp], None]


class Audience:
    """All connections to this node.

    Args:
        listener: the node's socket.
        selector: where the sockets are watched; the data of a key is called when it is ready.
        log_file: takes what no application can take.
        handle: called with each message.
        gone: called when a connection has ended.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        log_file: OutputLog,
        handle: Handler,
        gone: Callable[[AppConnection], None],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._log_file = log_file
        self._handle = handle
        self._gone = gone
        self._connections: set[AppConnection] = set()
        self._subscribers: dict[str, set[AppConnection]] = defaultdict(set)
        self.on_terminal = False  # output goes to this process's own, not to an application
        self._terminal = Terminal()
        selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def apps(self) -> list[AppConnection]:
        """The applications for which this node works."""
        return [app for app in self._connections if app.accepted]

    @property
    def refused(self) -> list[AppConnection]:
        """The applications whose program is another one."""
        return [app for app in self._connections if app.hello and not app.accepted]

    def pids(self) -> list[int]:
        """Give the process ids of all applications."""
        return [app.hello.pid for app in self._connections if app.hello]

    def send(self, app: AppConnection, message: wire.FromNode) -> None:
        """Send without waiting."""
        app.send(message)
        self._watch_writes(app)

    def tell_all(self, message: wire.FromNode) -> None:
        """Send to every connection."""
        for app in list(self._connections):
            self.send(app, message)

    def log(self, level: int, text: str) -> None:
        """Tell one application something for its log."""
        self._deliver(wire.Log(level, text), 2, f"{logging.getLevelName(level)} {text}\n".encode())

    def show(self, stream: int, data: bytes) -> None:
        """Show what a task has printed on the terminal of one application."""
        self._deliver(wire.Output(stream, data), stream, data)

    def _deliver(self, message: wire.FromNode, stream: int, plain: bytes) -> None:
        if self.on_terminal:
            self._terminal.write(stream, plain)
            return
        app = next((app for app in self.apps if not app.leaving), None)
        if app is None:
            self._log_file.write(plain)
        else:
            self.send(app, message)

    # Who waits for which job

    def subscribe(self, app: AppConnection, uuid: str) -> None:
        """Note that an application waits for this job."""
        self._subscribers[uuid].add(app)

    def unsubscribe(self, app: AppConnection, uuid: str) -> None:
        """Note that it does not any more."""
        self._subscribers[uuid].discard(app)
        if not self._subscribers[uuid]:
            del self._subscribers[uuid]

    def awaited(self, uuids: Iterable[str]) -> list[str]:
        """Give those of the jobs that somebody waits for."""
        return [uuid for uuid in uuids if uuid in self._subscribers]

    @property
    def all_awaited(self) -> list[str]:
        """Every job that somebody waits for."""
        return list(self._subscribers)

    def tell_done(self, uuids: Iterable[str]) -> None:
        """Tell those who wait for these jobs that they have come to their end."""
        for uuid in uuids:
            for app in self._subscribers.pop(uuid, ()):
                self.send(app, wire.Done(uuid))

    # Connections

    def close(self) -> None:
        """End all streams."""
        for app in self._connections:
            app.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if not is_own_user(sock):
                self.log(logging.ERROR, "a process of another user tried to connect to this node and was refused")
                sock.close()
                return
            app = AppConnection(sock)
            self._connections.add(app)
            self._selector.register(app, selectors.EVENT_READ, lambda: self._receive(app))

    def _receive(self, app: AppConnection) -> None:
        app.flush()
        try:
            messages = app.receive()
        except wire.WireError:
            messages = None
        if messages is None:
            self._end(app)
            return
        for message in messages:
            self._handle(app, message)
        self._watch_writes(app)

    def _end(self, app: AppConnection) -> None:
        self._selector.unregister(app)
        self._connections.discard(app)
        app.close()
        for uuid in [uuid for uuid, apps in self._subscribers.items() if app in apps]:
            self.unsubscribe(app, uuid)
        self._gone(app)

    def _watch_writes(self, app: AppConnection) -> None:
        """Watch for room to write exactly as long as something waits to be written."""
        if app in self._connections and app.wants_to_write != app.watched_for_writes:
            app.watched_for_writes = app.wants_to_write
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if app.wants_to_write else 0)
            self._selector.modify(app, events, lambda: self._receive(app))
