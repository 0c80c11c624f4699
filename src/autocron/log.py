"""The ``autocron`` logger. It is heard also where nobody has set up logging."""

import logging
import sys

logger = logging.getLogger("autocron")


class _Fallback(logging.Handler):
    """Writes to stderr as long as nobody else handles what autocron logs."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.root.handlers or logger.handlers != [self] or sys.stderr is None:
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def set_up() -> None:
    """Make the logger write to stderr by default; called once."""
    handler = _Fallback(logging.INFO)
    handler.setFormatter(logging.Formatter("autocron: %(message)s"))
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


set_up()
