"""Bare SQLite, to compare the peers with."""

import json
import subprocess
from typing import Any

from .measure import Scale, percentile
from .peer import Peer
from .run import Wrong

MOST = 20_000  # jobs one by one with a wait for the disk at each


def measure_yardstick(peer: Peer, scale: Scale) -> dict[str, list[dict[str, Any]]]:
    """Run the yardstick as often as anything; give its figures by their names."""
    return {"yardstick": [once(peer, min(scale.jobs, MOST) // 2) for _ in range(scale.repeats)]}


def once(peer: Peer, count: int) -> dict[str, Any]:
    done = subprocess.run([peer.python, peer.file, str(count)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(done.stderr.strip().splitlines()[-1])
    measured = json.loads(done.stdout)
    figures: dict[str, Any] = {"sqlite": measured["sqlite"]}
    for synchronous in ("normal", "full"):
        part = measured[synchronous]
        figures |= {f"{synchronous}_{name}": part[name] for name in ("rate", "one", "hundred")}
        figures |= {f"{synchronous}_p{percent}": percentile(part["times"], percent) for percent in (50, 99)}
    return figures
