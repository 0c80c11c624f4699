"""A connection to PostgreSQL: how it is made, how long it may take, and what its errors mean."""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from autocron.errors import ConfigError, StoreBusy, StoreError, StoreMoved
from autocron.store.driver import Conflict
from autocron.store.moved import notice_in
from autocron.store.postgres_url import for_libpq, schema_of, secrets
from autocron.store.rows import BadRow

if TYPE_CHECKING:
    from collections.abc import Generator

_UNCONVERTIBLE = (UnicodeError, OverflowError)  # texts and numbers
_ERRORS_OF_A_ROW = (errors.DataError, errors.IntegrityError, errors.RaiseException, *_UNCONVERTIBLE)
ERRORS = (psycopg.Error, *_UNCONVERTIBLE)
LOCK_LIMIT = 4000  # milliseconds that a node waits for a lock: below a third of its lease
# A server that has gone without a word is noticed within some ten seconds.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10000,  # milliseconds
}
# The statistics of a queue are always wrong, and these plans are right for every size of the table.
_NODE_OPTIONS = (
    f"-c lock_timeout={LOCK_LIMIT} -c idle_in_transaction_session_timeout=10000 -c enable_seqscan=off"
    " -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c plan_cache_mode=force_generic_plan"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)


class Kind(StrEnum):
    """What a connection is for; the server shows it, with the schema, as the name of the application."""

    APPLICATION = "autocron application"
    NODE = "autocron node"
    LISTENER = "autocron listener"
    ADMIN = "autocron admin"


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waiting has an end.

    Attributes:
        deadline: the moment of the monotonic clock until which it may take.
        prepared: the names of the statements that the server has prepared.
    """

    deadline = float("inf")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared = set[bytes]()

    @cached_property
    def is_direct(self) -> bool:
        """Nothing such as pgbouncer stands between, which tells a number of its own; so what is prepared stays."""
        ((backend,),) = self.execute("select pg_backend_pid()").fetchall()
        return bool(backend == self.info.backend_pid)

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server until the deadline; what comes later would be the answer to something else."""
        left = max(0.0, self.deadline - monotonic())
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except errors._WaitTimeout as error:  # pyright: ignore[reportPrivateUsage]
            if timeout is not None and timeout < left:
                raise
            self.close()
            raise errors.ConnectionTimeout("the server did not answer in time") from error


def connect(address: str, kind: Kind, deadline: float) -> Connection:
    """Connect until a moment of the monotonic clock."""
    try:
        given = conninfo_to_dict(for_libpq(address))
    except psycopg.Error:  # its text may show what is in the URL
        raise ConfigError("this postgresql:// URL cannot be read; special characters in it must be %-encoded") from None
    wanted: dict[str, Any] = {**_DEFAULTS, "application_name": f"{kind} {schema_of(address)}", **given}
    wanted["connect_timeout"] = max(1, min(int(wanted["connect_timeout"]), int(deadline - monotonic())))
    prepare_threshold = None
    if kind in (Kind.NODE, Kind.LISTENER):
        wanted["options"] = f"{_NODE_OPTIONS} {given.get('options') or ''}"
        prepare_threshold = 0
    connection = Connection.connect(make_conninfo(**wanted), autocommit=True, prepare_threshold=prepare_threshold)
    connection.deadline = deadline
    return connection


class Explainer:
    """Says what errors mean to those who use autocron, and keeps secrets out of that.

    Args:
        address: the canonical URL.
        name: of the database, for people.
    """

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._secrets = sorted(secrets(address), key=len, reverse=True)

    def explain(self, error: Exception, *, committing: bool = False) -> StoreError:
        """Say what happened, why, and what to do next."""
        reason = str(error).strip().partition("\n")[0]
        said = f"{reason or 'no reason was given'} ({type(error).__name__})"
        for secret in self._secrets:
            said = said.replace(secret, "***")
        if notice := notice_in(error):
            return StoreMoved(f"{notice}.")
        match error:
            case errors.InsufficientPrivilege():
                return StoreError(
                    f"{self.name} does not let this user do that: {said}. Grant it what docs/postgres.md names."
                )
            case errors.DeadlockDetected() | errors.SerializationFailure():
                return Conflict(f"{self.name} is in use by others: {said}. Nothing was stored; try again.")
            case errors.LockNotAvailable():
                return StoreBusy(f"{self.name} is in use by others: {said}. Nothing was stored; try again.")
            case errors.DiskFull() | errors.ReadOnlySqlTransaction():
                return StoreError(f"{self.name} cannot be changed: {said}. Nothing was stored.")
            case _ if isinstance(error, _ERRORS_OF_A_ROW):
                kind = StoredBefore if _is_known_uuid(error) else BadRow
                return kind(f"One row of {self.name} could not be stored or read: {said}.")
            case psycopg.OperationalError() | psycopg.InterfaceError():
                kept = "It is unknown whether the last change was stored. " if committing else ""
                return ConnectionLost(
                    f"{self.name} cannot be reached: {said}. {kept}"
                    "Check the address, the user and its password, the server and the network.",
                    maybe_stored=committing,
                )
            case _:
                return StoreError(f"{self.name} could not be used: {said}.")


def _is_known_uuid(error: Exception) -> bool:
    return isinstance(error, errors.UniqueViolation) and error.diag.constraint_name == "jobs_pkey"


class ConnectionLost(StoreError):
    """There is no connection to the server, or there is none any more."""


class StoredBefore(BadRow):
    """There is a job of this uuid already."""
