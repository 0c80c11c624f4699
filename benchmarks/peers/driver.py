"""One process of a peer, in the environment of the peer: `driver.py PEER COMMAND ARGUMENTS`; what it measured as JSON.

A peer is a module with `serve(workers)` and `enqueue(number, nap)`. It may have `setup()`, which makes its tables,
`connect()`, which a producer calls first, `bulk(numbers)`, and `flush()`, which returns when all calls are stored.
All but `serve` may be coroutine functions.
"""

import asyncio
import importlib
import inspect
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import work

BATCH = 1_000  # jobs in one bulk call
SPAN = 1_000_000  # more than one producer of several can number
PATIENCE = 45.0  # seconds for all samples of the idle latency

Peer = Any  # a module, as above


async def done(answer: Any) -> None:
    if inspect.isawaitable(answer):
        await answer


async def optional(peer: Peer, name: str) -> None:
    if function := getattr(peer, name, None):
        await done(function())


async def timed(peer: Peer, number: int, nap: float = 0.0) -> float:
    before = time.perf_counter()
    answer = peer.enqueue(number, nap)
    if inspect.isawaitable(answer):
        await answer
    return time.perf_counter() - before


async def setup(peer: Peer) -> None:
    await optional(peer, "setup")


async def enqueue(peer: Peer, count: int, nap: float = 0.0) -> dict[str, Any]:
    """Store jobs 1 to `count` by single calls; the first one, which opens connections, is not measured."""
    await timed(peer, 1, nap)
    begin = time.perf_counter()
    times = [await timed(peer, number, nap) for number in range(2, count + 1)]
    await optional(peer, "flush")
    return {"rate": (count - 1) / (time.perf_counter() - begin), "times": times}


async def bulk(peer: Peer, count: int) -> dict[str, Any] | None:
    """Store jobs 1 to `count` by bulk calls, if there are any."""
    if not hasattr(peer, "bulk"):
        return None
    await done(peer.bulk([1]))
    begin = time.perf_counter()
    for first in range(2, count + 1, BATCH):
        await done(peer.bulk(list(range(first, min(first + BATCH, count + 1)))))
    return {"rate": (count - 1) / (time.perf_counter() - begin)}


async def idle(peer: Peer, samples: int) -> None:
    """Call with a time stamp as the number, wait for its record, pause.

    The pause is random and as long as the last job took to begin, so that calls meet polling workers at any moment.
    """
    records = work.FOLDER / "records"
    deadline = time.monotonic() + PATIENCE
    late = 0.0
    for _ in range(samples):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02 + random.uniform(0.0, late))
        size = records.stat().st_size
        called_at = time.monotonic()
        await timed(peer, time.time_ns())
        while records.stat().st_size == size and time.monotonic() < deadline:
            time.sleep(0.001)
        late = time.monotonic() - called_at


async def paced(peer: Peer, rate: int, seconds: float) -> dict[str, Any]:
    """Call at a steady rate, with a time stamp as the number; tell the rate that came of it."""
    count = int(rate * seconds)
    await timed(peer, time.time_ns())
    begin = time.perf_counter()
    for index in range(1, count):
        time.sleep(max(0.0, begin + index / rate - time.perf_counter()))
        await timed(peer, time.time_ns())
    await optional(peer, "flush")
    return {"rate": (count - 1) / (time.perf_counter() - begin), "calls": count}


async def load(peer: Peer, producer: int, pause: float) -> dict[str, Any]:
    """From the file `go` to the file `stop`, call again and again with a pause between; count the calls that raise."""
    go, stop = work.FOLDER / "go", work.FOLDER / "stop"
    number = producer * SPAN
    await timed(peer, number)
    while not go.exists():
        time.sleep(0.01)
    times: list[tuple[float, float]] = []  # when, and how long
    errors: list[str] = []
    while not stop.exists():
        number += 1
        try:
            times.append((time.time(), await timed(peer, number)))
        except Exception as error:
            errors.append(repr(error))
        time.sleep(pause)
    await optional(peer, "flush")
    return {"times": times, "calls": 1 + len(times), "errors": errors}


COMMANDS: dict[str, Callable[..., Awaitable[Any]]] = {
    "setup": setup,
    "enqueue": enqueue,
    "bulk": bulk,
    "idle": idle,
    "paced": paced,
    "load": load,
}


async def produce(peer: Peer, command: str, arguments: list[Any]) -> None:
    if command != "setup":
        await optional(peer, "connect")
    print(json.dumps(await COMMANDS[command](peer, *arguments)), flush=True)


def main() -> None:
    name, command, *words = sys.argv[1:]
    peer = importlib.import_module(name)
    arguments = [json.loads(word) for word in words]
    if command == "serve":
        peer.serve(*arguments)
    else:
        asyncio.run(produce(peer, command, arguments))
        os._exit(0)  # the libraries' threads may take their time; all is stored


if __name__ == "__main__":
    main()
