"""``autocron DATABASE move TARGET``: everything goes to another database."""

import contextlib

import click

from autocron.cli.opening import check_exists, fail
from autocron.cli.words import to_place
from autocron.model import Settings
from autocron.store import paths
from autocron.store.move import Move, open_end
from autocron.store.place import Place
from autocron.text import printable

EXTRA = 30.0  # seconds beside the grace that nodes have to end


@click.command()
@click.argument("target", envvar="AUTOCRON_DATABASE", callback=to_place)
@click.option("--cancel", is_flag=True, help="Give up a move that is not complete.")
@click.pass_obj
def move(database: Place, target: Place, cancel: bool) -> None:
    """Move everything to another database, TARGET.

    All jobs, results, schedules and settings go there. Nodes end for that, and nothing can be stored until it is done.
    Run it again if something has stopped it.
    """
    check_exists(database)
    if database == target:
        fail("the target is the database itself")
    for place in (database, target):
        paths.create_folder(place.files.parent)
    with contextlib.closing(open_end(database)) as source, contextlib.closing(open_end(target)) as end:
        one = Move(source, end, lambda text: click.echo(printable(text)), Settings().grace + EXTRA)
        if cancel:
            one.cancel()
        else:
            one.run()
