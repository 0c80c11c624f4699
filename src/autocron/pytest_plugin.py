"""Fixtures for the tests of applications, where pytest finds this package: what autocron.testing has, for one test."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autocron.testing import Call


@pytest.fixture
def autocron_inline() -> Iterator[None]:
    """Let calls run at once, in their caller."""
    from autocron.testing import inline

    with inline():
        yield


@pytest.fixture
def autocron_captured() -> "Iterator[list[Call]]":
    """Let calls be kept; the value is the list of them."""
    from autocron.testing import captured

    with captured() as calls:
        yield calls


@pytest.fixture
def autocron_drain(autocron_captured: "list[Call]") -> Callable[[datetime | None], int]:
    """Give drain(), which runs the calls that are kept."""
    from autocron.testing import drain

    return drain
