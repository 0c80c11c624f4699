"""What a claim takes: shared out among the queues, by priority within each, and no more than the limits allow.

A level is the jobs of one priority in one queue. Those under no limit are found by an index; those under limits stand
in lines, one for each limit in each level. A line is looked at when its next job is due, when a token of its rate is
there, or when one of its jobs has ended. So neither the number of jobs in a line nor that of lines matters, and the
places of a limit are never counted in advance: they are what its running jobs leave.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from autocron.model import Claim, Limit
from autocron.rates import next_token, take, tokens
from autocron.store.rows import claims_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ANY = ""  # stands for all queues
_decode_levels = msgspec.json.Decoder(list[tuple[str, int, float | None, float | None]]).decode


class Statements(Protocol):
    """Runs statements inside a transaction."""

    def run(self, name: str, parameters: Any = ...) -> list[tuple[Any, ...]]:
        """Run a statement."""
        ...

    def run_all(self, steps: Sequence[tuple[str, Any]]) -> list[list[tuple[Any, ...]]]:
        """Run statements, each with its parameters; give the rows of each."""
        ...

    def many(self, name: str, rows: Sequence[Any]) -> None:
        """Run a statement once for each row."""
        ...


class Level(NamedTuple):
    """Jobs of one priority in one queue.

    Attributes:
        plain_at: when the first job that is under no limit is due; None: there is none.
        line_at: when the first line is to be looked at; None: there is none.
    """

    queue: str
    priority: int
    plain_at: float | None
    line_at: float | None

    @property
    def next_at(self) -> float:
        """When something may be claimed; for ever from now if there is nothing."""
        plain_at = math.inf if self.plain_at is None else self.plain_at
        return plain_at if self.line_at is None else min(plain_at, self.line_at)


class Place(NamedTuple):
    """Where jobs are claimed: a level's jobs with this limit_key, "" for those under no limit."""

    limit_key: str
    queue: str
    priority: int


NOWHERE = {"limit_key": None, "queue": None, "priority": None}  # the database chooses the place


class Bucket(NamedTuple):
    """A limit as it is now."""

    limit: Limit
    full_at: float
    running: int

    def places(self, wanted: int, now: float) -> int:
        """Give how many of so many jobs may begin."""
        there = tokens(self.limit, self.full_at, now)
        if there is not None:
            wanted = min(wanted, there)
        if self.limit.concurrency is not None:
            wanted = min(wanted, self.limit.concurrency - self.running)
        return max(0, wanted)

    def after(self, begun: int, now: float) -> Bucket:
        """Give the limit after so many jobs have begun."""
        return self._replace(full_at=take(self.limit, self.full_at, now, begun), running=self.running + begun)

    def next_at(self, first: float, now: float) -> float | None:
        """Say when to look at a line whose first job is due at `first`; None: when one of those that run has ended."""
        if self.limit.concurrency is not None and self.running >= self.limit.concurrency:
            return None
        return max(first, next_token(self.limit, self.full_at)) if tokens(self.limit, self.full_at, now) == 0 else first


class Taken(NamedTuple):
    """What was claimed at a place.

    Attributes:
        due: how many jobs were there.
        begun: how many of them begin; the others have expired.
        next_at: when the next one is due that is not yet.
    """

    due: int
    begun: int
    next_at: object


class Claimed:
    """What was claimed, and what is left.

    Args:
        levels: as they were before, rows of the statement of this name.
        now: what is due by now is claimed.

    Attributes:
        levels: in which jobs were queued.
        claims: what was claimed.
        passed_over: how many due jobs were not claimed, because they have expired.
    """

    def __init__(self, levels: Iterable[tuple[Any, ...]], now: float) -> None:
        self._now = now
        self._plain_at: dict[tuple[str, int], float | None] = {}  # of levels of which all that is due was claimed
        self.levels = read_levels(levels)
        self.claims: list[Claim] = []
        self.passed_over = 0

    def add(self, text: str, due: int) -> None:
        """Take over what was claimed of so many due jobs."""
        claims = claims_of(text)
        self.claims += claims
        self.passed_over += due - len(claims)

    def exhaust(self, queue: str, priority: int, next_at: object) -> None:
        """Note that no more of a level under no limit is due until `next_at`, if there is anything more."""
        self._plain_at[queue, priority] = next_at if isinstance(next_at, float) else None  # see read_levels()

    def due(self) -> dict[str, float]:
        """Give when something may be claimed next, by the queues that have something."""
        earliest = self._now if self.claims or self.passed_over else 0.0  # more may be due: as much as was wanted was
        moments = _moments(
            level._replace(plain_at=self._plain_at.get((level.queue, level.priority), level.plain_at))
            for level in self.levels
        )
        return {queue: max(moment, earliest) for queue, moment in moments.items()}


class Claimer:
    """Claims jobs inside a transaction.

    Args:
        statements: of the transaction.
        levels: what the statement of this name has given.
        now: what is due by now is claimed.
        node: who claims.

    Attributes:
        place: where jobs are being claimed just now; one of several, unless one job is claimed.
        claimed: what was claimed.
    """

    def __init__(self, statements: Statements, levels: Iterable[tuple[Any, ...]], now: float, node: int | None) -> None:
        self._statements = statements
        self._now = now
        self._node = node
        self._has_moved_lines = False
        self.place: Place | None = None
        self.claimed = Claimed(levels, now)

    def claim(self, wanted: Mapping[str, int], after: str) -> str:
        """Claim so many jobs of these queues.

        Args:
            wanted: how many of each; of ANY, shared out among all queues.
            after: the queue that had the last turn.

        Returns:
            The queue that has had the last turn now.
        """
        for queue, count in wanted.items():
            if queue == ANY:
                after = self._share(count, after)
            else:
                self._take(queue, count)
        return after

    def due(self) -> dict[str, float]:
        """Give when something may be claimed next, by the queues that have something."""
        if self._has_moved_lines:
            self.claimed.levels = read_levels(self._statements.run("levels", {"now": self._now}))
        return self.claimed.due()

    def _share(self, count: int, after: str) -> str:
        queues = sorted({level.queue for level in self.claimed.levels if level.next_at <= self._now})
        queues = [queue for queue in queues if queue > after] + [queue for queue in queues if queue <= after]
        while count and queues:
            share = max(1, count // len(queues))
            for queue in [*queues][:count]:
                taken = self._take(queue, share)
                count -= taken
                if taken:
                    after = queue
                if taken < share:
                    queues.remove(queue)
        return after

    def _take(self, queue: str, count: int) -> int:
        """Claim up to `count` jobs of a queue; give how many were there."""
        left = count
        for level in self.claimed.levels:
            if level.queue == queue and left and level.next_at <= self._now:
                left -= self._take_level(level, left)
        return count - left

    def _take_level(self, level: Level, count: int) -> int:
        plain = Place("", level.queue, level.priority)
        if level.line_at is None or level.line_at > self._now:
            one = self._claim({plain: count})[plain]
            if one.due < count:
                self.claimed.exhaust(level.queue, level.priority, one.next_at)
            return one.due
        self._has_moved_lines = True
        buckets = self._due_buckets(plain, count)
        places = {place: places for place, bucket in buckets.items() if (places := bucket.places(count, self._now))}
        times = self._times({plain: count, **places})
        chosen = {place: number for place, number in longest_due(times, count).items() if number}
        taken = self._claim(chosen)
        if plain in chosen and chosen[plain] == len(times[plain]) < count:
            self.claimed.exhaust(level.queue, level.priority, taken[plain].next_at)
        seen = {place: bucket for place, bucket in buckets.items() if place in chosen or not times.get(place)}
        self._move_on(seen, taken)
        return sum(one.due for one in taken.values())

    def _due_buckets(self, level: Place, count: int) -> dict[Place, Bucket]:
        """Give the lines of a level that are to be looked at, and the limits that they are under."""
        rows = self._statements.run("due_lines", self._parameters(level, count=count))
        lines = [level._replace(limit_key=key) for (key,) in rows]
        found = self._statements.run_all([("bucket", self._parameters(place)) for place in lines])
        return {
            place: Bucket(Limit(concurrency, burst, period), full_at, running)
            for place, rows in zip(lines, found, strict=True)
            for concurrency, burst, period, full_at, running in rows
        }

    def _times(self, places: Mapping[Place, int]) -> dict[Place, list[float]]:
        """Give since when so many jobs have been due at most, at each place."""
        steps = [("due_times", self._parameters(place, count=count)) for place, count in places.items()]
        found = self._statements.run_all(steps)
        return {place: [run_at for (run_at,) in rows] for place, rows in zip(places, found, strict=True)}

    def _claim(self, numbers: Mapping[Place, int]) -> dict[Place, Taken]:
        """Claim so many jobs of each place."""
        rest = {"node": self._node, "pool": ANY}
        steps = [("claim", self._parameters(place, count=number, **rest)) for place, number in numbers.items()]
        taken: dict[Place, Taken] = {}
        self.place = next(iter(numbers), None)  # with one job to be claimed there is only this one
        for place, rows in zip(numbers, self._statements.run_all(steps), strict=True):
            ((text, due, next_at, *_),) = rows
            self.place, before = place, len(self.claimed.claims)
            self.claimed.add(text, due)
            taken[place] = Taken(due, len(self.claimed.claims) - before, next_at)
        self.place = None
        return taken

    def _move_on(self, buckets: Mapping[Place, Bucket], taken: Mapping[Place, Taken]) -> None:
        """Say when lines are to be looked at again, after what was taken from them."""
        found = self._statements.run_all([("first_time", self._parameters(place)) for place in buckets])
        steps: list[tuple[str, Any]] = []
        for (place, bucket), ((next_at,),) in zip(buckets.items(), found, strict=True):
            begun = taken[place].begun if place in taken else 0
            after = bucket.after(begun, self._now)
            if begun and after.limit.burst is not None:
                steps.append(("take_tokens", self._parameters(place, full_at=after.full_at)))
            if next_at is None:
                steps.append(("drop_line", self._parameters(place)))
            else:
                steps.append(("set_line", self._parameters(place, next_at=after.next_at(next_at, self._now))))
        self._statements.run_all(steps)

    def _parameters(self, place: Place, **rest: Any) -> dict[str, Any]:
        return {**place._asdict(), "now": self._now, **rest}


def read_levels(rows: Iterable[tuple[Any, ...]]) -> list[Level]:
    """Give the levels in which jobs are queued, by queue, the highest priority first, from rows of the database."""
    levels: dict[tuple[str, int], Level] = {}
    for queue, priority, plain_at, line_at in rows:
        moment = plain_at if line_at is None else line_at
        if not isinstance(moment, float) or not isinstance(queue, str):
            continue  # what others have stored; text sorts after all numbers, so there is nothing else in this level
        known = levels.get((queue, priority))
        levels[queue, priority] = Level(queue, priority, plain_at if known is None else known.plain_at, line_at)
    return [levels[key] for key in sorted(levels, key=lambda key: (key[0], -key[1]))]


def levels_of(text: str | None) -> list[tuple[Any, ...]]:
    """Give rows of levels that come as JSON; None when there are none."""
    return [] if text is None else _decode_levels(text)


def next_moments(rows: Iterable[tuple[Any, ...]]) -> dict[str, float]:
    """Give when something may be claimed, by queue, from rows of the database."""
    return _moments(read_levels(rows))


def next_moment(moments: Mapping[str, float], pool: str) -> float | None:
    """Give when something may be claimed for a pool."""
    return min(moments.values(), default=None) if pool == ANY else moments.get(pool)


def earliest(moments: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """Give the earlier moment of each queue."""
    return {queue: min(some.get(queue, math.inf) for some in (moments, others)) for queue in {**moments, **others}}


def _moments(levels: Iterable[Level]) -> dict[str, float]:
    moments: dict[str, float] = {}
    for level in levels:
        if (next_at := level.next_at) < moments.get(level.queue, math.inf):
            moments[level.queue] = next_at
    return moments


def longest_due(times: Mapping[Place, list[float]], count: int) -> dict[Place, int]:
    """Choose the `count` jobs that have been due for longest; give how many that are at each place.

    Args:
        times: when the jobs of each place were due, in order.
        count: how many to choose.
    """
    chosen = dict.fromkeys(times, 0)
    moments = ((moment, place) for place, some in times.items() for moment in some)
    for _, place in heapq.nsmallest(count, moments):
        chosen[place] += 1
    return chosen
