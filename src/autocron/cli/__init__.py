"""The admin tool: ``autocron DATABASE [OPTIONS] [COMMAND]``."""

from autocron.cli.command import main

__all__ = ["main"]
