"""Processes, as /proc shows them: which belong together, what they cost, and their end."""

import contextlib
import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")
ROLE = "PEER_ROLE"  # a variable that the children and grandchildren of a process inherit


def of_role(role: str) -> list[int]:
    """Give the processes that were started under a role, whoever their parent is now."""
    wanted = f"{ROLE}={role}".encode()
    return [pid for pid in all_pids() if wanted in environment(pid)]


def environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return []


def all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]


def tree(root: int) -> list[int]:
    """Give a process and its descendants. Servers may overwrite their environment, so a role does not find them."""
    parents = {pid: parent(pid) for pid in all_pids()}
    found = [root]
    for pid in found:  # grows as it goes
        found += [child for child, its_parent in parents.items() if its_parent == pid]
    return found


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def cpu_seconds(pids: list[int]) -> float:
    """Give the processor time that processes have used so far, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in (PROC / str(pid) / "task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def kill_role(role: str) -> None:
    """Kill all processes of a role: stop them first, so that none sees another one die and acts upon it."""
    while pids := of_role(role):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.01)
