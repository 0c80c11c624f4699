"""Whom the node works for, and the program that its workers run because of that."""

import os

from autocron import wire
from autocron.clock import Clock
from autocron.node import program as programs
from autocron.node.audience import Audience
from autocron.node.connection import AppConnection
from autocron.node.crew import Crew
from autocron.node.ending import Ending
from autocron.store.place import Place

FIRST_APP_WAIT = 10.0  # seconds that a new node waits for the application that spawned it


class Applications:
    """Accepts and refuses applications and merges what they say into one program."""

    def __init__(self, audience: Audience, crew: Crew, ending: Ending, place: Place, clock: Clock) -> None:
        self._audience = audience
        self._crew = crew
        self._ending = ending
        self._place = place
        self._clock = clock
        self._sources = programs.SourceFiles()
        self._foreground = False  # the node works without any
        self.none_since: float | None = clock.monotonic() + FIRST_APP_WAIT  # None: there is one, or none is needed
        self.program: wire.Program | None = None

    def serve(self, program: wire.Program) -> None:
        """Work for this program, applications or not."""
        self._foreground = True
        self.none_since = None
        self._adopt(program, alone=True)

    def hello(self, app: AppConnection, hello: wire.Hello) -> bool:
        """Accept an application, or refuse it; workers start anew when its code is not what they run."""
        app.hello = hello
        alone = not self._audience.apps and not self._foreground
        if not alone and self.program and programs.is_foreign(self.program, hello.program):
            self._audience.send(app, wire.Welcome(os.getpid(), self._refusal(self.program, hello.program)))
            return False
        app.accepted = True
        self.none_since = None
        if self._ending.resume():
            self._resume()
        self._adopt(hello.program, alone=alone, renew=self._crew.code.is_outdated())
        self._audience.send(app, wire.Welcome(os.getpid()))
        return True

    def look_for_changes(self) -> None:
        """Let workers start anew when a source file has changed."""
        if self._sources.have_changed(self._crew.code.sources):
            self._crew.renew()

    def declare(self, app: AppConnection, program: wire.Program) -> None:
        """Take over what an accepted application says about the program later on."""
        if app.accepted:
            self._adopt(program, alone=False)

    def bye(self, app: AppConnection) -> bool:
        """Let an application go; True when it asks the node to end and nobody else needs it."""
        app.leaving = True
        if self._foreground or any(not other.leaving for other in self._audience.apps):
            self._audience.send(app, wire.Farewell())
            return False
        return True

    def gone(self, app: AppConnection) -> bool:
        """Note the end of a connection; True when the node has taken up an application that it had refused."""
        if not app.accepted or self._audience.apps or self._foreground:
            return False
        self.none_since = self._clock.monotonic()
        refused = next(iter(self._audience.refused), None)
        return refused is not None and refused.hello is not None and self.hello(refused, refused.hello)

    def _refusal(self, ours: wire.Program, theirs: wire.Program) -> str:
        return (
            f"another program, in {ours.cwd}, works on {self._place}; its workers cannot run the tasks of"
            f" {theirs.cwd}: give each program a database of its own"
        )

    def _resume(self) -> None:
        """An application has come back while the node drained."""
        self._crew.renew()
        for app in self._audience.apps:
            if app.leaving:
                self._audience.send(app, wire.Farewell())

    def _adopt(self, new: wire.Program, *, alone: bool, renew: bool = False) -> None:
        old = self.program
        self.program = program = programs.merge(old, new, alone=alone)
        if old is None:
            return
        if renew or programs.needs_new_workers(old, program):
            self._crew.renew()
            return
        modules = [name for name in program.modules if name not in old.modules]
        main = program.main if program.main != old.main else None
        if modules or main:
            self._crew.import_more(modules, main)
