"""A node among others on the same PostgreSQL database: it shows that it lives, and hears what others say."""

from __future__ import annotations

import os
import select
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from autocron.store.postgres import statements
from autocron.store.postgres_connection import ERRORS, Connection, Explainer, Kind, connect
from autocron.store.postgres_url import name, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SILENCE = 5.0  # seconds without a heartbeat after which a node is dead if its session has ended, too
LEASE = 15.0  # seconds without a heartbeat after which a node is dead in any case
LIMIT = 3.0  # seconds for each thing that is said: well below the lease, so that silence is noticed in time
MAX_UUIDS = 200  # in one notification, which takes 8000 bytes at most


class Membership:
    """What a node does on its second connection, on which it listens. One thread uses it.

    Every method may raise StoreError; the next one connects again then.

    Args:
        address: the canonical URL.
        place: what no other living node has: the lock of this machine's files.
    """

    def __init__(self, address: str, place: str) -> None:
        self._address = address
        self._place = place
        self._schema = schema_of(address)
        self._explainer = Explainer(address, name(address))
        self._statements = statements("postgres_nodes", self._schema)
        self._connection: Connection | None = None
        self._holds = False  # the lock that says so while this session lives
        self._heard: list[str] = []
        self.node: int | None = None  # the number under which the others know it

    def join(self) -> int:
        """Begin as a new node; give its number."""
        parameters = {"place": self._place, "host": socket.gethostname(), "pid": os.getpid()}
        self.close()  # and with it the lock of whom it was before
        ((self.node,),) = self._run("join", parameters)
        assert self.node is not None
        return self.node

    def beat(self) -> bool:
        """Say that this node lives; False when the others have declared it dead."""
        lives = self._execute("beat", {})[1] == 1
        if not self._holds:
            ((self._holds,),) = self._run("hold", {})
        return lives

    def bury(self) -> list[str]:
        """Declare nodes dead that are; say which."""
        dead = self._run("bury", {"lease": LEASE, "silence": SILENCE})
        return [f"{pid} on {host}" for host, pid in dead]

    def leave(self) -> None:
        """End in order: nothing is held any more."""
        if self.node is not None:
            self._run("leave", {})

    def listen(self, waker: int, seconds: float) -> list[str]:
        """Wait until somebody says something or the descriptor `waker` can be read, for so many seconds at most."""
        connection = self._connected()
        try:
            if not self._heard and _wait([connection.fileno(), waker], seconds):
                connection.pgconn.consume_input()
                while said := connection.pgconn.notifies():
                    self._hear(said.be_pid, said.extra.decode())
        except (*ERRORS, OSError, ValueError) as error:
            self.close()
            raise self._explainer.explain(error) from error
        heard, self._heard = self._heard, []
        return heard

    def tell(self, text: str) -> None:
        """Say something to all others."""
        self._run("notify", {"text": text})

    def tell_done(self, uuids: Sequence[str]) -> None:
        """Tell those who wait elsewhere that these jobs have come to their end."""
        for start in range(0, len(uuids), MAX_UUIDS):
            self.tell(f"done {','.join(uuids[start : start + MAX_UUIDS])}")

    def wait_for(self, uuids: Iterable[str]) -> None:
        """Have whoever ends these jobs tell it."""
        self._run("await", {"uuids": msgspec.json.encode(list(uuids)).decode()})

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = connection = connect(self._address, Kind.LISTENER, monotonic() + LIMIT)
                connection.add_notify_handler(lambda said: self._hear(said.pid, said.payload))
                connection.execute(f"listen {self._schema}".encode())
                self._holds = False
            except ERRORS as error:
                self.close()
                raise self._explainer.explain(error) from error
        return self._connection

    def _hear(self, sender: int, text: str) -> None:
        if self._connection is not None and sender != self._connection.info.backend_pid:
            self._heard.append(text)

    def _run(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._execute(name, parameters)[0]

    def _execute(self, name: str, parameters: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        connection = self._connected()
        connection.deadline = monotonic() + LIMIT
        values = {"schema": self._schema, "node": self.node, "clock": None, **parameters}
        try:
            cursor = connection.execute(self._statements[name], values)
            return (cursor.fetchall() if cursor.description else []), cursor.rowcount
        except ERRORS as error:
            self.close()
            raise self._explainer.explain(error) from error


def _wait(descriptors: list[int], seconds: float) -> bool:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
