"""The connection that a caller gives, so that calls become part of its transactions: which one of psycopg's it is."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from autocron.errors import ConfigError, StoreError

_OTHER_DRIVERS = {"asyncpg", "pg8000", "psycopg2"}
_ELSE = "or give no connection and let the block enclose the commit"
_ASYNC = (
    "autocron.transaction() cannot take part in the transaction of an async connection, as its end does not await. Run"
    f" the transaction with a sync connection in a thread (asyncio.to_thread), {_ELSE}"
)


class Given(NamedTuple):
    """A connection that was given.

    Attributes:
        connection: that of psycopg.
        is_begun: a transaction is open on it; that of a framework also before the server has heard of it.
    """

    connection: psycopg.Connection[Any]
    is_begun: bool


def find_connection(given: Any) -> Given | None:
    """Give the connection of psycopg that is meant now; None when it is one to a database of another kind.

    Args:
        given: one of psycopg or SQLAlchemy, a session of SQLAlchemy (which begins a transaction when none is open), or
            the alias of one of Django's databases, which is meant only while a transaction is open on it.

    Raises:
        ConfigError: it leads to PostgreSQL in a way that nobody else can use.
        StoreError: it is closed.
    """
    if isinstance(given, str):
        return _of_django(given)
    if _is_sqlalchemys(given):
        return _of_sqlalchemy(given)
    if isinstance(given, psycopg.AsyncConnection):
        raise ConfigError(_ASYNC)
    if (driver := type(given).__module__.partition(".")[0]) in _OTHER_DRIVERS:
        raise _wrong_driver(driver)
    return _of_psycopg(given) if _is_psycopgs(given) else None


def _is_psycopgs(given: object) -> bool:
    return isinstance(given, psycopg.Connection)


def _of_psycopg(connection: psycopg.Connection[Any]) -> Given:
    if connection.closed:
        raise StoreError("the connection that was given to autocron.transaction() is closed; nothing was stored")
    return Given(connection, _is_open(connection))


def _of_django(alias: str) -> Given | None:
    ours = import_module("django.db").connections[alias]
    is_begun = ours.in_atomic_block and _is_psycopgs(ours.connection)
    return Given(ours.connection, is_begun) if is_begun else None


def _is_sqlalchemys(given: object) -> bool:
    return any(cls.__module__.startswith("sqlalchemy.") for cls in type(given).__mro__)


def _of_sqlalchemy(given: Any) -> Given | None:
    if not hasattr(given.__class__, "connection"):
        raise ConfigError(
            f"autocron.transaction() was given {given!r}, which is no connection: give a Session or a Connection of"
            " SQLAlchemy, on which the transaction runs"
        )
    is_session = hasattr(given, "get_bind")
    dialect: Any = (given.get_bind() if is_session else given).dialect
    if dialect.name != "postgresql":
        return None
    if dialect.is_async:
        raise ConfigError(_ASYNC)
    if dialect.driver != "psycopg":
        raise _wrong_driver(dialect.driver)
    connection: Any = given.connection() if is_session else given
    if not connection.in_transaction():
        connection.begin()  # as its first statement would; otherwise its commit() would do nothing
    driver_connection: psycopg.Connection[Any] = connection.connection.driver_connection
    return Given(driver_connection, not driver_connection.autocommit or _is_open(driver_connection))


def _wrong_driver(driver: str) -> ConfigError:
    return ConfigError(
        f"autocron.transaction() takes part in transactions on psycopg 3, and this one is on {driver}: use psycopg"
        f" (postgresql+psycopg://... in SQLAlchemy), {_ELSE}"
    )


def _is_open(connection: psycopg.Connection[Any]) -> bool:
    return connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)
