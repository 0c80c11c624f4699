"""What a database must be able to do: the drivers under the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from autocron.errors import StoreBusy

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from autocron.model import Call, NewJob
    from autocron.store.rows import Row

Parameters = Sequence[Any] | Mapping[str, Any]
Step = tuple[str, Parameters]  # a statement's name and what goes into it
T = TypeVar("T")
CALL_LIMIT = 5.0  # seconds that a caller waits for the database


class Driver(Protocol):
    """What a database must be able to do. Statements are named; their text is in the dialect's .sql file.

    Attributes:
        is_remote: each round trip takes longer than most statements.
    """

    is_remote: bool

    def read(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement that changes nothing."""
        ...

    def insert(self, job: NewJob, limit: float) -> bool:
        """Keep a call that waits for nothing but a worker; False when the autocron lock is on.

        It may be tried again after its answer was lost: a job that is there already is then the one that it has stored.
        """
        ...

    def write(self, name: str, parameters: Parameters, limit: float) -> int:
        """Run one changing statement in a transaction of its own; give the number of changed rows."""
        ...

    def batch(self, steps: Sequence[Step], read: Callable[[list[list[Row]]], T]) -> T:
        """Run statements that don't need each other's rows as one transaction; give what `read` makes of all rows.

        Where rows may hold what autocron has not stored, nothing is kept when `read` raises.
        """
        ...

    def transaction(self, limit: float = ...) -> AbstractContextManager[Transaction]:
        """Run several statements as one; nothing of it is kept when the block raises."""
        ...

    def join(self, connection: Any) -> Joined | None:
        """Take a place in the transactions of the caller's connection; None when it leads to another database.

        Raises:
            ConfigError: it leads to a database of this kind, but in a way that nobody else can use.
        """
        ...

    def tell_nodes(self) -> None:
        """Tell the nodes of all machines that there may be something to do, where the database can."""
        ...

    def changed(self) -> bool:
        """Has another process changed the database since the last time this was asked?"""
        ...

    def check(self) -> None:
        """Raise StoreGone when the files are no longer those that were opened."""
        ...

    def sync(self) -> None:
        """Make what is committed safe against power loss."""
        ...

    def checkpoint(self) -> int:
        """Keep the write-ahead log short; give the bytes in it that an open reader keeps from being copied."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Conflict(StoreBusy):
    """Others changed the same rows at the same moment, and this was chosen to give way; nothing of it was stored."""


class Transaction(Protocol):
    """Statements inside a transaction."""

    def defer(self) -> bool:
        """Leave to the commit what would lock rows that nodes need, in an order that is not theirs.

        Returns:
            True when `settle_at_commit` is to be run for the jobs that wait for others; False where nobody locks rows.
        """
        ...

    def run(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement."""
        ...

    def run_all(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Run statements that don't need each other's rows; give the rows of each."""
        ...

    def many(self, name: str, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each row."""
        ...

    def insert(self, calls: Sequence[Call], now: float) -> int:
        """Keep the calls up to the first whose place is not PLAIN; give how many."""
        ...


class Joined(Protocol):
    """A place in the transactions of the caller's connection.

    Attributes:
        notice: what the caller should know when all is stored.
    """

    notice: str

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Run several statements as part of the caller's transaction; nothing of it is kept when the block raises."""
        ...
