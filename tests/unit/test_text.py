import pytest
from hypothesis import given
from hypothesis import strategies as some

from autocron.text import Excerpt, printable, storable


@given(some.lists(some.text("ab\n", max_size=9)), some.integers(1, 9), some.integers(1, 9))
def test_an_excerpt_has_the_beginning_and_the_end(pieces: list[str], head: int, tail: int) -> None:
    excerpt = Excerpt(head, tail)
    for piece in pieces:
        excerpt.add(piece)
    text = "".join(pieces)
    left_out = len(text) - head - tail
    expected = f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[-tail:]}" if left_out > 0 else text
    assert excerpt.text() == expected
    assert excerpt.size == len(text)


def test_what_is_stored_is_bounded_and_has_no_nul() -> None:
    assert storable("a\0\udce4") == "a\\x00\\udce4"
    assert storable("a" * 90 + "b" * 90, 100) == f"{'a' * 50}\n[... 80 characters left out ...]\n{'b' * 50}"


@pytest.mark.parametrize(
    ("text", "shown"), [("plain ü", "plain ü"), ("a\x1b[2J\tb\n", "a\\x1b[2J\tb\\n"), ("\u202e", "\\u202e")]
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text, keep="\t") == shown
