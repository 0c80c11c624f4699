"""A place in the transactions of a connection that is not autocron's own, but the caller's."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from autocron.errors import ConfigError, StoreBusy, StoreError
from autocron.store.postgres_connection import ERRORS
from autocron.store.postgres_given import find_connection
from autocron.store.postgres_transaction import Statements, by_cursors

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from psycopg.adapt import AdaptersMap

    from autocron.store.driver import Parameters
    from autocron.store.postgres_connection import Explainer
    from autocron.store.postgres_given import Given

    Statement = Callable[[str, Parameters], tuple[bytes, Parameters]]


class Whereabouts(NamedTuple):
    """What a connection says of itself: its database, when its transaction began, and its user."""

    database: str
    began: str
    user: str


_OVER = (
    "the transaction that was open when the block of autocron.transaction() began has ended in it, so the calls cannot"
    " be part of it; they are not stored. Commit after the block"
)
_NOT_BEGUN = (
    "no transaction was open on the connection when the block of autocron.transaction() ended. One was begun for its"
    " calls, and they are lost unless you commit it. If you commit in the block, do so after it"
)
_CANCELS = "update (stop_asked, state, held, error_message, finished_at, expires_at, unique_key)"


class Joined:
    """A place in the transactions of the caller's connection.

    Args:
        given: what find_connection() takes; it may stand for another connection of the driver later.
        found: which one that is now.
        statement: gives the text of a statement, and its parameters as it needs them.
        schema: where autocron's tables are.
        explainer: says what errors mean.

    Attributes:
        database: the one to which it leads. The text changes when the server starts again.
        notice: what the caller should know when all is stored.
    """

    def __init__(self, given: Any, found: Given, statement: Statement, schema: str, explainer: Explainer) -> None:
        self._given = given
        self._statement = statement
        self._schema = schema
        self._explainer = explainer
        self.notice = ""
        with self._explained():
            self.database, began, self._user = self._look(found)
        self._began = began if found.is_begun else None

    @contextmanager
    def transaction(self) -> Generator[Statements]:
        """Run several statements as part of the transaction that is open, or, with autocommit, as one of their own.

        Nodes are told by the commit.

        Raises:
            ConfigError: the transaction of the beginning is no longer open.
        """
        with self._explained():
            found = self._found_again()
        connection = found.connection
        is_alone = not found.is_begun and connection.autocommit
        pipeline = nullcontext() if is_alone else connection.pipeline()  # see PostgresDriver.transaction()
        with self._explained(committing=is_alone), pipeline, connection.transaction():
            yield Statements(by_cursors(connection.pipeline, partial(self._execute, connection)))
            self._execute(connection, "notify", {"schema": self._schema, "text": "call"})

    def _found_again(self) -> Given:
        found = find_connection(self._given)
        if found is None:
            raise ConfigError(_OVER)
        if self._began is not None and (not found.is_begun or self._look(found).began != self._began):
            raise ConfigError(_OVER)
        if not found.is_begun and not found.connection.autocommit:
            self._execute(found.connection, "whereabouts", ())  # psycopg begins a transaction
            self.notice = _NOT_BEGUN
        return found

    def _look(self, found: Given) -> Whereabouts:
        """Ask the connection what it is, without beginning a transaction on it."""
        connection = found.connection
        is_calm = found.is_begun or connection.autocommit
        if not is_calm:
            connection.autocommit = True  # of which only the client knows
        try:
            return Whereabouts(*self._execute(connection, "whereabouts", ()).fetchall()[0])
        finally:
            if not is_calm:
                with suppress(psycopg.Error):  # it is lost
                    connection.autocommit = False

    def _execute(self, connection: psycopg.Connection[Any], name: str, parameters: Parameters) -> _Cursor:
        cursor = _Cursor(connection, row_factory=tuple_row)
        cursor.execute(*self._statement(name, parameters), prepare=False)
        return cursor

    @contextmanager
    def _explained(self, *, committing: bool = False) -> Generator[None]:
        try:
            yield
        except ERRORS as error:
            raise self._explain(error, committing=committing) from error

    def _explain(self, error: Exception, *, committing: bool) -> StoreError:
        match error:
            case errors.InsufficientPrivilege():
                said = error.diag.message_primary
                return StoreError(
                    f"{self._explainer.name} does not let the user of the connection store calls: {said}. Nothing was"
                    f" stored. Let the schema's owner grant it what an application needs: {self._grants()}"
                )
            case errors.InFailedSqlTransaction():
                return StoreError(
                    "the transaction on the connection that was given to autocron.transaction() has failed before, so"
                    " nothing can be stored in it: roll it back"
                )
            case errors.UniqueViolation() if error.diag.constraint_name == "jobs_unique":
                return StoreBusy(
                    f"{self._explainer.name} has a job with the same unique_key that was stored after your transaction"
                    " had begun, which cannot see it. Nothing was stored; roll it back and run it again."
                )
            case _:
                return self._explainer.explain(error, committing=committing)

    def _grants(self) -> str:
        schema, user = self._schema, self._user
        return "; ".join(
            f"grant {what} to {user}"
            for what in (
                f"usage on schema {schema}",
                f"select on all tables in schema {schema}",
                f"insert, update on {schema}.edges, {schema}.limits, {schema}.lines",
                f"insert on {schema}.jobs, {schema}.joining",
                f"{_CANCELS} on {schema}.jobs",
            )
        )


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor that heeds nothing of what the caller has set for the rows and types of the connection."""

    @property
    def adapters(self) -> AdaptersMap:
        """The usual ones."""
        return psycopg.adapters
