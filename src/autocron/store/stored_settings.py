"""How settings are stored: by their names; where there are several machines, also by whose they are."""

from __future__ import annotations

from socket import gethostname
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
    found: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        # One that came from the other kind of database is under the name that it had there.
        keys = (stored_name(name, host), name, stored_name(name, gethostname()))
        if key := next((key for key in keys if key in stored), None):
            found[name] = stored[key]
    try:
        return msgspec.convert({name: msgspec.json.decode(value) for name, value in found.items()}, Settings)
    except msgspec.DecodeError as error:
        raise BadSetting(
            f"a stored setting cannot be used ({error}); set it again with `autocron ... set`, or all with "
            "--set-defaults"
        ) from error
