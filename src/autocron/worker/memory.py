"""How much memory this process has."""

import os
import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")


def memory() -> int:
    """Give the bytes that are resident now; where the system does not tell, the most that ever were."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
