"""Rows of the database as values of the domain, and the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from autocron.errors import StoreError
from autocron.model import Claim, StoredJob

if TYPE_CHECKING:
    from autocron.store.claiming import Place

Row = tuple[Any, ...]
_NOTHING = {"past_attempts": "[]", "progress": "null"}
_decode_claims = msgspec.json.Decoder(list[Claim]).decode


class BadRow(StoreError):
    """The database works, but what is in one row cannot be stored, or cannot be read.

    Attributes:
        place: where it was to be claimed.
    """

    place: Place | None = None


def claims_of(text: str) -> list[Claim]:
    """Give what was claimed. SQLite keeps what others have stored, whatever the type of the column."""
    try:
        return _decode_claims(text)
    except msgspec.DecodeError as error:
        what = str(error).partition(" - at ")[0]
        raise BadRow(f"it holds another type of value than autocron stores: {what}") from error


def stored_job(row: Row) -> StoredJob:
    """Give a job."""
    try:
        names = StoredJob.__struct_fields__
        values = dict(zip(names, row, strict=True))
        for name in ("past_attempts", "progress"):
            values[name] = msgspec.json.decode(values[name] or _NOTHING[name])
        return msgspec.convert(values, StoredJob)
    except msgspec.DecodeError as error:
        raise BadRow(f"job {row[0]!r} is stored in a form that autocron does not write: {error}") from error


def to_json(value: Any) -> str:
    """Give a value as JSON text."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise BadRow(f"a text cannot be stored: {error}") from error
