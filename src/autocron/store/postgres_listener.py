"""A connection on which those who share a PostgreSQL database hear what others say."""

from __future__ import annotations

import select
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.pq import TransactionStatus

from autocron.store.postgres import statements
from autocron.store.postgres_connection import ERRORS, Connection, Explainer, Kind, connect
from autocron.store.postgres_pool import leave_to_parent
from autocron.store.postgres_url import name, schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

LIMIT = 3.0  # seconds for each thing that is said: well below the lease, so that silence is noticed in time


class Listener:
    """Hears the news. One thread uses it.

    Every method may raise StoreError; the next one connects again then.

    Args:
        address: the canonical URL.

    Attributes:
        hears: this connection has brought something that was said on it; through pgbouncer nothing would come.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._schema = schema_of(address)
        self._explainer = Explainer(address, name(address))
        self._statements = statements("postgres_nodes", self._schema)
        self._connection: Connection | None = None
        self._heard: list[str] = []
        self.hears = False

    @contextmanager
    def lend(self, limit: float) -> Generator[Connection]:
        """Lend the connection for a block that may take `limit` seconds, though not long enough to seem dead."""
        connection = self._connected()
        connection.deadline = monotonic() + min(limit, LIMIT)
        try:
            yield connection
        finally:
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                self.close()

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

    def wait_for(self, uuids: Iterable[str]) -> list[str]:
        """Have whoever ends these jobs tell it; give those that another transaction holds: it is to be said again."""
        return [uuid for (uuid,) in self._run("await", {"uuids": msgspec.json.encode(list(uuids)).decode()})]

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self.hears = False
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """Leave the connection to the parent of this forked child."""
        connection, self._connection = self._connection, None
        if connection is not None:
            leave_to_parent(connection)

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = connection = connect(self._address, Kind.LISTENER, monotonic() + LIMIT)
                connection.add_notify_handler(lambda said: self._hear(said.pid, said.payload))
                connection.execute(f"listen {self._schema}".encode())
            except ERRORS as error:
                self.close()
                raise self._explainer.explain(error) from error
        return self._connection

    def _hear(self, sender: int, text: str) -> None:
        if self._connection is None:
            return
        if sender == self._connection.info.backend_pid:
            self.hears = True
        else:
            self._heard.append(text)

    def _run(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._execute(name, parameters)[0]

    def _execute(self, name: str, parameters: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        connection = self._connected()
        connection.deadline = monotonic() + LIMIT
        values = {"schema": self._schema, "clock": None, **parameters}
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
