"""What other nodes on the same database declare otherwise than this one. Pure."""

from collections.abc import Sequence

import msgspec

from autocron.model import Declaration

_MOST = 5  # names in one text


class Declared(msgspec.Struct, frozen=True):
    """What the workers of a node have found: schedules by name, with their module, times and time zone."""

    imported: list[str]
    schedules: dict[str, tuple[str | None, str, str]]


def declared(imported: Sequence[str], schedules: Sequence[Declaration]) -> str:
    """Give it as a text for the other nodes."""
    found = {one.name: (one.module, one.text, one.tz) for one in sorted(schedules, key=lambda one: one.name)}
    return msgspec.json.encode(Declared(sorted(imported), found)).decode()


def difference(own: str, other: str) -> str:
    """Say what another node declares otherwise in the modules that both have imported; empty when nothing."""
    here, there = (msgspec.json.decode(text, type=Declared) for text in (own, other))
    common = {*here.imported} & {*there.imported}
    ours, theirs = (_of(one, common) for one in (here, there))
    parts = [
        ("only here: ", sorted(ours.keys() - theirs.keys())),
        ("only there: ", sorted(theirs.keys() - ours.keys())),
        ("", [text for name in sorted(ours.keys() & theirs.keys()) if (text := _changed(name, ours, theirs))]),
    ]
    return "; ".join(title + _some(names) for title, names in parts if names)


def _of(one: Declared, modules: set[str]) -> dict[str, tuple[str, str]]:
    return {name: (text, tz) for name, (module, text, tz) in one.schedules.items() if module in modules}


def _changed(name: str, ours: dict[str, tuple[str, str]], theirs: dict[str, tuple[str, str]]) -> str:
    if ours[name] == theirs[name]:
        return ""
    (here, zone_here), (there, zone_there) = ours[name], theirs[name]
    return f"{name} is {here!r} in {zone_here} here, {there!r} in {zone_there} there"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")
