"""What a worker takes before it begins a job that it has: as long as it has not, the node can take that back.

A pipe holds one byte for each job that was sent and not begun. Whoever reads a byte has it alone.
"""

import os

_MOST = 64 << 10  # more than a pipe holds
_ROUNDS = 256


class Permits:
    """The node's end.

    Attributes:
        round: the value of the bytes that are given. Another one is for jobs that were sent after others had been
            taken back.
    """

    def __init__(self) -> None:
        self._theirs, self._ours = os.pipe()
        os.set_blocking(self._theirs, False)
        self.round = 0

    def fileno(self) -> int:
        """Give the descriptor from which the worker takes them."""
        return self._theirs

    def give(self, count: int) -> None:
        """Allow so many more jobs to be begun."""
        os.write(self._ours, bytes((self.round,)) * count)

    def take_back(self) -> int:
        """Allow no more jobs; say how many of those that were allowed were not begun."""
        self.round = (self.round + 1) % _ROUNDS
        try:
            return len(os.read(self._theirs, _MOST))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close both ends."""
        for descriptor in (self._theirs, self._ours):
            os.close(descriptor)


class Taker:
    """The worker's end.

    Args:
        descriptor: the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._in_hand = b""  # for a job of a later round

    def take(self, round_: int) -> bool:
        """Take a permit for a job; False when it was taken back, and those that were sent with it."""
        if not self._in_hand:
            try:
                self._in_hand = os.read(self._descriptor, 1)
            except BlockingIOError:
                return False
        if self._in_hand != bytes((round_,)):
            return False
        self._in_hand = b""
        return True
