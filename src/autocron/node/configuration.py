"""What the database says about how to run, kept up to date: the settings and the schedules."""

import logging
from collections.abc import Callable

import msgspec

from autocron.clock import Clock
from autocron.errors import BadSetting
from autocron.model import Settings, StoredSchedule
from autocron.node.access import StoreAccess
from autocron.node.schedule import Planner
from autocron.node.storage import Log
from autocron.store.base import Store


class Stored(msgspec.Struct, frozen=True):
    """The configuration as it was read."""

    settings: Settings | BadSetting
    schedules: list[StoredSchedule]
    ahead: float  # seconds by which the clock of the database is ahead of this machine's
    to_stop: list[str]  # jobs that run and are to be cancelled
    moving_to: str | None = None  # the database to which everything is being moved
    has_limits: bool = False


class Configuration:
    """The settings and, in the planner, the schedules; and the time of the database, by which these fire.

    Args:
        store: where they are read.
        planner: takes the schedules.
        clock: this machine's.
        log: takes complaints about what cannot be used.
        loaded: called when something was read, with the jobs that are to be cancelled.
    """

    def __init__(
        self, store: StoreAccess, planner: Planner, clock: Clock, log: Log, loaded: Callable[[list[str]], None]
    ) -> None:
        self._store = store
        self._planner = planner
        self._clock = clock
        self._log = log
        self._loaded = loaded
        self._bad_setting = ""  # the complaint about one that cannot be used
        self.settings = Settings()
        self.is_known = False  # it was read once
        self.ahead = 0.0  # seconds by which the clock of the database is ahead of this machine's
        self.moving_to: str | None = None  # the database to which everything is being moved from here
        self.has_limits = False

    def now(self) -> float:
        """Give the time of the database."""
        return self._clock.now() + self.ahead

    def load(self) -> None:
        """Read all of it."""
        self._store.submit(self.read, self.take)

    def read(self, store: Store) -> Stored:
        """Read it, on the store's thread; take() it then."""
        ahead = store.ahead(self._clock.now())
        settings, schedules = read_settings(store), store.schedules()
        return Stored(settings, schedules, ahead, store.to_stop(), store.moving_to(), store.has_limits())

    def refresh(self) -> None:
        """Read it when somebody else has changed something; see that the files are still there."""
        self._store.submit(self._read_if_changed, self._take_if_read)

    def take(self, stored: Stored) -> None:
        """Take over what was read."""
        self.ahead, self.moving_to, self.has_limits = stored.ahead, stored.moving_to, stored.has_limits
        self._set(stored.settings)
        for complaint in self._planner.load(stored.schedules):
            self._log(logging.ERROR, complaint)
        self.is_known = True
        self._loaded(stored.to_stop)

    def _read_if_changed(self, store: Store) -> Stored | None:
        store.check()
        return self.read(store) if store.changed() else None

    def _take_if_read(self, stored: Stored | None) -> None:
        if stored is not None:
            self.take(stored)

    def _set(self, settings: Settings | BadSetting) -> None:
        before, self._bad_setting = self._bad_setting, str(settings) if isinstance(settings, BadSetting) else ""
        if isinstance(settings, Settings):
            self.settings = settings
        elif self._bad_setting != before:
            self._log(logging.ERROR, f"{settings}. Until then this node works with the settings that it had before")


def read_settings(store: Store) -> Settings | BadSetting:
    """Read the settings, or what is wrong with them."""
    try:
        return store.settings()
    except BadSetting as error:
        return error
