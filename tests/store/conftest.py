"""A store on each database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autocron.store.base import Store
from autocron.store.postgres import PostgresDriver
from autocron.store.postgres_connection import Kind
from autocron.store.postgres_url import canonical
from autocron.store.sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = open_store(tmp_path / "jobs.db")
    else:
        url = canonical(request.getfixturevalue("postgres"))
        opened = Store(PostgresDriver(url, Kind.NODE, 1, own_time=False))
    yield opened
    opened.close()
