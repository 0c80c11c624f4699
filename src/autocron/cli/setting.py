"""``autocron DATABASE set NAME VALUE``, and what the options for single settings do as well."""

import re
from collections.abc import Iterable
from socket import gethostname
from typing import Any

import click
import msgspec
from rich.console import Console, RenderableType

from autocron.bell import look
from autocron.cli.opening import open_existing
from autocron.cli.render import headline, section
from autocron.errors import ConfigError
from autocron.model import HOST_SETTINGS, Settings
from autocron.rates import UNITS
from autocron.settings import NUMBERS, OPTIONAL, wanted_setting
from autocron.store.place import Place
from autocron.text import printable

DEFAULTS = Settings()
SWITCH = {"on": True, "true": True, "off": False, "false": False}
MEANINGS = {
    "workers": "worker processes, in all",
    "queues": "workers of each; none: all serve all",
    "locked": "the autocron lock: no background work",
    "grace": "time for running jobs to finish at a stop",
    "linger": "time that the node outlives applications",
    "result_ttl": "time for which results are kept",
    "failed_ttl": "the same for those of failed jobs",
    "max_payload": "bytes of arguments or result",
    "threads": "sync jobs at once in one worker",
    "async_jobs": "async jobs at once in one worker",
    "max_jobs": "jobs after which a worker is replaced",
    "max_memory": "bytes above which a worker is replaced",
    "reload": "replace workers when source files change",
}


def parsed(name: str, text: str) -> dict[str, Any]:
    """Give what to store for a setting that was typed.

    Raises:
        ConfigError: there is none of this name, or the value can't be meant.
    """
    if name == "locked":
        return {name: _switch(name, text)}
    if _known(name) in OPTIONAL and text.lower() == "none":
        return wanted_setting(name, None)
    if name == "queues":
        return wanted_setting(name, _queues(text))
    if name == "reload":
        return wanted_setting(name, _switch(name, text))
    return wanted_setting(name, _whole(name, text) if name in NUMBERS or name == "workers" else _seconds(name, text))


def _known(name: str) -> str:
    if name not in MEANINGS:
        raise ConfigError(f"there is no setting {name!r}; there are {', '.join(MEANINGS)}")
    return name


def _switch(name: str, text: str) -> bool:
    if text.lower() not in SWITCH:
        raise ConfigError(f"{name}: {text!r} is neither on nor off")
    return SWITCH[text.lower()]


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        more = ", or none" if name in OPTIONAL else ""
        raise ConfigError(f"{name}: {text!r} is not a whole number from 1 on{more}") from None


def _seconds(name: str, text: str) -> float:
    found = re.fullmatch(r"(.*?)([smhd]?)", text)
    assert found
    try:
        return float(found[1]) * UNITS[found[2] or "s"]
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is no duration; give seconds, or such as 30m, 12h, 7d") from None


def _queues(text: str) -> object:
    if text.lower() == "none":
        return {}
    try:
        if text.startswith("{"):
            return msgspec.json.decode(text)
        return {name: int(count) for name, count in (one.rsplit("=", 1) for one in text.split(","))}
    except (msgspec.DecodeError, ValueError):
        raise ConfigError(
            f"queues: {text!r} does not say how many workers each queue has; write default=2,mail=1, or none"
        ) from None


def to_setting(_ctx: click.Context, param: click.Parameter, text: str | None) -> dict[str, Any]:
    """Give what an option for a single setting is to store."""
    try:
        return {} if text is None else parsed(str(param.name), text)
    except ConfigError as error:
        raise click.BadParameter(printable(str(error)), param=param) from error


@click.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value, if a wrong one
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.pass_context
def set_setting(ctx: click.Context, name: str | None, value: str | None) -> None:
    """Show the settings, or change one.

    Without NAME all are shown, without VALUE the one of this NAME.
    """
    place: Place = ctx.obj
    try:
        if name is not None and value is not None:
            store_and_tell(place, parsed(name, value))
            return
        names = MEANINGS if name is None else [_known(name)]
    except ConfigError as error:
        ctx.fail(printable(str(error)))
    settings = open_existing(place).settings()
    Console().print(headline(str(place)), shown(place, settings, names), crop=False)


def store_and_tell(place: Place, wanted: dict[str, Any], *, defaults: bool = False, quietly: bool = False) -> None:
    """Store settings, have a node that runs look at once, and tell how they are now.

    Args:
        place: of the database.
        wanted: the settings.
        defaults: go back to the defaults first.
        quietly: tell nothing.
    """
    store = open_existing(place)
    if defaults:
        store.reset_settings()
    if wanted:
        store.set(wanted)
    look(place.files)
    if quietly:
        return
    click.echo(printable(str(place)))
    settings = msgspec.structs.asdict(store.settings())
    for name in settings if defaults else wanted:
        click.echo(printable(f"{name}: {_typed(settings[name])}{_whose(place, name)}"))


def _whose(place: Place, name: str) -> str:
    return f" (on this machine, {gethostname()})" if not place.is_file and name in HOST_SETTINGS else ""


def _typed(value: Any) -> str:
    """Give a value as it could be typed."""
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case float():
            unit = next((one for one in "dhm" if value and value % UNITS[one] == 0), "s")
            return f"{value / UNITS[unit]:.15g}{unit}"
        case dict() if not value:
            return "none"
        case _:
            return msgspec.json.encode(value).decode()


def shown(place: Place, settings: Settings, names: Iterable[str] = MEANINGS) -> RenderableType:
    """Show the settings of these names as they could be typed, the defaults marked, with what they mean."""
    rows = list[tuple[str, str, str]]()
    for name in names:
        value = getattr(settings, name)
        mark = " (default)" if value == getattr(DEFAULTS, name) else ""
        rows.append((name, f"{_typed(value)}{mark}", f"{MEANINGS[name]}{_whose(place, name)}"))
    return section("settings", ("value", ""), rows)
