"""autocron beside other libraries, measured on this machine: `make bench-peers`.

About three minutes for each of the peers; `--quick` takes a third of that and only shows that all works. Other work on
the machine disturbs it. What was measured is kept under .venv/peers, so peers can be measured one by one; the report is
made of all that is there. The full one goes to docs/.
"""

import argparse
import json
import os
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from comparison import measure
from comparison.peer import HOME, ROOT, Peer, Skip, all_peers
from comparison.report import write
from comparison.run import Wrong
from comparison.servers import Server, server
from comparison.yardstick import measure_yardstick

YARDSTICK = "yardstick"  # the store of what is no library
PARTS = {"speed": measure.measure_speed, "crash": measure.measure_crash}
Results = dict[str, Any]


def main() -> None:
    """Measure what is asked for, then write the report of all that has been measured."""
    arguments = parse()
    scale = measure.QUICK if arguments.quick else measure.FULL
    store = Store("quick" if arguments.quick else "full")
    peers = [peer for peer in all_peers() if not arguments.peers or any(name in peer.name for name in arguments.peers)]
    if "speed" in arguments.part:
        for peer in peers:
            store.keep(peer, examine(peer, "speed", scale))
    if "crash" in arguments.part:  # this one leaves the machine idle, so all at once
        peers = [peer for peer in peers if peer.store != YARDSTICK]
        with ThreadPoolExecutor(len(peers)) as threads:
            for peer, results in zip(
                peers, threads.map(lambda peer: examine(peer, "crash", scale), peers), strict=True
            ):
                store.keep(peer, results)
    write(store.all(), ROOT / "docs" if store.name == "full" else store.folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small counts, no repeats; the report is not for docs/")
    parser.add_argument("--part", action="append", choices=PARTS, help="measure only this (default: all)")
    parser.add_argument("peers", nargs="*", metavar="PEER", help="only peers whose name contains this (default: all)")
    arguments = parser.parse_args()
    arguments.part = arguments.part or list(PARTS)
    return arguments


def examine(peer: Peer, part: str, scale: measure.Scale) -> Results:
    """Measure one part of one peer, or tell why it was skipped."""
    print(f"{peer.name}: {part}", file=sys.stderr, flush=True)
    try:
        peer.prepare()
        if peer.store == YARDSTICK:
            return facts(peer, Server()) | measure_yardstick(peer, scale)
        with server(peer.store) as running:
            return facts(peer, running) | PARTS[part](peer, running, scale)
    except (Skip, Wrong) as reason:
        print(f"{peer.name}: skipped, {reason}", file=sys.stderr, flush=True)
        return {"title": peer.title, "skipped": str(reason)}


def facts(peer: Peer, running: Server) -> Results:
    return {
        "title": peer.title,
        "version": f"{peer.package} {peer.ask_version()}",
        "python": peer.ask_python(),
        "store": running.title,
        "durability": peer.durability or running.durability,
        "settings": peer.settings,
        "machine": machine(),
    }


def machine() -> str:
    names = re.findall(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores ({(names or [platform.machine()])[0]}), Linux {platform.release()}"


class Store:
    """What has been measured, in one file for each peer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = HOME / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def keep(self, peer: Peer, results: Results) -> None:
        path = self.folder / f"{peer.name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        if "skipped" in results or "skipped" in before:
            before = {}
        path.write_text(json.dumps(before | results, indent=1))

    def all(self) -> dict[str, Results]:
        return {path.stem: json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))}


if __name__ == "__main__":
    main()
