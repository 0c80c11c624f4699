"""Bare SQLite, to compare the peers with."""

import json
import os
import subprocess
from typing import Any

from .measure import Scale, percentile
from .peer import FILES, Peer
from .run import Wrong

MOST = 10_000  # jobs


def measure_yardstick(peer: Peer, scale: Scale) -> dict[str, list[dict[str, Any]]]:
    """Run the yardstick as often as anything; give its figures by their names."""
    return {"yardstick": [once(peer, min(scale.jobs, MOST)) for _ in range(scale.repeats)]}


def once(peer: Peer, count: int) -> dict[str, float]:
    command = [str(peer.python), str(peer.file), str(count)]
    environment = os.environ | {"PYTHONPATH": str(FILES.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(done.stderr.strip().splitlines()[-1])
    measured = json.loads(done.stdout)
    figures = {"one": measured["one"], "hundred": measured["hundred"]}
    for durability in ("normal", "full"):
        times = measured[durability]
        figures[f"{durability}_rate"] = count / sum(times)
        figures |= {f"{durability}_p{percent}": percentile(times, percent) for percent in (50, 99)}
    return figures
