"""What is exchanged with the database: the ends of claims for new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from autocron.codec import encode_call
from autocron.model import Claim, Finished, News, Requeued, State, Transition
from autocron.store import edges
from autocron.store.rows import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from autocron.store.driver import Step
    from autocron.store.rows import Row

T = TypeVar("T")
_decode_uuids = msgspec.json.Decoder(list[str]).decode
MAX_BATCH = 8 << 20  # characters of results that go to the database as one text


class Exchange(msgspec.Struct, frozen=True):
    """What an exchange gave."""

    refused: list[str]  # uuids of transitions that changed nothing: late, or told twice
    claims: list[Claim]
    due: dict[str, float] = {}  # by queue, when it may have something to be claimed
    unstorable: dict[str, str] = {}  # by uuid, why the database does not take the transition
    parked: list[str] = []  # what is wrong with jobs that could not be claimed
    cancelled: list[str] = []  # jobs that waited for one that has not succeeded
    may_expire: bool = False  # due jobs were not claimed, as they have expired, or some that may expire wait again
    awaited: list[str] = []  # jobs that ended and that other nodes wait for

    @property
    def next_due(self) -> float | None:
        """When there may be something to be claimed."""
        return min(self.due.values(), default=None)


class Endings:
    """What running jobs have said and claimed ones have become, as statements that store it.

    Attributes:
        steps: the statements.
        not_begun: uuids of the claimed jobs that were not begun.
        may_expire: some of them may expire again.
    """

    def __init__(self, transitions: Sequence[Transition], news: Sequence[News], now: float) -> None:
        finished = [one for one in transitions if isinstance(one, Finished)]
        requeued = [one for one in transitions if isinstance(one, Requeued)]
        before = [*_lock_lines(transitions), *_tell(news), *_call_hooks(finished, now)]
        ends = [*_finish(finished, now), *_requeue(requeued, now)]
        self._ends = slice(len(before), len(before) + len(ends))
        self.steps = [*before, *ends, *edges.steps(finished, now)]
        self.not_begun = [one.uuid for one in finished if one.started_at is None]
        self.not_begun += [one.uuid for one in requeued if not one.begun]
        self.may_expire = not all(one.begun for one in requeued)

    def stored(self, rows: Sequence[list[Row]], due: dict[str, float]) -> Exchange:
        """Give what was exchanged.

        Args:
            rows: what the steps have given.
            due: when there is something to be claimed, by queue.
        """
        told = [row for (row,) in rows[self._ends]]
        late = [uuid for (uuids, *_) in told for uuid in _decode_uuids(uuids)]
        awaited = [uuid for (_, *more) in told for uuids in more for uuid in _decode_uuids(uuids)]
        cancelled = [row for some in rows[self._ends.stop :] for row in some]
        awaited += [uuid for uuid, *more in cancelled if more == [True]]
        stopped = [uuid for uuid, *_ in cancelled]
        return Exchange(late, [], due, cancelled=stopped, may_expire=self.may_expire, awaited=awaited)


def _lock_lines(transitions: Sequence[Transition]) -> Iterator[Step]:
    if transitions:
        yield "lock_lines", {"uuids": to_json([one.uuid for one in transitions])}


def _tell(news: Sequence[News]) -> Iterator[Step]:
    for some in batches(news, size_of_news):
        yield "tell", {"batch": to_json(some)}


def _call_hooks(finished: Sequence[Finished], now: float) -> Iterator[Step]:
    if failed := [hook_call(one) for one in finished if one.state is State.FAILED]:
        yield "call_hooks", {"batch": to_json(failed), "now": now}


def _finish(finished: Sequence[Finished], now: float) -> Iterator[Step]:
    for some in batches(finished, size_of_result):
        yield "finish", {"batch": to_json(some), "now": now}


def _requeue(requeued: Sequence[Requeued], now: float) -> Iterator[Step]:
    for some in batches(requeued, size_of_result):
        yield "requeue", {"batch": to_json(some), "now": now}


def hook_call(failed: Finished) -> tuple[str, int, str]:
    """Give the job that fails, its attempt, and the arguments of the hooks that are to run for it."""
    return failed.uuid, failed.attempt, encode_call((failed.uuid,), {})


def batches(items: Sequence[T], size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut where the items become too large for one text."""
    start = size = 0
    for number, item in enumerate(items):
        size += size_of(item)
        if size > MAX_BATCH:
            yield items[start : number + 1]
            start, size = number + 1, 0
    if start < len(items):
        yield items[start:]


def size_of_result(transition: Transition) -> int:
    """Give the characters of a result."""
    return len(transition.result) if isinstance(transition, Finished) and transition.result else 0


def size_of_news(news: News) -> int:
    """Give the characters of an output."""
    return len(news.output or "")
