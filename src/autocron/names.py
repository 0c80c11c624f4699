"""The names that things have in the database: the same in the application and in its workers.

The module that was started is called ``__main__`` in the application, but a worker imports it under its own name.
Whatever is stored (task names, class names of values) therefore uses the real name of the main module.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

# A process that multiprocessing has spawned executes its parent's main module again, under the second of these names.
MAIN_NAMES = ("__main__", "__mp_main__")


def main_module() -> ModuleType | None:
    """Give the module that was started."""
    return sys.modules.get("__mp_main__") or sys.modules.get("__main__")


def main_name() -> str | None:
    """Give the real name of the ``__main__`` module; None in a REPL, with ``python -c`` or a script from stdin."""
    main = main_module()
    if main is None:
        return None
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if not file or not Path(file).exists():
        return None
    return Path(file).stem


def real_module_name(name: str) -> str:
    """Give the name under which a worker knows this module."""
    return (main_name() or name) if name in MAIN_NAMES else name


def full_name(thing: type | Callable[..., Any]) -> str:
    """Give the name under which a worker knows this function or class."""
    return f"{real_module_name(thing.__module__)}.{thing.__qualname__}"


def find_module(name: str) -> ModuleType | None:
    """Give the module of this real name if it is imported already; never imports anything."""
    module = sys.modules.get(name)
    if module is None and name == main_name():
        return main_module()
    return module


def new_uuid() -> str:
    """Give a new version 7 uuid: random, and later ones sort after earlier ones, which keeps indexes compact."""
    moment, digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10).hex()
    variant = "89ab"[int(digits[3], 16) & 3]
    return f"{moment[:8]}-{moment[8:]}-7{digits[:3]}-{variant}{digits[4:7]}-{digits[7:19]}"
