"""A look at a PostgreSQL server that changes nothing: the server, the schema, and what others do to both."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from autocron.store.moved import check_moved, marker_query
from autocron.store.postgres import statements
from autocron.store.postgres_connection import ERRORS, Connection, Explainer, Kind, connect
from autocron.store.postgres_open import check_version, latest_version, schema_version
from autocron.store.postgres_url import name, schema_of

LIMIT = 10.0  # seconds for all of it


@dataclass(frozen=True)
class Member:
    """A node of any machine."""

    host: str
    pid: int
    silence: float  # seconds since its last heartbeat
    declared: str  # by its code


@dataclass(frozen=True)
class Holder:
    """What keeps dead rows from being removed.

    Attributes:
        kind: a transaction, a prepared one, or a replication slot.
        pid: its process; None: it has none.
        name: of the application, the transaction or the slot.
        seconds: how old it is; None: unknown, or this user may not see it.
        age: how many transactions have begun since.
    """

    kind: str
    pid: int | None
    name: str
    seconds: float | None
    age: int


@dataclass(frozen=True)
class Tables:
    """What was found in the schema and about it."""

    members: list[Member]
    holders: list[Holder]
    dead: int
    living: int
    vacuumed: float | None  # seconds ago; None: never
    autovacuum: bool
    connections: int
    max_connections: int


@dataclass(frozen=True)
class ServerHealth:
    """What was found.

    Attributes:
        server: its version, as a number such as 180001.
        tls: this session is encrypted.
        local: it does not leave this machine.
        pooled: something such as pgbouncer stands between.
        role: what this user may do: "owner", "node", "application", "read-only", "" for nothing, None without tables.
        version: of the schema; 0: there is none; None: this user may not see it.
        latest: the version that this autocron knows.
        tables: None where they cannot be looked at.
    """

    server: int
    tls: bool
    local: bool
    pooled: bool
    role: str | None
    version: int | None
    latest: int
    tables: Tables | None


def look_into(address: str) -> ServerHealth:
    """Look at the server and the schema of a canonical URL.

    Raises:
        StoreError: it cannot be used; the kind and the text are those that an application would get.
    """
    explainer = Explainer(address, name(address))
    try:
        with connect(address, Kind.ADMIN, monotonic() + LIMIT) as connection:
            return _Look(connection, schema_of(address), explainer.name).run()
    except ERRORS as error:
        raise explainer.explain(error) from error


class _Look:
    def __init__(self, connection: Connection, schema: str, name: str) -> None:
        self._connection = connection
        self._schema = schema
        self._name = name
        self._statements = statements("postgres_health", schema)

    def run(self) -> ServerHealth:
        ((server, tls, local),) = self._read("server")
        role = _role(self._read("rights"))
        version = tables = None
        if role is None:
            version = 0
        elif role:
            version = schema_version(self._connection, self._schema)
            check_version(version, self._name)
            check_moved(self._connection.execute(marker_query(f"{self._schema}.").encode()).fetchall(), self._name)
            tables = self._tables()
        pooled = not self._connection.is_direct
        return ServerHealth(server, tls, local, pooled, role, version, latest_version(), tables)

    def _tables(self) -> Tables:
        members = [Member(*row) for row in self._read("members")]
        holders = [Holder(*row) for row in self._read("horizon")]
        ((dead, living, vacuumed, autovacuum),) = self._read("vacuum")
        ((connections, most),) = self._read("connections")
        return Tables(members, holders, dead, living, vacuumed, autovacuum, connections, most)

    def _read(self, statement: str) -> list[tuple[Any, ...]]:
        values = {"schema": self._schema, "clock": None}
        return self._connection.execute(self._statements[statement], values).fetchall()


def _role(rows: list[tuple[Any, ...]]) -> str | None:
    if not rows:
        return None
    *more, reads = rows[0]
    if not reads:
        return ""
    names = ("owner", "node", "application")
    return next((role for role, may in zip(names, more, strict=True) if may), "read-only")
