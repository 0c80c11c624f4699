"""What this application is, as far as a worker needs to know it."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from autocron.names import MAIN_NAMES, main_module, main_name
from autocron.task import Registry
from autocron.wire import MainModule, Program

# What reloaders and servers tell their own children; a worker is none of these.
_FOREIGN = frozenset(
    {
        "RUN_MAIN",
        "WERKZEUG_RUN_MAIN",
        "WERKZEUG_SERVER_FD",
        "BOTTLE_CHILD",
        "BOTTLE_LOCKFILE",
        "SERVER_SOFTWARE",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "UWSGI_RELOADS",
        "UWSGI_ORIGINAL_PROC_NAME",
        "HUPPER_PARENT",
    }
)
_FOREIGN_PREFIXES = ("GUNICORN_",)


def describe(registry: Registry, started_in: set[str]) -> Program:
    """Say what a worker needs to import this application's code.

    Args:
        registry: what is declared so far.
        started_in: the modules that have called start().
    """
    modules = dict.fromkeys([*registry.modules(), *sorted(started_in)])
    cwd = working_directory()
    script = _main_module(cwd)
    main = script if registry.has_main else None
    return Program(
        python=interpreter(),
        cwd=cwd,
        sys_path=[_absolute(entry, cwd) for entry in sys.path],
        modules=[name for name in modules if name not in MAIN_NAMES and (main is None or name != main.name)],
        main=main,
        django_settings=_django_settings(),
        environ=own_environ(),
        script=script,
    )


def working_directory() -> str:
    """Give the path of the working directory, also when it has been deleted: another folder may stand there by now."""
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return os.readlink("/proc/self/cwd").removesuffix(" (deleted)")  # noqa: PTH115
        return "/"


def _absolute(path: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, path))  # noqa: PTH118 - links stay links


def interpreter() -> str:
    """Give the path of the Python that runs this application, also where a server has it built in."""
    chosen = os.environ.get("AUTOCRON_PYTHON")
    if chosen:
        return chosen
    beside = Path(sys.prefix, "bin", "python")
    return str(beside) if os.access(beside, os.X_OK) else sys.executable


def own_environ() -> dict[str, str]:
    """Give the environment without what reloaders and servers have put there for themselves."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES)
    }


def _main_module(cwd: str) -> MainModule | None:
    main, name = main_module(), main_name()
    file = getattr(main, "__file__", None)
    if name is None or file is None:
        return None
    is_spec = getattr(main, "__spec__", None) is not None
    return MainModule(name, _absolute(file, cwd), is_spec, list(sys.argv))


def _django_settings() -> str | None:
    """Give the settings module of a Django that is in use, not of one that is merely installed."""
    settings: Any = getattr(sys.modules.get("django.conf"), "settings", None)
    if settings is None or not settings.configured:
        return None
    return os.environ.get("DJANGO_SETTINGS_MODULE")


SERVER_COMMANDS = frozenset({"runserver", "runserver_plus", "testserver", "daphne", "runworker"})


def management_command() -> str | None:
    """Give the name of the Django management command that this process runs, if it does."""
    if "django.core.management" not in sys.modules or len(sys.argv) < 2:
        return None
    program = Path(sys.argv[0])
    is_django = program.name in {"manage.py", "django-admin", "django-admin.py"} or program.parts[-2:] == (
        "django",
        "__main__.py",
    )
    return sys.argv[1] if is_django else None
