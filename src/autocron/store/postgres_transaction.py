"""Several statements in one transaction on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from autocron.store.placing import plain_part, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import psycopg

    from autocron.model import Call
    from autocron.store.driver import Parameters, Step
    from autocron.store.rows import Row

    Cursor = psycopg.Cursor[tuple[Any, ...]]
    Execute = Callable[[str, Parameters], Cursor]
    RunSteps = Callable[[Iterable[Step]], list[list[Row]]]

_TAKE_BATCHES = {"insert_many"}
_AT_COMMIT = {name: f"{name}_at_commit" for name in ("limit", "line_up", "free_key")}
_BATCH = 250  # rows; the server stores one while the next is made


class Statements:
    """Statements, all of which are kept or none.

    Args:
        run_steps: runs some in one round trip, and gives the rows of each.
    """

    def __init__(self, run_steps: RunSteps) -> None:
        self._run_steps = run_steps
        self._names: Mapping[str, str] = {}

    def defer(self) -> bool:
        """Leave to the commit what others would wait for until then."""
        self._names = _AT_COMMIT
        return True

    def run(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement."""
        (rows,) = self.run_all([(name, parameters)])
        return rows

    def run_all(self, steps: Iterable[Step]) -> list[list[Row]]:
        """Run statements in one round trip; give the rows of each."""
        return self._run_steps((self._names.get(name, name), parameters) for name, parameters in steps)

    def many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row, or for many rows at once where it takes a batch."""
        batches = _batched(rows, dict(rows[0])["now"]) if name in _TAKE_BATCHES else rows
        self.run_all((name, values) for values in batches)

    def insert(self, calls: Sequence[Call], now: float) -> int:
        """Keep the calls up to the first whose place is not PLAIN; give how many.

        The server stores some while the next ones are looked at. Those that are made only then come at a later time.
        """
        count = 0

        def batches() -> Iterator[Step]:
            nonlocal count
            while some := plain_part(calls[count : count + _BATCH]):
                yield "insert_many", _batch(some, max(now, some[-1].job.created_at))
                count += len(some)

        self.run_all(batches())
        return count


def _batch(calls: Sequence[Call], now: float) -> Parameters:
    if any(call.parents for call in calls):
        return _encoded([row(call, now) for call in calls], now)
    return _encoded([call.job for call in calls], now)  # a row says the same, and takes longer


def _batched(rows: Sequence[object], now: float) -> Iterator[Parameters]:
    for start in range(0, len(rows), _BATCH):
        yield _encoded(rows[start : start + _BATCH], now)


def _encoded(rows: Sequence[object], now: float) -> Parameters:
    return {"batch": msgspec.json.encode(rows).decode(), "now": now}


def by_cursors(pipeline: Callable[[], AbstractContextManager[Any]], execute: Execute) -> RunSteps:
    """Give what runs steps on a connection whose sessions are not known.

    Args:
        pipeline: that of the connection.
        execute: runs one on it.
    """

    def run_steps(steps: Iterable[Step]) -> list[list[Row]]:
        with pipeline():
            cursors = [execute(*step) for step in steps]
        return [rows_of(cursor) for cursor in cursors]

    return run_steps


def rows_of(cursor: Cursor) -> list[Row]:
    """Give the rows; none where the statement gives none."""
    return cursor.fetchall() if cursor.description else []
