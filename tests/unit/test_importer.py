"""Which source files a worker takes for those that it imported."""

import pytest

from autocron.worker.importer import may_have_changed_since


@pytest.mark.parametrize(
    ("ctime", "unknown"),
    [
        (1000.31, True),
        (1000.299, True),  # written in the same tick of the clock
        (1000.28, False),
        (1000.0, True),  # the file system keeps whole seconds
        (999.0, False),
    ],
)
def test_a_file_that_may_have_been_written_after_the_worker_began(ctime: float, unknown: bool) -> None:
    assert may_have_changed_since(1000.3, ctime) is unknown
