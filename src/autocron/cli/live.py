"""A display that renews itself until somebody has seen enough."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Generator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from autocron.errors import StoreError

REFRESH = 1.0  # seconds


def show_live(console: Console, frame: Callable[[], RenderableType]) -> None:
    """Show one frame after the other until q or Ctrl-C is pressed; while the database cannot be read, why that is."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        quit_key() as wait,
        Live(frame(), console=console, screen=True, auto_refresh=False) as live,
    ):
        while not wait(REFRESH):
            live.update(_frame_or_error(frame), refresh=True)


def _frame_or_error(frame: Callable[[], RenderableType]) -> RenderableType:
    try:
        return frame()
    except StoreError as error:  # a server that starts again is back soon
        return Text(str(error), style="red")


@contextlib.contextmanager
def quit_key() -> Generator[Callable[[float], bool]]:
    """Give a function that waits for so many seconds, or until q is pressed, and says whether it was."""
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios  # a Windows machine must be able to import this module
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)  # keys come one by one and are not shown; Ctrl-C stays what it is
    try:
        yield lambda seconds: _is_quit(keyboard, seconds)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _is_quit(keyboard: int, seconds: float) -> bool:
    if not select.select([keyboard], [], [], seconds)[0]:
        return False
    keys = os.read(keyboard, 64)
    return not keys or b"q" in keys.lower()  # no keys: the terminal is gone
