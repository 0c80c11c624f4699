"""The command line: what is asked for, checked and done."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console
from rich.live import Live

from autocron.cli import facts, render
from autocron.clock import SystemClock
from autocron.errors import AutocronError, ConfigError
from autocron.program import describe
from autocron.store.base import Store
from autocron.store.paths import beside, resolve_database
from autocron.store.sqlite import open_store
from autocron.task import Registry
from autocron.version import VERSION

RESERVED = frozenset({"explain", "demo"})
FILES_BESIDE = ("", "-wal", "-shm", ".lock", ".gate", ".sock", ".log", ".log.old")
REFRESH = 1.0  # seconds
ROWS = 10


class Admin(click.Group):
    """A group whose options may stand behind the database: ``autocron DATABASE --json``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the database behind the options and before the sub-command, as click wants it."""
        words = args[1:]
        split = next((at for at, word in enumerate(words, 1) if word in self.commands), len(args))
        head, tail = args[:split], args[split:]
        if head and not head[0].startswith("-"):
            head = [*head[1:], head[0]]
        return super().parse_args(ctx, [*head, *tail])


class OnOff(click.ParamType[bool]):
    """on, off, true or false, in any case."""

    name = "on|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Give the value as a bool."""
        known = {"on": True, "true": True, "off": False, "false": False}
        word = str(value).lower()
        if word not in known:
            self.fail(f"{value!r} is none of on, off, true, false", param, ctx)
        return known[word]


@click.group(cls=Admin, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("database")
@click.option("--set-autocron-lock", "locked", type=OnOff(), help="Stop all background work, or allow it again.")
@click.option("--set-max-workers", "workers", type=click.IntRange(1), metavar="N", help="Store the number of workers.")
@click.option("--set-result-ttl", "result_ttl", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Store how long results are kept.")  # fmt: skip
@click.option("--set-defaults", "defaults", is_flag=True, help="Go back to the default settings; the lock stays.")
@click.option("--delete-database", "delete", is_flag=True, help="Delete the database and all jobs in it.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("-i", "--info", is_flag=True, help="Show settings, processes, jobs and schedules (the default).")
@click.option("--json", "as_json", is_flag=True, help="Show them as JSON.")
@click.version_option(VERSION, prog_name="autocron")
@click.pass_context
def autocron(
    ctx: click.Context, /, database: str, *, delete: bool, yes: bool, defaults: bool, info: bool, as_json: bool,
    **changes: bool | int | float | None,
) -> None:  # fmt: skip
    """Look at a DATABASE of autocron and change its settings."""
    ctx.obj = path = _path(ctx, database)
    if ctx.invoked_subcommand is not None:
        return
    if delete:
        _delete(path, ask=not yes)
        return
    store = _open(path)
    wanted = {name: value for name, value in changes.items() if value is not None}
    if defaults:
        store.reset_settings()
    if wanted:
        store.set(wanted)
    if defaults or wanted:
        facts.tell_node(path)
    if info or as_json or not (defaults or wanted):
        _show(path, store, as_json=as_json)
    else:
        _tell_changes(path, store, wanted)


@autocron.command()
@click.option("--once", is_flag=True, help="Show it once instead of live.")
@click.pass_obj
def top(path: Path, once: bool) -> None:
    """Show live what runs, what comes next and what failed."""
    store, console = _open(path), Console()

    def frame() -> Any:
        return render.board(facts.collect_board(path, store, SystemClock(), ROWS))

    if once:
        console.print(frame())
        return
    with Live(frame(), console=console, screen=console.is_terminal, auto_refresh=False) as live:
        _repeat(lambda: live.update(frame(), refresh=True))


@autocron.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.pass_obj
def work(path: Path, modules: tuple[str, ...]) -> None:
    """Run the tasks of these MODULEs in the foreground, until a signal comes."""
    from autocron.node.__main__ import run_foreground

    folder = os.getcwd()  # noqa: PTH109 (as a worker will see it)
    program = msgspec.structs.replace(
        describe(Registry(), set(modules)),
        sys_path=[folder, *(os.path.abspath(entry) for entry in sys.path[1:] if entry != folder)],  # noqa: PTH100
        django_settings=os.environ.get("DJANGO_SETTINGS_MODULE"),
    )
    open_store(path).settings()  # a database that cannot be used is told here
    if run_foreground(path, program):
        _fail(f"another node works on {path}; end the applications that use it, or let them do the work")


def _path(ctx: click.Context, database: str) -> Path:
    if database in RESERVED:
        raise click.UsageError(f"{database!r} is no database; write ./{database} for one of that name", ctx)
    try:
        return resolve_database(database)
    except ConfigError as error:
        raise click.UsageError(str(error), ctx) from error


def _open(path: Path) -> Store:
    if not path.exists():
        _fail(f"there is no database {path}; an application creates it with autocron.start()")
    return open_store(path)


def _show(path: Path, store: Store, *, as_json: bool) -> None:
    found = facts.collect(path, store, SystemClock())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        Console().print(render.overview(found))


def _tell_changes(path: Path, store: Store, wanted: dict[str, Any]) -> None:
    click.echo(str(path))
    settings = msgspec.structs.asdict(store.settings())
    for name in wanted or settings:
        click.echo(f"{name}: {msgspec.json.encode(settings[name]).decode()}")


def _delete(path: Path, *, ask: bool) -> None:
    if not path.exists():
        _fail(f"there is no database {path}")
    node = facts.ask_node(path)
    if node is not None:
        _fail(f"node {node.pid} works on {path}; end the applications that use it first, or set the lock")
    if ask:
        click.confirm(f"Delete {path} and all jobs in it?", abort=True)
    for ending in FILES_BESIDE:
        beside(path, ending).unlink(missing_ok=True)
    click.echo(f"deleted {path}")


def _repeat(action: Callable[[], None]) -> None:
    try:
        while True:
            action()
            time.sleep(REFRESH)
    except KeyboardInterrupt:
        return


def _fail(text: str) -> NoReturn:
    raise click.ClickException(text)


def main() -> None:
    """Run the admin tool; its errors are one line and an exit status: 1, or 2 when the command line is wrong."""
    try:
        autocron()
    except AutocronError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
