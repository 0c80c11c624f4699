"""Jobs that wait while the code changes."""

import os
import signal
import time
from typing import Any

from databases import on_each_database

OLD = "\n@delay(hours=1)\ndef mail(address):\n    return address\n"
WORK = "\n@delay\ndef work(number):\n    return 'new', number\n"
NEW = "\n@delay(hours=1)\ndef mail(address, subject):\n    return subject\n"


def restart(lab: Any, app: Any, tasks: str) -> Any:
    app.ask("autocron.stop()")
    app.close()
    lab.write("tasks.py", tasks)
    return lab.start()


@on_each_database
def test_a_job_that_is_due_later_is_parked_when_the_code_changes(lab: Any) -> None:
    tasks = (lab.folder / "tasks.py").read_text()
    lab.write("tasks.py", tasks + OLD)
    app = lab.start()
    uuid = app.ask("mail('a').uuid")
    app = restart(lab, app, tasks)
    assert lab.until(lambda: lab.job(uuid).held) == "unknown task 'tasks.mail'"
    lab.until(lambda: "queued jobs are parked" in lab.output())
    app = restart(lab, app, tasks + NEW)
    lab.until(lambda: lab.job(uuid).held == "its arguments do not fit: missing a required argument: 'subject'")
    assert app.ask(f"autocron.get_result({uuid!r}).held").startswith("its arguments do not fit")
    restart(lab, app, tasks + OLD)
    lab.until(lambda: lab.job(uuid).held is None)
    job = lab.job(uuid)
    assert (job.state, job.attempt) == ("queued", 0)  # no worker was asked
    assert job.run_at > time.time()


@on_each_database
def test_a_check_of_all_calls_goes_on_when_its_node_has_died(lab: Any) -> None:
    tasks = (lab.folder / "tasks.py").read_text()
    lab.write("tasks.py", tasks + OLD)
    app = lab.start()
    app.ask("mail.map(['a'] * 6000) and None")
    restart(lab, app, tasks)
    lab.until(lambda: lab.store.counts(time.time()).held, what="the first are parked")
    lab.kill_node()
    lab.until(lambda: lab.store.counts(time.time()).held == 6000, what="all are parked")


def test_workers_are_replaced_when_a_source_file_changes(lab: Any) -> None:
    tasks = (lab.folder / "tasks.py").read_text()
    app = lab.start(reload=True)
    assert app.ask("work(1).wait(10)") == 1
    lab.write("tasks.py", tasks + "\nthis is no Python\n")
    lab.until(lambda: "the worker could not import" in lab.output(), what="workers with the broken file")
    lab.write("tasks.py", tasks + WORK)  # nobody has imported this file since, but it is still watched
    assert app.ask("work(2).wait(10)") == ("new", 2)
    (pid,) = lab.ready()
    now = time.monotonic()
    lab.until(lambda: time.monotonic() > now + 2.2)
    assert lab.ready() == [pid]


LATE = """
    import os, sys, time
    from autocron import delay

    while "autocron.worker" in sys.orig_argv and not os.path.exists({gate!r}):
        time.sleep(0.01)

    @delay(hours=1)
    def {task}(): ...
"""
MODULES = 600  # more than fit into the socket of a worker, by their names


@on_each_database
def test_what_a_worker_has_not_imported_yet_is_not_parked(lab: Any) -> None:
    lab.write("slow.py", LATE.format(gate="begin", task="slow"))
    lab.write("late.py", LATE.format(gate="go on", task="late"))
    lab.add("tasks.py", "\nimport slow\n")
    app = lab.start()
    lab.until(lambda: any("autocron.worker" in command for command in lab.background().values()), what="a worker")
    app.ask("__import__('late').late().uuid")  # which that worker was not told at its start
    lab.open_gate("begin")
    lab.ready()
    lab.open_gate("go on")
    lab.until(lab.store.checked_code, what="the check")
    assert app.ask("work(1).wait(10)") == 1
    app.ask("autocron.stop()")
    assert lab.store.counts(time.time()).held == 0
    assert "parked" not in lab.output()


def test_a_worker_that_has_no_room_for_more_modules_is_replaced(lab: Any) -> None:
    for number in range(MODULES):
        lab.write(f"part{number}.py", "from autocron import delay\n\n@delay\ndef task(): return __name__\n")
    app = lab.start()
    (worker,) = lab.ready()
    os.kill(worker, signal.SIGSTOP)  # it does not read, as during a long job
    app.ask(f"[__import__(f'part{{number}}') for number in range({MODULES})] and None")
    os.kill(worker, signal.SIGCONT)
    last = f"part{MODULES - 1}"
    assert app.ask(f"sys.modules[{last!r}].task().wait(15)") == last
