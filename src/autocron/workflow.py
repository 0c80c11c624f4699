"""Results that are arguments: a call that is stored has their uuids in their places, a call that runs their values."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autocron.model import State, StoredJob

TAG = "$result"
_MARK = f'"{TAG}"'
_LONGEST = 300  # characters of an error that others are told as their reason
_type_of: Callable[[Any], type[Any]] = type  # the exact class, as the type checkers should see it
_read_json = msgspec.json.Decoder().decode
_write_json = msgspec.json.Encoder().encode


class MissingValueError(Exception):
    """A job that was to receive the value of another one can't have it."""


def parents_in(arguments: str) -> list[str]:
    """Give the uuids of the jobs whose values a call receives.

    Args:
        arguments: the text of codec.encode_call().
    """
    if _MARK not in arguments:
        return []
    found: dict[str, None] = {}
    _replaced(_read_json(arguments), found.setdefault)
    return list(found)


def filled(arguments: str, parents: Mapping[str, StoredJob]) -> str:
    """Put the values of other jobs into the arguments of a call.

    Args:
        arguments: as they are stored.
        parents: the jobs whose values it receives, by their uuids.

    Raises:
        MissingValueError: one of them has no value.
    """
    try:
        tree = _replaced(_read_json(arguments), lambda uuid: msgspec.Raw(_value(uuid, parents).encode()))
    except (msgspec.DecodeError, RecursionError):
        return arguments  # the codec tells what is wrong with it
    return _write_json(tree).decode()


def why_cancelled(task: str, uuid: str, state: str, error_message: str) -> str:
    """Give the reason for which those are cancelled that wait for this job; in a database `cancel_waiting` gives it."""
    verb = "was cancelled" if state == State.CANCELLED else state
    return f"{task} {uuid} {verb}: {error_message[:_LONGEST] or 'no reason was given'}"


def _replaced(node: Any, replacement: Callable[[str], Any]) -> Any:
    cls = _type_of(node)
    if cls is list:
        return [_replaced(item, replacement) for item in node]
    if cls is dict:
        if len(node) == 1 and _type_of(uuid := node.get(TAG)) is str:
            return replacement(uuid)
        return {key: _replaced(item, replacement) for key, item in node.items()}
    return node


def _value(uuid: str, parents: Mapping[str, StoredJob]) -> str:
    parent = parents.get(uuid)
    if parent is None:
        raise MissingValueError(f"the job {uuid}, whose value is an argument, is not in the database any more")
    if parent.state is not State.SUCCEEDED:
        raise MissingValueError(why_cancelled(parent.task, uuid, parent.state, parent.error_message))
    if parent.result is None and parent.error_message:
        raise MissingValueError(f"{parent.task} {uuid}, whose value is an argument, has none: {parent.error_message}")
    return parent.result or "null"
