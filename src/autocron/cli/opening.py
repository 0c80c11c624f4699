"""Opening a database that has to be there already."""

from typing import NoReturn

import click

from autocron.store.base import Store
from autocron.store.place import Place, open_store
from autocron.text import printable


def check_exists(place: Place) -> None:
    """End when there is no such database: who only looks creates none."""
    if place.is_file and not place.files.exists():
        fail(missing(place))


def missing(place: Place) -> str:
    """Say that there is none."""
    return f"there is no database {place}; an application creates it with autocron.start()"


def open_existing(place: Place) -> Store:
    """Give the store in a database that is there."""
    check_exists(place)
    return open_store(place)


def fail(text: str) -> NoReturn:
    """End with this error."""
    raise click.ClickException(printable(text))
