"""A node among others on the same PostgreSQL database: it shows that it lives, and says what it has to say."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from autocron.store.base import Store
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_listener import Listener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autocron.store.postgres_connection import Connection

SILENCE = 5.0  # seconds without a heartbeat after which a node is dead if its session has ended, too
LEASE = 15.0  # seconds without a heartbeat after which a node is dead in any case
MAX_UUIDS = 200  # in one notification, which takes 8000 bytes at most


class Membership(Listener):
    """What a node does on its second connection, on which it listens.

    Args:
        address: the canonical URL.
        place: what no other living node has: the lock of this machine's files.

    Attributes:
        store: on this connection.
    """

    def __init__(self, address: str, place: str) -> None:
        super().__init__(address)
        self._place = place
        self.store = Store(PostgresDriver(address, Kind.NODE, self), socket.gethostname())
        self._holds_for: Connection | None = None  # the session whose lock says that this node lives
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
        if self._holds_for is not self._connection and self._run("hold", {}) == [(True,)]:
            self._holds_for = self._connection
        return lives

    def bury(self) -> list[str]:
        """Declare nodes dead that are; say which."""
        dead = self._run("bury", {"lease": LEASE, "silence": SILENCE})
        return [f"{pid} on {host}" for host, pid in dead]

    def declare(self, declared: str) -> list[tuple[str, str]]:
        """Show the others what the code declares; give who declares something else, and what."""
        self._run("declared", {"declared": declared})
        rows = self._run("declared_by_others", {"declared": declared})
        return [(f"{pid} on {host}", theirs) for host, pid, theirs in rows]

    def leave(self) -> None:
        """End in order: nothing is held any more."""
        if self.node is not None:
            self._run("leave", {})

    def tell_done(self, uuids: Sequence[str]) -> None:
        """Tell those who wait elsewhere that these jobs have come to their end."""
        for start in range(0, len(uuids), MAX_UUIDS):
            self.tell(f"done {','.join(uuids[start : start + MAX_UUIDS])}")

    def _execute(self, name: str, parameters: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        return super()._execute(name, {"node": self.node, **parameters})
