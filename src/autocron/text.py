"""How things are said to people."""

from collections import deque


class Excerpt:
    """The beginning and the end of a text that comes in pieces, and how much lies between.

    Args:
        head: how many characters of the beginning are kept.
        tail: how many of the end.
    """

    def __init__(self, head: int, tail: int) -> None:
        self._head_room = head
        self._tail_room = tail
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self.size = 0  # characters that have come

    def add(self, piece: str) -> None:
        """Take more of the text."""
        self.size += len(piece)
        if self._head_room:
            self._head.append(piece[: self._head_room])
            piece = piece[self._head_room :]
            self._head_room -= len(self._head[-1])
        if piece:
            self._tail.append(piece[-self._tail_room :])
            self._tail_size += len(self._tail[-1])
            self._forget()

    def text(self) -> str:
        """Give what is kept."""
        head, tail = "".join(self._head), "".join(self._tail)[-self._tail_room :]
        left_out = self.size - len(head) - len(tail)
        return f"{head}\n[... {left_out} characters left out ...]\n{tail}" if left_out else head + tail

    def _forget(self) -> None:
        while self._tail_size - len(self._tail[0]) >= self._tail_room:
            self._tail_size -= len(self._tail.popleft())


def storable(text: str, most: int | None = None) -> str:
    """Give the text without what a database refuses, and bounded if `most` is given."""
    if most is not None and len(text) > most:
        excerpt = Excerpt(most // 2, most // 2)
        excerpt.add(text)
        text = excerpt.text()
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def printable(text: str, keep: str = "") -> str:
    """Give the text with everything escaped that a terminal would act on, except for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """Give a duration in seconds as people say it: "4 h"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(0, round(seconds))} s"
