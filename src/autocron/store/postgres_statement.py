"""Statements that are sent again and again, without the work that a cursor makes of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from psycopg import errors, generators
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from psycopg.pq.abc import PGconn, PGresult

    from autocron.store.postgres_connection import Connection
    from autocron.store.rows import Row

_PLACEHOLDER = re.compile(rb"%\((\w+)\)s")


class Statement:
    """A statement in which each parameter has a number, and a type of the server's.

    A cursor reads the query, looks for what can convert each value, and describes the rows: a tenth of a call's time.

    Args:
        name: by which a connection knows it once it is prepared.
        text: has ``%(name)s`` for each parameter.
    """

    def __init__(self, name: str, text: bytes) -> None:
        self.name = name.encode()
        numbers: dict[bytes, int] = {}
        self.text = _PLACEHOLDER.sub(lambda found: b"$%d" % numbers.setdefault(found[1], len(numbers) + 1), text)
        self._names = [name.decode() for name in numbers]

    def values(self, parameters: Mapping[str, Any], encoding: str) -> list[bytes | None]:
        """Give what is sent for the parameters, in the order of their numbers."""
        return [_text(parameters[name], encoding) for name in self._names]


def run_alone(connection: Connection, statement: Statement, parameters: Mapping[str, Any]) -> int:
    """Run a statement as a transaction of its own; give the number of rows that it returned or changed."""
    encoding, pgconn = connection.info.encoding, connection.pgconn
    pgconn.send_query_params(statement.text, statement.values(parameters, encoding))
    (result,) = connection.wait(generators.execute(pgconn))
    if result.status == ExecStatus.FATAL_ERROR:
        raise errors.error_from_result(result, encoding=encoding)
    return int(result.command_tuples or 0)


def run_together(connection: Connection, steps: Sequence[tuple[Statement, Mapping[str, Any]]]) -> list[list[Row]]:
    """Run statements as one transaction, in one round trip; give the rows of each.

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
        if result.status == ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result, encoding=encoding)
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
