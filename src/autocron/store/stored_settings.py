"""How settings are stored: by their names; where there are several machines, also by whose they are."""

from __future__ import annotations

from typing import Any

import msgspec

from autocron.errors import BadSetting
from autocron.model import HOST_SETTINGS, Settings


def stored_name(name: str, host: str | None) -> str:
    """Give the name under which a setting is stored: ``workers``, or ``workers@web-1`` where others have theirs."""
    return f"{name}@{host}" if host and name in HOST_SETTINGS else name


def settings_of(rows: list[tuple[Any, ...]], host: str | None) -> Settings:
    """Give the settings of a host, defaults included.

    Args:
        rows: names and values as they are stored.
        host: its name; None where there is only one.

    Raises:
        BadSetting: a value is none that can be used.
    """
    stored = dict(rows)
    found = {name: stored[key] for name in Settings.__struct_fields__ if (key := stored_name(name, host)) in stored}
    try:
        return msgspec.convert({name: msgspec.json.decode(value) for name, value in found.items()}, Settings)
    except msgspec.DecodeError as error:
        raise BadSetting(
            f"a stored setting cannot be used ({error}); set it again, or all with --set-defaults"
        ) from error
