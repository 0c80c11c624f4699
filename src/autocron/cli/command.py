"""The command line: what is asked for, checked and done."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console

from autocron.bell import look, ring
from autocron.cli import facts, live, moving, render, words
from autocron.cli.doctor import doctor
from autocron.cli.opening import fail, open_existing
from autocron.cli.setting import set_setting, shown, store_and_tell, to_setting
from autocron.clock import SystemClock
from autocron.errors import AutocronError, StoreMoved
from autocron.model import StoredSchedule
from autocron.program import describe
from autocron.slots import job_of
from autocron.store import paths
from autocron.store.base import Store
from autocron.store.place import Place, open_store
from autocron.task import Registry
from autocron.text import printable
from autocron.version import VERSION

FILES = ("", "-wal", "-shm", ".gate", ".sock", ".log", ".log.old", ".lock")  # the lock last: it is held meanwhile
ROWS = 10


@click.group(cls=words.Admin, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("database", callback=words.to_place)
@click.option("--set-autocron-lock", "locked", metavar="on|off", callback=to_setting, help="Stop all background work?")
@click.option("--set-max-workers", "workers", metavar="N", callback=to_setting, help="As `set workers N`.")
@click.option("--set-result-ttl", "result_ttl", metavar="SECONDS", callback=to_setting, help="As `set result_ttl`.")
@click.option("--set-defaults", "defaults", is_flag=True, help="Go back to the default settings; the lock stays.")
@click.option("--delete-database", "delete", is_flag=True, help="Delete the database and all jobs in it.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("-i", "--info", is_flag=True, help="Show settings, processes, jobs and schedules (the default).")
@click.option("--json", "as_json", is_flag=True, help="Show them as JSON.")
@click.version_option(VERSION, prog_name="autocron")
@click.pass_context
def autocron(
    ctx: click.Context, /, database: Place, *, delete: bool, yes: bool, defaults: bool, info: bool, as_json: bool,
    **changes: dict[str, Any],
) -> None:  # fmt: skip
    """Look at a DATABASE of autocron (a name, a path, or a postgresql:// URL) and change its settings."""
    _check_combination(ctx)
    ctx.obj = database
    if ctx.invoked_subcommand is not None:
        return
    if delete:
        _delete(database, ask=not yes)
        return
    wanted = {name: value for change in changes.values() for name, value in change.items()}
    shows = info or as_json or not (defaults or wanted)
    if defaults or wanted:
        store_and_tell(database, wanted, defaults=defaults, quietly=shows)
    if shows:
        _show(database, as_json=as_json)


@autocron.command()
@click.option("--once", is_flag=True, help="Show it once instead of live, as where the output is not a terminal.")
@click.pass_obj
def top(database: Place, once: bool) -> None:
    """Show live what runs, what comes next and what failed.

    q ends it.
    """
    store, console = open_existing(database), Console()

    def frame(rows: int) -> Any:
        return render.board(facts.collect_board(database, store, SystemClock(), rows))

    if once or not console.is_terminal:
        console.print(frame(ROWS), crop=False)
    else:
        live.show_live(console, lambda: frame(min(ROWS, render.rows_of(console.height))))


@autocron.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.pass_obj
def work(database: Place, modules: tuple[str, ...]) -> None:
    """Run the tasks of MODULEs in the foreground.

    It ends with Ctrl-C or SIGTERM.
    """
    from autocron.node.__main__ import run_foreground

    program = describe(Registry(), set(modules))
    folder = program.cwd
    if not Path(folder).is_dir():
        fail(f"the current folder, {folder}, was deleted; go to the one in which the modules are")
    program = msgspec.structs.replace(
        program,
        sys_path=[folder, *(entry for entry in program.sys_path[1:] if entry != folder)],
        django_settings=os.environ.get("DJANGO_SETTINGS_MODULE"),
    )
    paths.create_folder(database.files.parent)
    store = open_store(database)
    store.settings()  # a database that cannot be used is told here
    if not store.may_run_jobs():
        fail(f"this user of {database} may not run jobs: grant what a node needs, see docs/postgres.md")
    if owner := paths.other_owner(database.files):
        fail(
            f"{database} belongs to {owner}: workers of root would run that user's tasks as root. Run this as that user"
        )
    if run_foreground(database, program):
        fail(f"another node works on {database}; end the applications that use it, or let them do the work")


@autocron.group(invoke_without_command=True)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """Show the schedules; or let one rest, go on, or run now."""
    if ctx.invoked_subcommand is None:
        database: Place = ctx.obj
        Console().print(render.schedules(facts.collect(database, open_existing(database), SystemClock())), crop=False)


@schedules.command()
@click.argument("name")
@click.pass_obj
def pause(database: Place, name: str) -> None:
    """Let the schedule NAME rest until it is resumed."""
    _pause(database, name, True)


@schedules.command()
@click.argument("name")
@click.pass_obj
def resume(database: Place, name: str) -> None:
    """Let the schedule NAME go on; its own setting says what becomes of the runs that it missed."""
    _pause(database, name, False)


@schedules.command()
@click.argument("name")
@click.pass_obj
def run_now(database: Place, name: str) -> None:
    """Store a run of the schedule NAME that is due now."""
    store, now = open_existing(database), SystemClock().now()
    now += store.ahead(now)
    job = job_of(_schedule(store, name).declaration, now, now)
    uuid = store.run_now(name, job)
    if not ring(database.files):
        store.tell_nodes()
    click.echo(f"{printable(name)} runs now, as job {uuid}")


def _pause(database: Place, name: str, paused: bool) -> None:
    store = open_existing(database)
    _schedule(store, name)
    store.pause(name, paused)
    look(database.files)
    click.echo(f"{printable(name)} {'is paused' if paused else 'goes on'}")


def _schedule(store: Store, name: str) -> StoredSchedule:
    known = {one.declaration.name: one for one in store.schedules()}
    if name not in known:
        fail(f"there is no schedule {name!r}. There are: {', '.join(known) or 'none'}")
    return known[name]


@autocron.command("pause")
@click.argument("queue", callback=words.to_queue)
@click.pass_obj
def pause_queue(place: Place, queue: str) -> None:
    """Let no job of a QUEUE begin, until it is resumed."""
    _switch(place, queue, Store.pause_queue, "is paused")


@autocron.command("resume")
@click.argument("queue", callback=words.to_queue)
@click.pass_obj
def resume_queue(place: Place, queue: str) -> None:
    """Let the jobs of a paused QUEUE begin again."""
    _switch(place, queue, Store.resume_queue, "is not paused")


def _switch(place: Place, queue: str, change: Callable[[Store, str], bool], state: str) -> None:
    is_new = change(open_existing(place), queue)
    look(place.files)
    click.echo(f"the queue {queue} {state}{'' if is_new else ', as it was before'}")


autocron.add_command(moving.move)
autocron.add_command(set_setting)
autocron.add_command(doctor)


def _check_combination(ctx: click.Context) -> None:
    """Refuse options that would be ignored: who gives them expects something of them."""
    options = (one for one in ctx.command.params if isinstance(one, click.Option))
    given = {one.name: one.opts[-1] for one in options if _is_given(ctx, one)}
    others = [option for name, option in given.items() if name not in ("delete", "yes")]
    if ctx.invoked_subcommand is not None and given:
        ctx.fail(f"{next(iter(given.values()))} does not go with {ctx.invoked_subcommand}; use one after the other")
    if "yes" in given and "delete" not in given:
        ctx.fail("--yes goes with --delete-database only")
    if "delete" in given and others:
        ctx.fail(f"--delete-database does not go with {others[0]}: nothing would be left of it")


def _is_given(ctx: click.Context, option: click.Option) -> bool:
    return ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE


def _show(database: Place, *, as_json: bool) -> None:
    found = facts.collect(database, open_existing(database), SystemClock())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        Console().print(render.overview(found, shown(database, found.settings)), crop=False)


def _delete(database: Place, *, ask: bool) -> None:
    if not database.is_file:
        fail(f"{database} is a schema in a database; its owner deletes it there, with DROP SCHEMA ... CASCADE")
    store = open_existing(database)
    with contextlib.suppress(StoreMoved):
        store.modules()  # what is not a database of autocron is refused here
    store.close()
    if facts.node_pid(database) is not None:
        _refuse_to_delete(database)
    if ask:
        click.confirm(f"Delete {printable(str(database))} and all jobs in it?", abort=True)
    if not paths.try_lock(database.files, paths.NODE_BYTE):  # one was started meanwhile; from here on none can be
        _refuse_to_delete(database)
    for ending in FILES:
        paths.beside(database.files, ending).unlink(missing_ok=True)
    click.echo(f"deleted {printable(str(database))}")


def _refuse_to_delete(database: Place) -> NoReturn:
    fail(
        f"node {facts.node_pid(database)} works on {database}. End the applications that use it, or stop the node with"
        f" autocron {database} --set-autocron-lock on"
    )


def main() -> None:
    """Run the admin tool; its errors are one line and an exit status: 1, or 2 when the command line is wrong."""
    try:
        autocron()
    except AutocronError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(1)
