"""What tests share that run on several databases, or on PostgreSQL."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

on_each_database = pytest.mark.parametrize("lab", ["sqlite", "postgres"], indirect=True)


@contextmanager
def blocked(url: str, action: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread, which has to wait for a lock until the block is over."""
    server, _, schema = url.rpartition("schema=")
    thread = Thread(target=action)
    thread.start()
    with psycopg.connect(server.rstrip("?&"), autocommit=True) as connection:
        blocked = "select 1 from pg_stat_activity where application_name like %s and wait_event_type = 'Lock'"
        deadline = monotonic() + 10
        while connection.execute(blocked, (f"%{schema}",)).fetchone() is None:
            assert monotonic() < deadline
    yield
    thread.join(10)
    assert not thread.is_alive()
