"""A side of a move that is a schema in a PostgreSQL database."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg import sql

from autocron.errors import MoveRefused, StoreBusy
from autocron.store.move_end import OWN_COLUMNS, OWN_TABLES, End, Row, Table
from autocron.store.postgres import statements
from autocron.store.postgres_connection import ERRORS, Explainer, Kind, connect
from autocron.store.postgres_nodes import LEASE, SILENCE
from autocron.store.postgres_open import ensure_schema
from autocron.store.postgres_url import name, schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

CONNECT_LIMIT = 10.0  # seconds
LIMIT = 300.0  # seconds for one statement: some read or empty whole tables
_LOCK_LIMIT = "10s"  # for others that have changed something and not committed yet
_COLUMNS = """
    select t.relname, a.attname, a.attidentity <> '', array_position(i.indkey::int2[], a.attnum)
    from pg_class t
    join pg_namespace n on n.oid = t.relnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    left join pg_index i on i.indrelid = t.oid and i.indisprimary
    where n.nspname = %(schema)s and t.relkind = 'r' order by t.relname, a.attnum
"""


class PostgresEnd(End):
    """A schema; it is created when it is missing."""

    slot = "%s"

    def __init__(self, address: str) -> None:
        super().__init__(name(address))
        self._schema = schema_of(address)
        self.prefix = f"{self._schema}."
        self._explainer = Explainer(address, self.name)
        self._bury = statements("postgres_nodes", self._schema)["bury"]
        try:
            self._connection = connect(address, Kind.ADMIN, monotonic() + CONNECT_LIMIT)
            ensure_schema(self._connection, self._schema, self.name)
            self._connection.execute(f"set lock_timeout = '{_LOCK_LIMIT}'".encode())
        except ERRORS as error:
            raise self._explainer.explain(error) from error

    def run(self, statement: str, parameters: Any = ()) -> list[Row]:
        """Run a statement."""
        self._connection.deadline = monotonic() + LIMIT
        try:
            cursor = self._connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []
        except ERRORS as error:
            raise self._explainer.explain(error) from error

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Store rows."""
        names = ", ".join(f'"{name}"' for name in table.columns)
        try:
            with self._connection.cursor().copy(
                f"copy {self.prefix}{table.name} ({names}) from stdin".encode()
            ) as copy:
                for row in rows:
                    copy.write_row(row)
        except ERRORS as error:
            raise self._explainer.explain(error) from error

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Run what is in the block as one."""
        try:
            with self._connection.transaction():
                yield
        except ERRORS as error:
            raise self._explainer.explain(error, committing=True) from error

    def tables(self) -> dict[str, Table]:
        """Give what there is to move."""
        columns: dict[str, list[str]] = {}
        keys: dict[str, list[tuple[int, str]]] = {}
        for table, column, _, place in self.run(_COLUMNS, {"schema": self._schema}):
            if table not in OWN_TABLES and (table, column) not in OWN_COLUMNS:
                columns.setdefault(table, []).append(column)
                keys.setdefault(table, []).extend([(place, column)] if place is not None else [])
        return {table: Table(table, names, [c for _, c in sorted(keys[table])]) for table, names in columns.items()}

    def fit(self, value: Any) -> Any:
        """Give a value as PostgreSQL stores it: its texts cannot hold NUL. Truth is compared as 1 or 0."""
        if isinstance(value, bool):
            return int(value)
        return value.replace("\0", "\ufffd") if isinstance(value, str) else value

    def hold(self) -> str:
        """Keep other moves away; nodes cannot join what is frozen."""
        self.run(
            self._bury.decode(), {"node": 0, "lease": LEASE, "silence": SILENCE, "clock": None, "schema": self._schema}
        )
        if nodes := self.run(f"select pid, host from {self.prefix}nodes"):
            return ", ".join(f"node {pid} on {host}" for pid, host in nodes)
        ((is_held,),) = self.run("select pg_try_advisory_lock(hashtextextended(%s, 0))", (f"move {self._schema}",))
        return "" if is_held else "another move"

    def refuse_changes(self, notice: str) -> None:
        """Let triggers refuse them, after the changes that are under way.

        Raises:
            MoveRefused: somebody has changed something and does not come to an end with that.
        """
        # Jobs come first into a transaction. With another table locked before them, its commit would wait for this one.
        try:
            self.run(f"lock table {self.prefix}jobs in share row exclusive mode")
        except StoreBusy as error:
            raise MoveRefused(
                f"somebody has stored calls in {self.name} or changed jobs in a transaction that is still open after"
                f" {_LOCK_LIMIT}. Let it end (`autocron DATABASE doctor` names those that are open for long) and run"
                " this again, or give the move up with --cancel. Nothing is lost: calls are taken as before"
            ) from error
        function = f"{self.prefix}move_refuses"
        text = sql.Literal(notice).as_string(self._connection)
        self.run(
            f"create or replace function {function}() returns trigger language plpgsql as $move$ begin"
            f" if not exists (select from {self.prefix}move where stage = 'writable') then"
            f" raise exception using message = {text}; end if; return null; end $move$"
        )
        changes = dict.fromkeys(self.tables(), "insert or update or delete") | {"nodes": "insert"}
        for table, change in changes.items():
            self.run(
                f"create or replace trigger move_refuses before {change} on {self.prefix}{table}"
                f" for each statement execute function {function}()"
            )
        if nodes := self.run(f"select pid, host from {self.prefix}nodes"):
            raise self._explainer.explain(RuntimeError(f"node {nodes[0][0]} on {nodes[0][1]} has just begun to work"))

    def allow_changes(self) -> None:
        """Undo that, and let the numbers of new rows follow those of the moved ones."""
        self.run(f"drop function if exists {self.prefix}move_refuses() cascade")
        for table, column, counts, _ in self.run(_COLUMNS, {"schema": self._schema}):
            if counts and table not in OWN_TABLES:
                sequence = f"pg_get_serial_sequence('{self.prefix}{table}', '{column}')"
                self.run(f"select setval({sequence}, max({column})) from {self.prefix}{table} having max({column}) > 0")

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
