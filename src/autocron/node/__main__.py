"""Start a node: ``python -m autocron.node FILES``. It detaches itself; applications start it, people need not.

FILES is where its socket, lock and log are; the database, whose address may hold a password, is $AUTOCRON_DATABASE.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from autocron import wire
from autocron.clock import SystemClock
from autocron.store import paths
from autocron.store.place import Place, open_membership, open_node_stores

LOCK_PATIENCE = 10.0  # seconds that a node waits for its predecessor to end
PR_SET_CHILD_SUBREAPER = 36
THREAD_SWITCH = 0.0001  # seconds after which a thread that waits for the interpreter gets it; 5 ms would halve the rate


def main() -> None:
    """Detach, then run a node unless there is one."""
    place = Place(os.environ["AUTOCRON_DATABASE"], Path(sys.argv[1]))
    if os.fork():
        os._exit(0)
    _reset_signals()
    _send_errors_to_log(place.files)
    if _become_the_node(place.files):
        _run(place, None)


def run_foreground(place: Place, program: wire.Program) -> int:
    """Run the node in this process until a signal comes.

    Returns:
        The exit status: 1 when another node works on this database.
    """
    if not paths.try_lock(place.files, paths.NODE_BYTE):
        return 1
    _run(place, program)
    return 0


def _reset_signals() -> None:
    """The application may have blocked or ignored signals; a node needs its own."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _become_the_node(database: Path) -> bool:
    """Take the lock; a predecessor may be at its end. Another node that serves is a reason to leave."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while not paths.try_lock(database, paths.NODE_BYTE):
        with contextlib.suppress(OSError):
            paths.connect(database, timeout=1.0).close()
            return False
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _run(place: Place, program: wire.Program | None) -> None:
    from autocron.node.loop import Node, install_signals

    database = place.files
    sys.setswitchinterval(THREAD_SWITCH)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of, at lost connections, is raised as well
    _be_subreaper()
    listener = _listen(database)
    _end_orphans(database)
    store, maintenance_store = open_node_stores(place)
    store.modules()  # a database that cannot be used ends this process here, with the reason in its log
    node = Node(listener, store, maintenance_store, place, SystemClock(), membership=open_membership(place))
    install_signals(node)
    if program is not None:
        node.serve(program)
    node.run()
    with contextlib.suppress(OSError):
        paths.socket_path(database).unlink()
    listener.close()
    paths.unlock(database, paths.NODE_BYTE)
    node.close_connections()


def _listen(database: Path) -> socket.socket:
    """Only the holder of the lock comes here, so a socket that stands there is a dead one's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    paths.socket_path(database).unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with paths.socket_address(database) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def _end_orphans(database: Path) -> None:
    """End workers of a node that was killed: their jobs are about to be queued again."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while (pid := paths.lock_holder(database, paths.FIRST_WORKER_BYTE, paths.WORKER_BYTES)) is not None:
        if pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise SystemExit(f"worker {pid} of an earlier node does not end")
        time.sleep(0.005)


def _send_errors_to_log(database: Path) -> None:
    """What the interpreter prints when this process fails must be found somewhere."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    log = os.open(paths.log_path(database), flags, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _be_subreaper() -> None:
    """Processes that a dead worker leaves behind become ours, so that none becomes a zombie of somebody else."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
