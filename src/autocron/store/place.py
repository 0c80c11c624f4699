"""Which database is meant, and where the processes of a machine meet for it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autocron.errors import ConfigError
from autocron.store import postgres_url
from autocron.store.paths import Database, create_folder, home, lock_identity, resolve_database

if TYPE_CHECKING:
    from pathlib import Path

    from autocron.model import Durability
    from autocron.store.base import Store
    from autocron.store.postgres_listener import Listener
    from autocron.store.postgres_nodes import Membership

_LONGEST_LABEL = 40  # characters; the socket's path has to be short


@dataclass(frozen=True)
class Place:
    """A database, and the files through which the processes of this machine meet for it.

    Its text is what people may see of it: a password is not.

    Attributes:
        address: a path or a URL; it may hold a password.
        files: socket, lock and log have this path with an ending. An SQLite database itself is here.
    """

    address: str = field(repr=False)
    files: Path

    @property
    def is_file(self) -> bool:
        """Is it an SQLite database?"""
        return not postgres_url.is_url(self.address)

    def __str__(self) -> str:
        return self.address if self.is_file else postgres_url.name(self.address)

    @classmethod
    def of_file(cls, path: Path) -> Place:
        """Give the place of an SQLite database."""
        return cls(str(path), path)


def find_place(database: Database | None, schema: str | None = None, *, create: bool = True) -> Place:
    """Give the place of a database.

    Args:
        database: a postgresql:// URL, or the name or path of a file (see resolve_database); None: $AUTOCRON_DATABASE.
        schema: the PostgreSQL schema, unless the URL says it.
        create: create the folder of the files; who only looks leaves everything as it is.

    Raises:
        ConfigError: it can't be meant, or there can't be files for it.
    """
    text = os.environ.get("AUTOCRON_DATABASE", "") if database is None else os.fspath(database)
    if not postgres_url.is_url(text):
        if schema is not None:
            raise ConfigError(f"schema: an SQLite file such as {text!r} has none; it goes with postgresql://...")
        return Place.of_file(resolve_database(database, create=create))
    address = postgres_url.canonical(text, schema)
    folder = home() / "postgresql"
    if create:
        create_folder(folder)
    return Place(address, folder.resolve() / _label(postgres_url.name(address)))


def _label(name: str) -> str:
    """Give a file name that people recognize and no other database has."""
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", name.partition("://")[2])
    return f"{words[:_LONGEST_LABEL].strip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def open_store(place: Place, *, durability: Durability = "normal") -> Store:
    """Give the store of an application or worker; the database is created when it is first used.

    Raises:
        ConfigError: it is PostgreSQL, and its driver is not installed.
    """
    if place.is_file:
        from autocron.store import sqlite  # loading a driver is left to those who need it

        return sqlite.open_store(place.files, durability=durability)
    from autocron.store import postgres

    return postgres.open_store(place.address)


def open_node_stores(place: Place) -> tuple[Store, Store]:
    """Give the stores of a node: one to work with, and one for maintenance beside that."""
    if place.is_file:
        from autocron.store import sqlite

        return sqlite.open_store(place.files, background=True), sqlite.open_store(place.files, background=True)
    from autocron.store import postgres

    store = postgres.open_node_store(place.address)
    return store, store  # of the node's two connections the other one listens


def open_membership(place: Place) -> Membership | None:
    """Give a node its seat among others; None where it is alone."""
    if place.is_file:
        return None
    from autocron.store import postgres_nodes

    return postgres_nodes.Membership(place.address, lock_identity(place.files))


def open_listener(place: Place) -> Listener:
    """Give an application on PostgreSQL a connection that hears of the ends of jobs."""
    from autocron.store import postgres_listener

    return postgres_listener.Listener(place.address)
