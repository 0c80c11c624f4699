"""The schema in a PostgreSQL database: it is created or migrated when it needs that."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from autocron.errors import SchemaTooNew

if TYPE_CHECKING:
    from autocron.store.postgres_connection import Connection

_LOCK = int.from_bytes(b"acrn")  # one for all schemas of a database: they are not made often


def ensure_schema(connection: Connection, schema: str, name: str) -> None:
    """See that the schema is there, in its latest version.

    Args:
        connection: to the database.
        schema: its name.
        name: of the database, for people.

    Raises:
        SchemaTooNew: a newer autocron has written it.
    """
    version = schema_version(connection, schema)
    check_version(version, name)
    if version < latest_version():
        with connection.transaction():
            # Without it, of several processes that create the schema at once, all but one would fail.
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            _migrate(connection, schema)


def check_version(version: int, name: str) -> None:
    """Refuse a schema of a newer autocron."""
    if version > latest_version():
        raise SchemaTooNew(
            f"{name} has schema version {version}, but this autocron knows versions up to {latest_version()}. Upgrade "
            "autocron, or use another schema."
        )


def schema_version(connection: Connection, schema: str) -> int:
    """Give the version of the schema; 0 when there is none."""
    # Other ways to ask, such as to_regclass, may still answer what was so before the lock was waited for.
    exists = "select from pg_tables where schemaname = %s and tablename = 'version'"
    if not connection.execute(exists, (schema,)).fetchall():
        return 0
    query = f"select number from {schema}.version"
    ((number,),) = connection.execute(query.encode()).fetchall()
    return int(number)


def _migrate(connection: Connection, schema: str) -> None:
    version = schema_version(connection, schema)
    if version >= latest_version():
        return
    if not version:
        connection.execute(f"create schema if not exists {schema}".encode())
    for number in range(version + 1, latest_version() + 1):
        text = files("autocron.store").joinpath("schema", f"postgres-{number}.sql").read_text("utf-8")
        connection.execute(text.replace("{schema}", schema).encode(), prepare=False)  # it is several commands
    connection.execute(f"delete from {schema}.version".encode())
    connection.execute(f"insert into {schema}.version values (%s)".encode(), (latest_version(),))


@cache
def latest_version() -> int:
    """Give the schema version of this autocron: the number of its last migration."""
    names = (file.name for file in files("autocron.store").joinpath("schema").iterdir())
    return max(int(found[1]) for name in names if (found := re.fullmatch(r"postgres-(\d+)\.sql", name)))
