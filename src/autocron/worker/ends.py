"""The ends of jobs that follow each other on the main thread, on their way to the node."""

import msgspec

from autocron import wire
from autocron.outbox import Outbox

_MOST = 16
_LONGEST = 0.001  # seconds in which more are gathered


class Ends:
    """Sends the ends of short jobs together: to send each by itself takes longer than to run it.

    Args:
        channel: to the node.
        outbox: where the node sees them before they are sent.
    """

    def __init__(self, channel: wire.Channel, outbox: Outbox) -> None:
        self._channel = channel
        self._outbox = outbox
        self._bodies: list[bytes] = []
        self._since = 0.0  # when the first of them was added, in the time that is handed in

    def send(self, ended: wire.Ended, now: float, *, more_follow: bool) -> None:
        """Send an end, soon if another job follows at once, else with all that were not sent yet."""
        if not (more_follow or self._bodies):
            self._channel.send(ended)
            return
        body = wire.encode(ended)
        if not self._outbox.add(body):
            self.flush()
            self._channel.send(ended)
            return
        if not self._bodies:
            self._since = now
        self._bodies.append(body)
        if not more_follow or len(self._bodies) == _MOST or now >= self._since + _LONGEST:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        if self._bodies:
            bodies, self._bodies = self._bodies, []
            self._channel.send(wire.SentEnds(self._outbox.sent, [msgspec.Raw(body) for body in bodies]))
            self._outbox.clear(len(bodies))
