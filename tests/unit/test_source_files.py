"""Which changes of source files call for new workers."""

import os
from pathlib import Path

from autocron.node.program import SourceFiles


def imported(file: Path, seconds: float) -> dict[str, float]:
    """Write a file at this time; give what a worker says that imported it."""
    file.touch()
    os.utime(file, (seconds, seconds))
    return {str(file): seconds}


def test_a_change_is_told_once(tmp_path: Path) -> None:
    files, file = SourceFiles(), tmp_path / "tasks.py"
    sources = imported(file, 1000)
    assert not files.have_changed(sources)
    imported(file, 2000)
    assert files.have_changed(sources)
    assert not files.have_changed({})  # no worker has imported it again
    assert not files.have_changed({str(file): 2000.0})
    imported(file, 1000)  # an older version is another one, too
    assert files.have_changed({})


def test_a_file_that_changed_before_the_first_look_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    imported(file, 2000)
    files = SourceFiles()
    assert files.have_changed({str(file): 0.0})  # it was written while a worker began
    assert not files.have_changed({str(file): 0.0})


def test_a_file_that_is_gone_is_a_change_and_so_is_its_return(tmp_path: Path) -> None:
    files, file = SourceFiles(), tmp_path / "tasks.py"
    sources = imported(file, 1000)
    files.have_changed(sources)
    file.unlink()
    assert files.have_changed(sources)
    assert not files.have_changed({})
    imported(file, 1000)
    assert files.have_changed({})
