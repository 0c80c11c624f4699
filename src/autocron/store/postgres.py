"""The store on PostgreSQL: statements run on connections that are lent by a pool."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from functools import partial
from socket import gethostname
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from autocron.errors import ConfigError, StoreError
from autocron.store.base import Store, load_statements
from autocron.store.driver import CALL_LIMIT, Conflict, Parameters, Step, T
from autocron.store.moved import check_moved, marker_query
from autocron.store.placing import columns
from autocron.store.postgres_url import name, schema_of

try:
    from autocron.store.postgres_connection import (
        ERRORS,
        Connection,
        ConnectionLost,
        Explainer,
        Kind,
        StoredBefore,
        connect,
    )
    from autocron.store.postgres_given import find_connection
    from autocron.store.postgres_joining import Joined
    from autocron.store.postgres_open import ensure_schema
    from autocron.store.postgres_pool import Lender, Pool
    from autocron.store.postgres_statement import Statement, Transaction, run_alone, run_together
    from autocron.store.postgres_transaction import Statements, by_cursors
except ImportError as error:
    raise ConfigError(
        f"PostgreSQL needs a driver that is not installed ({error}): pip install 'autocron[postgres]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import psycopg

    from autocron.model import NewJob
    from autocron.store.rows import Row

    Cursor = psycopg.Cursor[tuple[Any, ...]]

NOTICE_EVERY = 0.005  # seconds; each takes a lock that all who commit with one share
PAUSE = 0.05  # seconds before a lost connection is made again, from the second time on
APPLICATION_CONNECTIONS = 8  # of one process; a thread that needs one waits for another to give its back
_CLOCK = "coalesce(%(clock)s::float8, extract(epoch from statement_timestamp())::float8)"
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON; PostgreSQL's texts cannot hold it


def open_store(address: str) -> Store:
    """Give the store of an application or worker: it needs nothing of a session, so pgbouncer may stand between."""
    return Store(PostgresDriver(address, Kind.APPLICATION, APPLICATION_CONNECTIONS), gethostname())


def open_node_store(address: str) -> Store:
    """Give the store of a node, on one connection."""
    return Store(PostgresDriver(address, Kind.NODE, 1), gethostname())


def statements(file: str, schema: str) -> dict[str, bytes]:
    """Give the statements of a file by their names, for this schema."""
    texts = load_statements(file).items()
    return {name: text.replace("{clock}", _CLOCK).replace("{schema}", schema).encode() for name, text in texts}


class PostgresDriver:
    """Runs the statements on a PostgreSQL database.

    Args:
        address: the canonical URL.
        kind: what the connections are for.
        connections: how many there may be, or who lends the one that there is.
        own_time: take the time of the database; without it what is handed in as ``now`` counts, as tests need it.
    """

    is_remote = True

    def __init__(self, address: str, kind: Kind, connections: int | Lender, *, own_time: bool = True) -> None:
        self._schema = schema_of(address)
        self._own_time = own_time
        self._is_ready = False
        self._is_node = kind is Kind.NODE
        self._explainer = Explainer(address, name(address))
        self._lender: Lender
        if isinstance(connections, int):
            connect = partial(self._connect, address, kind)
            self._lender = Pool(connect, connections, self._explainer.name)
        else:
            self._lender = connections
        self._statements = statements("postgres", self._schema) | statements("postgres_nodes", self._schema)
        self._cursorless: dict[str, Statement] = {}
        self._next_notice = 0.0
        self._database = ""  # as it says what it is

    def read(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that changes nothing."""
        return self._persist(CALL_LIMIT, lambda connection: self._execute(connection, name, parameters).fetchall())

    def insert(self, job: NewJob, limit: float) -> bool:
        """Keep a call that waits for nothing but a worker; False when the autocron lock is on."""
        values = dict(self._completed(columns(job)))
        stored = self._persist(
            limit,
            lambda connection: run_alone(connection, self._without_cursor("insert"), values),
            committing=True,
            stored_before=1,
        )
        return stored == 1

    def write(self, name: str, parameters: Parameters, limit: float) -> int:
        """Run one changing statement in a transaction of its own; give the number of changed rows."""
        return self._persist(
            limit, lambda connection: self._execute(connection, name, parameters).rowcount, committing=True
        )

    def batch(self, steps: Sequence[Step], read: Callable[[list[list[Row]]], T]) -> T:
        """Run statements as one transaction, in one round trip; what PostgreSQL stores `read` can always read."""
        statements = [(self._without_cursor(name), self._completed(values)) for name, values in steps]
        with self._lend(CALL_LIMIT, committing=True) as connection:
            return read(run_together(connection, statements))

    @contextmanager
    def transaction(self, limit: float = CALL_LIMIT) -> Generator[Statements]:
        """Run several statements as one; nothing of it is kept when the block raises."""
        with self._lend(limit, committing=True) as connection:
            if self._is_node:
                with self._prepared(connection) as statements:
                    yield statements
            else:  # pgbouncer may stand between
                with connection.transaction():
                    yield Statements(by_cursors(connection.pipeline, partial(self._execute, connection)))

    @contextmanager
    def _prepared(self, connection: Connection) -> Generator[Statements]:
        """Run statements that this session knows; the beginning of the transaction is no round trip of its own."""
        transaction = Transaction(connection)

        def run_steps(steps: Iterable[Step]) -> list[list[Row]]:
            return transaction.run([(self._without_cursor(name), self._completed(values)) for name, values in steps])

        try:
            yield Statements(run_steps)
        except BaseException:
            transaction.roll_back()
            raise
        transaction.commit()

    def join(self, connection: Any) -> Joined | None:
        """Take a place in the transactions of the caller's connection; None when it leads to another database.

        Raises:
            ConfigError: it leads to PostgreSQL in a way that nobody else can use.
        """
        found = find_connection(connection)
        if found is None:
            return None
        joined = Joined(connection, found, self._statement, self._schema, self._explainer)
        if joined.database != self._database:  # or the server has been started again
            ((self._database, *_),) = self.read("whereabouts")
        return joined if joined.database == self._database else None

    def tell_nodes(self) -> None:
        """Notify the nodes, unless that was done just now: they look a second time a little later."""
        now = monotonic()
        if now >= self._next_notice:
            self._next_notice = now + NOTICE_EVERY
            with suppress(StoreError):  # they look by themselves, too
                self.read("notify", {"schema": self._schema, "text": "call"})

    def changed(self) -> bool:
        """Has somebody changed the database? Nothing tells: look."""
        return True

    def check(self) -> None:
        """There are no files that could be replaced."""

    def sync(self) -> None:
        """What is committed is safe already."""

    def checkpoint(self) -> int:
        """The server does that."""
        return 0

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        self._lender.close()

    def _persist(
        self, limit: float, work: Callable[[Connection], T], *, committing: bool = False, stored_before: T | None = None
    ) -> T:
        """Run what may run twice; again when the connection is lost or others were in the way, until the limit."""
        deadline, pause, is_unsure = monotonic() + limit, 0.0, False
        while True:
            try:
                with self._lend(deadline - monotonic(), committing=committing) as connection:
                    return work(connection)
            except StoreError as error:
                if is_unsure and stored_before is not None and isinstance(error, StoredBefore):
                    return stored_before
                is_unsure = error.maybe_stored = is_unsure or error.maybe_stored
                may_help = self._is_ready and isinstance(error, (ConnectionLost, Conflict))
                # A node tries again by itself, and does other things meanwhile.
                if not may_help or (pause and self._is_node) or monotonic() + pause >= deadline:
                    raise
            sleep(pause)
            pause = PAUSE

    def _execute(self, connection: Connection, name: str, parameters: Parameters) -> Cursor:
        return connection.execute(*self._statement(name, parameters))

    def _statement(self, name: str, parameters: Parameters) -> tuple[bytes, Parameters]:
        return self._statements[name], self._completed(parameters)

    def _without_cursor(self, name: str) -> Statement:
        if name not in self._cursorless:
            self._cursorless[name] = Statement(name, self._statements[name])
        return self._cursorless[name]

    def _completed(self, parameters: Parameters) -> Parameters:
        if not isinstance(parameters, dict):
            return parameters
        values: dict[str, Any] = dict(parameters)
        values["clock"] = None if self._own_time else values.get("now", values.get("created_at"))
        batch: str = values.get("batch", "")
        if "\\u0000" in batch:
            values["batch"] = _NUL.sub(r"\1\\ufffd", batch)
        return values

    @contextmanager
    def _lend(self, limit: float, *, committing: bool = False) -> Generator[Connection]:
        is_used = False
        try:
            with self._lender.lend(limit) as connection:
                is_used = True
                yield connection
        except ERRORS as error:
            raise self._explainer.explain(error, committing=committing and is_used) from error

    def _connect(self, address: str, kind: Kind, deadline: float) -> Connection:
        connection = connect(address, kind, deadline)
        if not self._is_ready:
            try:
                ensure_schema(connection, self._schema, self._explainer.name)
                marker = connection.execute(marker_query(f"{self._schema}.").encode()).fetchall()
                check_moved(marker, self._explainer.name)
            except BaseException:
                connection.close()
                raise
            self._is_ready = True
        return connection
