"""How the types that JSON doesn't know are stored: under a tag, reduced to what it knows, and made again of that."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

T = TypeVar("T")
Clock = TypeVar("Clock", datetime, time)

PAIRS = "$dict"  # the tag of a dict that is stored as pairs


class RefusedError(Exception):
    """A value can't be stored. Its place inside the argument is collected on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.place = ""

    def within(self, place: str) -> Self:
        """Note that the value stands inside of another one, at this place."""
        self.place = place + self.place
        return self


class Kind(NamedTuple):
    """How one type is stored: under a tag, reduced to a simpler value of a certain type, restored from that."""

    tag: str
    reduce: Callable[[Any], Any]
    simpler: type
    restore: Callable[[Any], Any]


KINDS: dict[type, Kind] = {}  # the types that need a tag; those of the application are added when it registers them
BY_TAG: dict[str, Kind] = {}


def add_kind(cls: type[T], tag: str, reduce: Callable[[T], Any], simpler: type, restore: Callable[[Any], T]) -> None:
    """Let a type be stored; the arguments are those of Kind."""
    KINDS[cls] = BY_TAG[tag] = Kind(tag, reduce, simpler, restore)


def _odd_text(value: str) -> str:
    return _base64(value.encode("utf-8", "surrogatepass"))


def _from_odd_text(text: str) -> str:
    return _from_base64(text).decode("utf-8", "surrogatepass")


def _base64(value: bytes | bytearray) -> str:
    return b64encode(value).decode()


def _from_base64(text: str) -> bytes:
    return b64decode(text, validate=True)


def _clock_text(value: datetime | time) -> str:
    """Give ISO 8601 and what that has no room for: ``2026-10-25T02:30:00+01:00[Europe/Berlin][fold]``."""
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        name = f"[{zone.key}]"
    elif zone is None or (isinstance(zone, timezone) and not zone.utcoffset(None).microseconds):
        name = ""
    else:
        raise RefusedError(
            f"the time zone {zone!r} can't be stored. Use zoneinfo.ZoneInfo or an offset of whole seconds"
        )
    return f"{value.isoformat()}{name}{'[fold]' * value.fold}"


_CLOCK_TEXT = re.compile(r"(?P<iso>[^\[]+)(\[(?P<zone>[^\]]+)\])??(?P<fold>\[fold\])?")


def _from_clock_text(cls: type[Clock], text: str) -> Clock:
    match = _CLOCK_TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    value = cls.fromisoformat(match["iso"]).replace(fold=int(match["fold"] is not None))
    return value.replace(tzinfo=ZoneInfo(match["zone"])) if match["zone"] else value


add_kind(str, "$str", _odd_text, str, _from_odd_text)
add_kind(int, "$int", hex, str, lambda text: int(text, 16))  # the interpreter limits decimal digits
add_kind(float, "$float", repr, str, float)
add_kind(complex, "$complex", lambda value: [value.real, value.imag], list, lambda parts: complex(*parts))
add_kind(bytes, "$bytes", _base64, str, _from_base64)
add_kind(bytearray, "$bytearray", _base64, str, lambda text: bytearray(_from_base64(text)))
add_kind(tuple, "$tuple", list, list, tuple)
add_kind(set, "$set", list, list, set)
add_kind(frozenset, "$frozenset", list, list, frozenset)
add_kind(dict, PAIRS, lambda value: [*value.items()], list, dict)
add_kind(range, "$range", lambda value: [value.start, value.stop, value.step], list, lambda parts: range(*parts))
add_kind(datetime, "$datetime", _clock_text, str, partial(_from_clock_text, datetime))
add_kind(date, "$date", date.isoformat, str, date.fromisoformat)
add_kind(time, "$time", _clock_text, str, partial(_from_clock_text, time))
add_kind(
    timedelta,
    "$timedelta",
    lambda value: [value.days, value.seconds, value.microseconds],
    list,
    lambda parts: timedelta(*parts),
)
add_kind(Decimal, "$decimal", str, str, Decimal)
add_kind(Fraction, "$fraction", lambda value: [*value.as_integer_ratio()], list, lambda parts: Fraction(*parts))
add_kind(UUID, "$uuid", str, str, UUID)
add_kind(type(Path()), "$path", str, str, Path)
add_kind(PurePosixPath, "$pureposixpath", str, str, PurePosixPath)
add_kind(IPv4Address, "$ipv4address", str, str, IPv4Address)
add_kind(IPv4Network, "$ipv4network", str, str, IPv4Network)
add_kind(IPv4Interface, "$ipv4interface", str, str, IPv4Interface)
add_kind(IPv6Address, "$ipv6address", str, str, IPv6Address)
add_kind(IPv6Network, "$ipv6network", str, str, IPv6Network)
add_kind(IPv6Interface, "$ipv6interface", str, str, IPv6Interface)

BUILT_IN = frozenset({*KINDS, NoneType, bool, list})
