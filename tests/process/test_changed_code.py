"""A source file changes at an unlucky moment: once an application has connected, no worker runs its old code."""

import os
from pathlib import Path
from typing import Any

OLD = '\nVERSION = "old"\n\n@delay\ndef version():\n    return VERSION\n'
NEW = OLD.replace("old", "new")
IN_WORKER = "if 'autocron.worker' in sys.orig_argv:"


def write(lab: Any, version: str, more: str = "") -> Path:
    path = lab.folder / "tasks.py"
    lab.tasks = getattr(lab, "tasks", None) or path.read_text()
    draft = path.with_suffix(".draft")
    draft.write_text(lab.tasks + version + more)
    return draft.replace(path)


def test_a_worker_imports_while_the_file_changes_and_an_application_connects(lab: Any) -> None:
    write(lab, OLD, f"\n{IN_WORKER}\n    hold.function('gate')\n")
    app = lab.start()
    first = lab.begun("gate")
    write(lab, NEW)
    lab.start()
    lab.open_gate("gate")
    assert app.ask("version().wait(20)") == "new"
    assert first not in lab.ready()


def test_a_job_imports_while_the_file_changes_and_an_application_connects(lab: Any) -> None:
    module = lab.write("late.py", "VERSION = 'old'")
    app = lab.start()
    holding = app.ask("run(\"import late; hold.function('gate'); value = late.VERSION\").uuid")
    first = lab.begun("gate")
    module.write_text("VERSION = 'new'")
    lab.start()
    lab.open_gate("gate")
    assert lab.ended(holding).result == '"old"'
    lab.until(lambda: first not in lab.background(), what="the worker with the old module ends")
    assert app.ask("run('import late; value = late.VERSION').wait(20)") == "new"


def test_a_worker_with_the_old_code_stands_beside_one_with_the_new(lab: Any) -> None:
    write(lab, OLD)
    app = lab.start(2)
    old, dead = lab.ready(2)
    write(lab, NEW)
    lab.kill(dead)
    lab.until(lambda: dead not in lab.ready_now() and len(lab.ready_now()) == 2, what="a worker in its place")
    lab.start(2)
    lab.until(lambda: old not in lab.background(), what="the worker with the old code ends")
    assert app.ask("version().wait(20)") == "new"


def test_the_changed_file_is_older_than_the_worker(lab: Any) -> None:
    write(lab, OLD)
    app = lab.start()
    (old,) = lab.ready()
    path = write(lab, NEW)
    os.utime(path, (1_000_000_000, 1_000_000_000))  # as unpacking an archive does
    assert app.ask("run('import colorsys').wait(20)") is None
    lab.start()
    lab.until(lambda: old not in lab.background(), what="the worker with the old code ends")
    assert app.ask("version().wait(20)") == "new"


def test_a_module_is_mended_that_workers_failed_to_import(lab: Any) -> None:
    write(lab, OLD, f"\n{IN_WORKER}\n    raise RuntimeError('broken')\n")
    app = lab.start()
    lab.until(lambda: "the worker could not import tasks" in lab.output(), what="the worker fails")
    write(lab, NEW)
    lab.start()
    assert app.ask("version().wait(20)") == "new"
