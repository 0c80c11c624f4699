"""The program that the workers run, made of what the applications say about themselves."""

import os
from typing import Any

import msgspec

from autocron.wire import Program, Report


def merge(current: Program | None, new: Program, *, alone: bool) -> Program:
    """Give the program after an application has said `new`.

    Args:
        current: the program so far.
        new: what the application says.
        alone: no other application is connected; the new one then decides alone, except for the known modules.
    """
    if current is None:
        return new
    modules = [*dict.fromkeys([*current.modules, *new.modules])]
    main = new.main or current.main
    if alone:
        settings = new.django_settings or current.django_settings
        return msgspec.structs.replace(new, modules=modules, main=main, django_settings=settings)
    return msgspec.structs.replace(
        current,
        modules=modules,
        main=main,
        sys_path=[*dict.fromkeys([*current.sys_path, *new.sys_path])],
        django_settings=current.django_settings or new.django_settings,
    )


def with_known(program: Program, known: list[str]) -> Program:
    """Add the modules in which applications have declared something before.

    Among them may be the script that was started, if it calls start() above its first task.
    """
    script = program.script if program.script and program.script.name in known else None
    main = program.main or script
    named = {*program.modules, main.name if main else ""}
    return msgspec.structs.replace(program, main=main, known=[name for name in known if name not in named])


def is_whole(report: Report, program: Program) -> bool:
    """Has the worker been through all that the applications have named by now?"""
    named = {*program.modules, *([program.main.name] if program.main else [])}
    return named <= {*report.imported, *report.missing, *report.errors}


def is_foreign(current: Program, new: Program) -> bool:
    """Is this another program, whose tasks these workers cannot import? One without tasks only enqueues."""
    return bool(new.modules or new.main) and (current.cwd != new.cwd or current.python != new.python)


def needs_new_workers(old: Program, new: Program) -> bool:
    """Would a worker of the old program find other code, or another environment, than one of the new?"""
    return _surroundings(old) != _surroundings(new)


def _surroundings(program: Program) -> tuple[Any, ...]:
    return program.python, program.cwd, program.sys_path, program.django_settings, program.environ


class ImportedCode:
    """What the workers of this generation have imported, compared with the files when an application connects.

    A worker reports its imports later than it makes them; what it reports first after a comparison is compared then.
    """

    def __init__(self) -> None:
        self.comparisons = 0
        self.sources: dict[str, float] = {}
        self._errors: set[tuple[str, str]] = set()

    def clear(self) -> None:
        """Begin with another generation."""
        self.sources = {}
        self._errors.clear()

    def is_outdated(self) -> bool:
        """Compare: is there other code than the workers have? What they failed to import may have been mended."""
        self.comparisons += 1
        return bool(self._errors) or _have_changed(self.sources)

    def came_late(self, report: Report, comparisons: int) -> bool:
        """Tell if this report would have made a difference to a comparison.

        Args:
            report: of a worker of this generation.
            comparisons: how many there had been at its last report or, for its first one, when it began.
        """
        return comparisons != self.comparisons and (bool(report.errors) or _have_changed(report.sources))

    def take(self, report: Report) -> list[tuple[str, str]]:
        """Note what a worker has imported; give the modules that it could not import, with errors that are new."""
        for path, mtime in report.sources.items():
            # Of a file of which workers have different versions one is outdated.
            self.sources[path] = mtime if self.sources.get(path, mtime) == mtime else 0.0
        new = [error for error in report.errors.items() if error not in self._errors]
        self._errors.update(new)
        return new


class SourceFiles:
    """Looks now and then whether a source file of the workers has changed.

    A file stays watched when workers fail to import it: it is the one that will be mended.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float | None] = {}

    def have_changed(self, sources: dict[str, float]) -> bool:
        """Say it once for each change.

        Args:
            sources: as workers imported them, with their mtimes.
        """
        before = sources | self._seen
        self._seen = {path: _mtime(path) for path in before}
        return self._seen != before


def _have_changed(sources: dict[str, float]) -> bool:
    return any(_mtime(path) != mtime for path, mtime in sources.items())


def _mtime(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None
