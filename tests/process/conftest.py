"""Machines that share a PostgreSQL database: here each has a home, and with that a node, of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from server import Server

from autocron.store.postgres_url import canonical, for_libpq, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Lab


@pytest.fixture
def machine(lab: Lab, postgres: str, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Give machines, each with the same code; the way to the database may be another one."""
    machines: list[Lab] = []

    def new(url: str = postgres) -> Lab:
        folder = tmp_path / f"machine-{len(machines)}"
        folder.joinpath("home").mkdir(parents=True, mode=0o700)
        machines.append(type(lab)(folder, url))
        return machines[-1]

    try:
        yield new
    finally:
        for one in machines:
            print(f"--- {one.folder}", one.output(), one.log(), sep="\n")
            one.wipe_out()


@pytest.fixture
def run(postgres: str) -> Callable[[str], list[tuple[object, ...]]]:
    """Give a function that does something to the database as somebody else would; {} is the schema."""
    url = canonical(postgres)

    def run(statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(for_libpq(url), autocommit=True) as connection:
            cursor = connection.execute(statement.replace("{}", schema_of(url)).encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server that may be restarted."""
    one = Server()
    try:
        yield one
    finally:
        one.close()
