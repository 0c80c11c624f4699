"""Which slots of which schedules are due. Pure: the time is handed in, the loop stores what is decided here."""

from dataclasses import dataclass

from autocron import crontab
from autocron.errors import ConfigError
from autocron.model import Declaration, StoredSchedule
from autocron.timetable import Timetable

ON_TIME = 10.0  # seconds; a slot that is fired with this delay at most does not count as missed
MOST_AT_ONCE = 500


@dataclass(frozen=True)
class Firing:
    """Slots of a schedule that are to run, and how far its cursor moves by that."""

    declaration: Declaration
    since: float  # where the cursor was
    cursor: float
    slots: list[float]
    alone: bool


@dataclass
class _Entry:
    declaration: Declaration
    timetable: Timetable
    cursor: float
    next_slot: float | None
    in_flight: bool = False  # a firing is being stored; the next one must not overtake it
    put_off: Firing | None = None  # one that is due again at `next_slot`

    def move(self, cursor: float) -> None:
        self.cursor = cursor
        self.next_slot = self.timetable.next_after(self.cursor)


class Planner:
    """Knows all schedules that fire, and when each is due next."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._complaints: list[str] = []

    def load(self, stored: list[StoredSchedule]) -> list[str]:
        """Take over what the store has: slots that could not be stored are due again.

        Returns:
            What is wrong with schedules that cannot fire here, as far as it was not said before.
        """
        entries: dict[str, _Entry] = {}
        complaints: list[str] = []
        for one in stored:
            if one.paused:
                continue
            name = one.declaration.name
            try:
                entries[name] = self._entry(one)
            except ConfigError as error:  # a zone that this machine lacks must not stop the others
                complaints.append(f"schedule {name} does not fire: {error}")
        known, self._complaints = self._complaints, complaints
        self._entries = entries
        return [text for text in complaints if text not in known]

    def _entry(self, stored: StoredSchedule) -> _Entry:
        declaration = stored.declaration
        known = self._entries.get(declaration.name)
        if known and known.declaration == declaration:
            if not known.put_off:
                known.move(stored.cursor)
            return known
        timetable = crontab.from_stored(declaration.text, declaration.tz)
        return _Entry(declaration, timetable, stored.cursor, timetable.next_after(stored.cursor))

    def next_slot(self) -> tuple[float, str] | None:
        """Give the next slot of all and the name of its schedule."""
        entries = [(name, entry) for name, entry in self._entries.items() if not entry.in_flight]
        return min(((entry.next_slot, name) for name, entry in entries if entry.next_slot is not None), default=None)

    def due(self, now: float) -> list[Firing]:
        """Give what is due. Each slot is given once, and a schedule gives nothing more until settled() is called."""
        entries = [entry for entry in self._entries.values() if not entry.in_flight]
        return [self._fire(entry, now) for entry in entries if entry.next_slot and entry.next_slot <= now]

    def settled(self, name: str) -> None:
        """Note that a firing of this schedule was stored."""
        if entry := self._entries.get(name):
            entry.in_flight = False

    def failed(self, firing: Firing) -> None:
        """Note that a firing may not have been stored: its slots are due again, before a later one moves the cursor."""
        self.settled(firing.declaration.name)
        entry = self._entries.get(firing.declaration.name)
        if entry and entry.declaration == firing.declaration:
            entry.move(firing.since)

    def put_off(self, firing: Firing, until: float) -> None:
        """Note that a firing cannot be stored yet: the same is due again then, however late its slots are."""
        self.settled(firing.declaration.name)
        entry = self._entries.get(firing.declaration.name)
        if entry and entry.declaration == firing.declaration:
            entry.put_off, entry.next_slot = firing, until

    @property
    def declarations(self) -> list[Declaration]:
        """All schedules that fire."""
        return [entry.declaration for entry in self._entries.values()]

    def _fire(self, entry: _Entry, now: float) -> Firing:
        entry.in_flight = True
        if firing := entry.put_off:
            entry.put_off = None
            entry.move(firing.cursor)
            return firing
        since, slots = entry.cursor, self._slots(entry, now)
        last = slots[-1] if slots else entry.timetable.latest(entry.cursor, now)
        entry.move(last if last is not None else now)
        declaration = entry.declaration
        # A run that was missed and asked for is not dropped because another missed one still waits.
        alone = declaration.overlap == "skip" and len(slots) <= 1
        return Firing(declaration, since, entry.cursor, slots, alone)

    @staticmethod
    def _slots(entry: _Entry, now: float) -> list[float]:
        if entry.declaration.missed == "all":
            return entry.timetable.slots(entry.cursor, now, MOST_AT_ONCE)
        last = entry.timetable.latest(entry.cursor, now)
        if last is None or (entry.declaration.missed == "skip" and now - last > ON_TIME):
            return []
        return [last]
