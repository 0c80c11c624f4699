"""What nodes do in the database: they claim jobs and say what has become of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from autocron.model import Claim, Finished, News, State, Transition
from autocron.store.claiming import ANY, NOWHERE, Claimed, Claimer, levels_of, next_moment, next_moments
from autocron.store.driver import CALL_LIMIT
from autocron.store.exchange import Endings, Exchange
from autocron.store.rows import BadRow, claims_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from autocron.store.driver import Driver
    from autocron.store.rows import Row


class Claims:
    """The claims on jobs.

    Every method may raise StoreError. Times are seconds since the epoch and handed in.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._node: int | None = None  # who claims, where several nodes share a database
        self._turn = ""  # the queue that had the last turn at a claim of all queues

    def become(self, node: int) -> None:
        """Claim as this node."""
        self._node = node

    def exchange(
        self,
        transitions: Sequence[Transition],
        wanted: int | Mapping[str, int],
        now: float,
        news: Sequence[News] = (),
    ) -> Exchange:
        """Store what claimed jobs said and became, and claim due ones, in one transaction.

        One bad row stops no other: transitions that the database does not take are named in the answer, and jobs that
        cannot be claimed are parked. When transitions had to be stored one by one, nothing is claimed; `due` then says
        that there is more.

        Args:
            transitions: what became of claimed jobs.
            wanted: how many jobs to claim at most, of each of these queues, or of all of them together.
            now: what is due by now is claimed.
            news: what running jobs have said.
        """
        if isinstance(wanted, int):
            wanted = {ANY: wanted} if wanted else {}
        try:
            return self._exchange(transitions, wanted, now, news)
        except BadRow:
            if news:
                self._exchange([], {}, now, news)
            if not transitions:
                return self._claim_around_bad(wanted, now)
            return msgspec.structs.replace(self._store_around_bad(transitions, now), due=dict.fromkeys(wanted, now))

    def rehearse(self, now: float) -> None:
        """Exchange nothing, so that the database has made its plans when the first jobs wait for them."""
        nobody = Finished("", 0, State.SUCCEEDED, None, "", "", now, now, now)
        self.exchange([nobody], {ANY: 0}, now)

    def _store_around_bad(self, transitions: Sequence[Transition], now: float) -> Exchange:
        """Store transitions in halves, down to those that the database does not take."""
        try:
            return self._exchange(transitions, {}, now)
        except BadRow as error:
            if len(transitions) == 1:
                return Exchange([], [], {}, {transitions[0].uuid: str(error)})
        middle = len(transitions) // 2
        one, other = (self._store_around_bad(some, now) for some in (transitions[:middle], transitions[middle:]))
        return Exchange(
            one.refused + other.refused,
            [],
            {},
            one.unstorable | other.unstorable,
            cancelled=one.cancelled + other.cancelled,
            awaited=one.awaited + other.awaited,
        )

    def _claim_around_bad(self, wanted: Mapping[str, int], now: float) -> Exchange:
        """Claim ever fewer jobs until it works; the first one is parked when it cannot even be claimed alone."""
        parked = list[str]()
        while True:
            try:
                exchange = self._exchange_step_by_step(Endings([], [], now), wanted, now)
                return msgspec.structs.replace(exchange, parked=parked)
            except BadRow as error:
                if error.place is None:
                    raise
                if max(wanted.values()) == 1:
                    ((first,),) = self._driver.read("first_due", {**error.place._asdict(), "now": now})
                    parked.append(self._park(first, error))
                wanted = {queue: max(1, count // 2) for queue, count in wanted.items()}

    def _park(self, row: int, why: BadRow) -> str:
        self._driver.write("park", (f"its row cannot be used: {why}", row), CALL_LIMIT)
        return f"row {row} of the table jobs is parked: {why}"

    def _exchange(
        self, transitions: Sequence[Transition], wanted: Mapping[str, int], now: float, news: Sequence[News] = ()
    ) -> Exchange:
        endings = Endings(transitions, news, now)
        if endings.not_begun:
            return self._exchange_step_by_step(endings, wanted, now)
        if not wanted:
            steps = [*endings.steps, ("levels", {"now": now})]
            return self._driver.batch(steps, lambda rows: endings.stored(rows[:-1], next_moments(rows[-1])))
        if self._driver.is_remote and len(wanted) == 1:
            return self._exchange_at_once(endings, wanted, now)
        return self._exchange_step_by_step(endings, wanted, now)

    def _exchange_at_once(self, endings: Endings, wanted: Mapping[str, int], now: float) -> Exchange:
        """Do it in one round trip; to go on at other places, or to weigh several, takes a transaction more."""
        ((pool, count),) = wanted.items()
        claim = {**NOWHERE, "pool": pool, "count": count, "now": now, "node": self._node}

        def read(rows: list[list[Row]]) -> tuple[Exchange, int]:
            ((text, due, next_at, queue, priority, levels),) = rows[-1]
            claimed = Claimed(levels_of(levels), now)
            claimed.add(text, due)
            if queue is not None and due < count:
                claimed.exhaust(queue, priority, next_at)
            return _with_claims(endings.stored(rows[:-1], {}), claimed, claimed.due()), count - due

        exchange, left = self._driver.batch([*endings.steps, ("claim", claim)], read)
        next_due = next_moment(exchange.due, pool)
        if not left or next_due is None or next_due > now:
            return exchange
        try:
            more = self._exchange_step_by_step(Endings([], [], now), {pool: left}, now)
        except BadRow:
            more = self._claim_around_bad({pool: left}, now)
        return msgspec.structs.replace(
            exchange,
            claims=exchange.claims + more.claims,
            due=more.due,
            may_expire=exchange.may_expire or more.may_expire,
            parked=more.parked,
        )

    def _exchange_step_by_step(self, endings: Endings, wanted: Mapping[str, int], now: float) -> Exchange:
        claimer = None
        try:
            with self._driver.transaction() as transaction:
                *rows, levels = transaction.run_all([*endings.steps, ("levels", {"now": now})])
                exchange = endings.stored(rows, {})
                if tokens := [(uuid,) for uuid in endings.not_begun if uuid not in exchange.refused]:
                    transaction.many("give_back_token", tokens)
                claimer = Claimer(transaction, levels, now, self._node)
                turn = claimer.claim(wanted, self._turn)
                due = claimer.due()
        except BadRow as error:
            error.place = None if claimer is None else claimer.place
            raise
        self._turn = turn
        return _with_claims(exchange, claimer.claimed, due)

    def recover(self) -> tuple[list[Claim], list[str]]:
        """Give the claims of a node that is no more, and what is wrong with jobs that were parked instead."""
        self._driver.write("look_at_lines", (), CALL_LIMIT)
        return self._claims_among(self._driver.read("running"))

    def held(self) -> list[Claim]:
        """Give the claims of this node, as far as the database knows."""
        return self._claims_among(self._driver.read("held", {"node": self._node}))[0]

    def _claims_among(self, rows: Iterable[Row]) -> tuple[list[Claim], list[str]]:
        claims, parked = list[Claim](), list[str]()
        for row, attempt in rows:
            try:
                for (text,) in self._driver.read("claim_of", (row, attempt)):  # none when others have dealt with it
                    claims += claims_of(text)
            except BadRow as error:
                parked.append(self._park(row, error))
        return claims, parked

    def has_limits(self) -> bool:
        """Are some jobs under limits? Whoever ends jobs then locks their lines, too."""
        return bool(self._driver.read("limits_after", ("", 1)))

    def to_stop(self) -> list[str]:
        """Give the jobs that were to be cancelled while they ran, if they run here or do not run any more."""
        return [uuid for (uuid,) in self._driver.read("to_stop", {"node": self._node})]


def _with_claims(exchange: Exchange, claimed: Claimed, due: dict[str, float]) -> Exchange:
    may_expire = exchange.may_expire or claimed.passed_over > 0
    return msgspec.structs.replace(exchange, claims=claimed.claims, due=due, may_expire=may_expire)
