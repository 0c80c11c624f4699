"""Import the application's modules and report what is declared in them."""

import importlib
import importlib.util
import inspect
import os
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from autocron import wire
from autocron.signatures import describe
from autocron.task import registry
from autocron.worker.script import MainEnds, imported_script

MAIN_DEADLINE = 10.0  # seconds; a main module that is still running by then is a server or an endless loop
NO_DEADLINE = 0.0
SERVER_EVENTS = frozenset(
    {
        "socket.bind",
        "socket.listen",
        "subprocess.Popen",
        "os.fork",
        "os.forkpty",
        "os.exec",
        "os.posix_spawn",
        "os.system",
    }
)

CLOCK_TICK = 0.01  # seconds; what a file system notes as the time may be so old

_OWN_FILES = f"{Path(wire.__file__).parent}{os.sep}"


class Importer:
    """Imports modules once each and remembers what came of it."""

    def __init__(self, program: wire.Program) -> None:
        self._program = program
        self._started_at = time.time()
        self._library = tuple({f"{os.path.realpath(path)}{os.sep}" for path in sysconfig.get_paths().values() if path})
        self._guard = _ServerGuard()
        self._imported: list[str] = []
        self._missing: list[str] = []
        self._errors: dict[str, str] = {}
        self._sources: dict[str, float] = {}

    def import_all(self) -> wire.Report:
        """Import everything that the program names."""
        if self._program.django_settings:
            self._attempt("the Django project", lambda: self._set_up_django(self._program.django_settings or ""))
        self._import(self._program.modules, self._program.main)
        for name in self._program.known:
            self._attempt(name, lambda name=name: self._import_known(name))
        return self.report()

    def import_more(self, modules: list[str], main: wire.MainModule | None) -> wire.Report:
        """Import these modules, the main module under its own name, and report everything that is declared."""
        self._import(modules, main)
        return self.report()

    def _import(self, modules: list[str], main: wire.MainModule | None) -> None:
        if main is not None and main.name not in self._imported:
            self._attempt(main.name, lambda: self._import_main(main))
        for name in modules:
            if not (main and name == main.name):
                self._attempt(name, lambda name=name: importlib.import_module(name))

    def report(self) -> wire.Report:
        """Say what is declared in all that was imported."""
        self._note_sources()
        return wire.Report(
            {name: describe(function) for name, function in registry.functions.items()},
            list(registry.schedules.values()),
            [*self._imported],
            [*self._missing],
            dict(self._errors),
            dict(self._sources),
            sorted(name for name, function in registry.functions.items() if inspect.iscoroutinefunction(function)),
            dict(registry.failure_hooks),
        )

    def _attempt(self, name: str, action: Any) -> None:
        for past in (self._imported, self._missing):
            if name in past:
                past.remove(name)
        self._errors.pop(name, None)
        with _signal_handlers_kept():
            try:
                action()
            except ModuleNotFoundError as error:
                if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                    self._missing.append(name)
                else:
                    self._errors[name] = traceback.format_exc()
            except MainEnds:
                pass  # what it declares from there on is unknown until an application names it
            except BaseException:
                self._errors[name] = traceback.format_exc()
            else:
                self._imported.append(name)

    def _set_up_django(self, settings_module: str) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings_module
        django = importlib.import_module("django")
        django.setup()
        settings = importlib.import_module("django.conf").settings
        if getattr(settings, "ROOT_URLCONF", None):
            importlib.import_module(settings.ROOT_URLCONF)

    def _import_main(self, main: wire.MainModule) -> None:
        spec = importlib.util.find_spec(main.name) if main.is_spec else _spec_of_script(main)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"no module named {main.name!r}", name=main.name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[main.name] = module
        argv, sys.argv = sys.argv, list(main.argv)
        try:
            with self._guard.active(MAIN_DEADLINE), imported_script(main.name):
                spec.loader.exec_module(module)
        except (MainEnds, SystemExit):
            pass  # it would have served or waited now; what it declares stands above
        finally:
            sys.argv = argv

    def _import_known(self, name: str) -> None:
        """Import what no application has named yet: it may be a script that was started another time."""
        with self._guard.active(NO_DEADLINE), imported_script(name):
            try:
                importlib.import_module(name)
            except SystemExit:
                raise MainEnds("exit") from None

    def _note_sources(self) -> None:
        """Note the files of new modules; of the others other versions may be there by now."""
        for module in list(sys.modules.values()):
            path = _file_of(module)
            if path is None or path in self._sources or self._is_library(path):
                continue
            try:
                status = os.stat(path)
            except OSError:
                continue
            # Unknown which version was imported: never taken for current.
            unknown = may_have_changed_since(self._started_at, status.st_ctime)
            self._sources[path] = 0.0 if unknown else status.st_mtime

    def _is_library(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self._library) or path.startswith(_OWN_FILES)


def may_have_changed_since(moment: float, ctime: float) -> bool:
    """Tell if a file with this ctime, which unlike its mtime nobody can set, may have been written after the moment."""
    keeps_whole_seconds = ctime.is_integer()
    return ctime + (1.0 if keeps_whole_seconds else CLOCK_TICK) > moment


class _ServerGuard:
    """While it is active, this thread cannot start a server or a process, nor run on for ever."""

    def __init__(self) -> None:
        self._active = False
        self._thread = 0
        self._hooked = False

    @contextmanager
    def active(self, deadline: float) -> Generator[None]:
        """Raise MainEnds in the block where it would do so, and after so many seconds."""
        if not self._hooked:
            sys.addaudithook(self._audit)
            self._hooked = True
        self._thread = threading.get_ident()
        self._active = True
        signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, deadline)
        try:
            yield
        finally:
            self._active = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _audit(self, event: str, _args: Any) -> None:
        if not self._active or event not in SERVER_EVENTS:
            return
        if threading.get_ident() != self._thread:
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # the main thread waits for this one; stop it too
        raise MainEnds(event)

    def _alarm(self, *_: object) -> None:
        if self._active:
            raise MainEnds("deadline")


def _spec_of_script(main: wire.MainModule) -> Any:
    return importlib.util.spec_from_file_location(main.name, main.path)


def _file_of(module: ModuleType | None) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and Path(file).suffix == ".py" else None


@contextmanager
def _signal_handlers_kept() -> Generator[None]:
    """Whatever the imported code does to signal handlers, the worker keeps its own."""
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)
