"""Statements that are sent again and again, without the work that a cursor makes of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg import errors, generators
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg.pq.abc import PGconn, PGresult

    from autocron.store.driver import Parameters
    from autocron.store.postgres_connection import Connection
    from autocron.store.rows import Row

_PLACEHOLDER = re.compile(rb"%(?:\((\w+)\))?s")


class Statement:
    """A statement in which each parameter has a number, and a type of the server's.

    A cursor reads the query, looks for what can convert each value, and describes the rows: a tenth of a call's time.

    Args:
        name: by which a connection knows it once it is prepared.
        text: has ``%(name)s`` for each parameter, or ``%s`` where they have an order.
    """

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name.encode()
        numbers: dict[object, int] = {}

        def number(found: re.Match[bytes]) -> bytes:
            return b"$%d" % numbers.setdefault(found[1] or found.start(), len(numbers) + 1)

        self.text = _PLACEHOLDER.sub(number, text)
        self._names = [name.decode() for name in numbers if isinstance(name, bytes)]

    def values(self, parameters: Parameters, encoding: str) -> list[bytes | None]:
        """Give what is sent for the parameters, in the order of their numbers."""
        values = [parameters[name] for name in self._names] if isinstance(parameters, Mapping) else parameters
        return [_text(value, encoding) for value in values]


_BEGIN, _COMMIT, _ROLLBACK = (Statement(name, name.encode()) for name in ("begin", "commit", "rollback"))


def run_alone(connection: Connection, statement: Statement, parameters: Parameters) -> int:
    """Run a statement as a transaction of its own; give the number of rows that it returned or changed.

    It is prepared when it comes for the first time, unless something stands between that pools connections.
    """
    pgconn, values = connection.pgconn, statement.values(parameters, connection.info.encoding)
    if not connection.is_direct:
        pgconn.send_query_params(statement.text, values)
        return int(_result(connection).command_tuples or 0)
    if statement.name not in connection.prepared:
        pgconn.send_prepare(statement.name, statement.text)
        _result(connection)
        connection.prepared.add(statement.name)
    pgconn.send_query_prepared(statement.name, values)
    return int(_result(connection).command_tuples or 0)


def _result(connection: Connection) -> PGresult:
    (result,) = connection.wait(generators.execute(connection.pgconn))
    return _checked(connection, result)


def _checked(connection: Connection, result: PGresult) -> PGresult:
    if result.status == ExecStatus.FATAL_ERROR:
        raise errors.error_from_result(result, encoding=connection.info.encoding)
    return result


class Transaction:
    """A transaction of several round trips. It begins with the first statement.

    Args:
        connection: has no other transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_begun = False

    def run(self, steps: Sequence[tuple[Statement, Parameters]]) -> list[list[Row]]:
        """Run statements in one round trip; give the rows of each."""
        if not steps:
            return []
        if self._is_begun:
            return run_together(self._connection, steps)
        self._is_begun = True
        return run_together(self._connection, [(_BEGIN, ()), *steps])[1:]

    def commit(self) -> None:
        """Keep what was done."""
        if self._is_begun:
            run_together(self._connection, [(_COMMIT, ())])

    def roll_back(self) -> None:
        """Keep nothing of it, if the connection is there to say so."""
        if self._connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            run_together(self._connection, [(_ROLLBACK, ())])


def run_together(connection: Connection, steps: Sequence[tuple[Statement, Parameters]]) -> list[list[Row]]:
    """Run statements in one round trip, as one transaction unless one is open; give the rows of each.

    Each is prepared when it comes for the first time on this connection.
    """
    encoding, pgconn = connection.info.encoding, connection.pgconn
    sent = [(statement, statement.values(parameters, encoding)) for statement, parameters in steps]
    new = {statement.name: statement for statement, _ in sent if statement.name not in connection.prepared}
    pgconn.enter_pipeline_mode()
    for statement in new.values():
        pgconn.send_prepare(statement.name, statement.text)
    for statement, values in sent:
        pgconn.send_query_prepared(statement.name, values)
    pgconn.pipeline_sync()
    answers = connection.wait(_answers(pgconn, len(new) + len(sent) + 1))
    pgconn.exit_pipeline_mode()
    results = [result for some in answers for result in some]
    connection.prepared.update(
        name for name, result in zip(new, results, strict=False) if result.status == ExecStatus.COMMAND_OK
    )
    for result in results:
        _checked(connection, result)
    return [_rows(connection, result) for (result,) in answers[len(new) : -1]]


def _answers(pgconn: PGconn, count: int) -> Generator[Any, Any, list[list[PGresult]]]:
    """Send what was put together and give the results of each command."""
    yield from generators.send(pgconn)
    answers: list[list[PGresult]] = []
    while len(answers) < count:
        answers.append((yield from generators.fetch_many(pgconn)))
    return answers


def _rows(connection: Connection, result: PGresult) -> list[Row]:
    reader = Transformer(connection)
    reader.set_pgresult(result)
    return reader.load_rows(0, result.ntuples, tuple) if result.nfields else []


def _text(value: Any, encoding: str) -> bytes | None:
    if value is None:
        return None
    text = str(value).encode(encoding)
    if b"\0" in text:  # which would end it
        raise errors.DataError("PostgreSQL's texts cannot contain NUL characters")
    return text
