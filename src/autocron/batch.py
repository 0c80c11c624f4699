"""Calls that are stored together: what stands in the block of autocron.transaction()."""

import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, overload

from autocron.model import Call
from autocron.result import TaskResult

T = TypeVar("T")


class Lazy(Sequence[T]):
    """Items that are made when they are looked at, once, and in order.

    Args:
        count: how many there are.
        make: gives the one with this number.
    """

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count = count
        self._make = make
        self._made: list[T] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        numbers = range(self._count)[index]
        last = numbers if isinstance(numbers, int) else max(numbers, default=-1)
        self._made += map(self._make, range(len(self._made), last + 1))
        return self._made[index]


class Pending(NamedTuple):
    """A call that was made and is not stored yet."""

    call: Call
    function: Callable[..., Any]
    result: TaskResult[Any]


@dataclass
class Batch:
    """The calls of one block, in the order in which they were made."""

    connection: Any
    owner: tuple[int, int, object]
    calls: list[Pending] = field(default_factory=list[Pending])

    def has(self, uuid: str) -> bool:
        """Was this call made in the block?"""
        return any(one.result.uuid == uuid for one in self.calls)


_current: ContextVar[Batch | None] = ContextVar("batch", default=None)


def open_batch() -> Batch | None:
    """Give the batch to which a call that is made here belongs.

    Context variables are copied into new asyncio tasks, and on some Pythons into threads, which go on after the block.
    """
    batch = _current.get()
    return batch if batch is not None and batch.owner == _here() else None


@contextmanager
def batched(begin: Callable[[], Callable[[list[Pending]], None]], connection: Any) -> Generator[None]:
    """Collect the calls that are made in the block, and keep them at its end unless it raises.

    Args:
        begin: called when the block begins, unless it joins another one; gives what takes the calls at its end.
        connection: see autocron.transaction().
    """
    outer = open_batch()
    if outer is not None and connection in (None, outer.connection):
        yield
        return
    keep = begin()
    batch, before = Batch(connection, _here()), _current.get()
    _current.set(batch)
    try:
        yield
    finally:
        _current.set(before)
    if batch.calls and batch.owner[0] == os.getpid():  # a child that was forked in the block has nothing to store
        keep(batch.calls)


def _here() -> tuple[int, int, object]:
    """Give process, thread and asyncio task."""
    asyncio = sys.modules.get("asyncio")
    running = asyncio is not None and asyncio._get_running_loop() is not None
    return os.getpid(), threading.get_ident(), asyncio.current_task() if asyncio and running else None
