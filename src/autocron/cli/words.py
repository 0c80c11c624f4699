"""The words of the command line: where they may stand, and what each may be."""

import os
from collections.abc import Iterator

import click

from autocron.errors import ConfigError
from autocron.placing import queue_name
from autocron.store.place import Place, find_place
from autocron.text import printable

RESERVED = frozenset({"explain", "demo"})


class Admin(click.Group):
    """A group whose options may stand before or behind the database: ``autocron DATABASE --json``.

    Where no database is given, it is $AUTOCRON_DATABASE, which also keeps a password out of the list of processes.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the database behind the options and before the sub-command, as click wants it."""
        options, rest = self._split(self._with_database(args))
        return super().parse_args(ctx, [*options, "--", *rest] if rest else options)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command; say which there are when it is none of them."""
        if args[0] not in self.commands:
            known = ", ".join(sorted(self.commands))
            ctx.fail(f"No such command {args[0]!r}. There are: {known}; the database stands before them")
        return super().resolve_command(ctx, args)

    def _split(self, args: list[str]) -> tuple[list[str], list[str]]:
        """Give this group's own options, and the database with everything from the next plain word on."""
        options, database = list[str](), list[str]()
        words = iter(args)
        for word in words:
            if word == "--":
                return options, [*database, *words]
            if word.startswith("-"):
                options.append(word)
                if word in self._with_value():
                    options.append(_value(words, word))
            elif database:
                return options, [*database, word, *words]
            else:
                database.append(word)
        return options, database

    def _with_database(self, args: list[str]) -> list[str]:
        """Add the default database where none stands."""
        default = os.environ.get("AUTOCRON_DATABASE")
        options, rest = self._split(args)
        if not default or {"-h", "--help", "--version"} & {*options}:
            return args
        if not rest:
            return [*args, default]
        start = args.index(rest[0])
        return [*args[:start], default, *args[start:]] if rest[0] in self.commands else args

    def _with_value(self) -> set[str]:
        options = (one for one in self.params if isinstance(one, click.Option))
        return {name for one in options if not one.is_flag for name in one.opts}


def _value(words: Iterator[str], option: str) -> str:
    value = next(words, None)
    if value is None:
        raise click.BadOptionUsage(option, f"Option {option!r} requires an argument.")
    return value


def to_place(_ctx: click.Context, param: click.Parameter, name: str) -> Place:
    """Give the place of a database."""
    if name in RESERVED:
        raise click.BadParameter(
            f"{name!r} is a reserved word; write ./{name} for a database of that name", param=param
        )
    try:
        return find_place(name, create=False)
    except ConfigError as error:
        raise click.BadParameter(printable(str(error)), param=param) from error


def to_queue(_ctx: click.Context, param: click.Parameter, name: str) -> str:
    """Refuse what no queue can be called."""
    try:
        return queue_name(name)
    except ConfigError as error:
        raise click.BadParameter(printable(str(error)), param=param) from error
