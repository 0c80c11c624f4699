"""Programs as people write them, under the servers that people use: each starts, works, reloads and ends cleanly."""

import math
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Program:
    folder: str
    command: str
    old_starlette: bool = False


# Each of these is ended in each of the three ways, and starts again.
EXAMPLES = {
    "flask": Program("examples/flask", "flask --app app run --port {port}"),
    "django": Program("examples/django", "python manage.py runserver {port}"),
    "bottle": Program("examples/bottle", "python app.py"),
    "pyramid": Program("examples/pyramid", "python app.py"),
    "tornado": Program("examples/tornado", "python app.py"),
    "starlette": Program("examples/starlette", "uvicorn app:app --port {port}"),
    "starlette0": Program("examples/starlette", "uvicorn app_on_startup:app --port {port}", old_starlette=True),
    "fastapi": Program("examples/fastapi", "uvicorn app:app --port {port}"),
}

# The same programs under other servers, and other shapes of programs.
VARIANTS = {
    "flask-gunicorn": Program("examples/flask", "gunicorn -w 4 -b 127.0.0.1:{port} app:app"),
    "flask-gunicorn-preload": Program("examples/flask", "gunicorn -w 4 --preload -b 127.0.0.1:{port} app:app"),
    "flask-start-last": Program("tests/frameworks/programs/flask_start_last", "flask --app app run --port {port}"),
    "django-noreload": Program("examples/django", "python manage.py runserver --noreload {port}"),
    "django-gunicorn": Program("examples/django", "gunicorn -w 4 -b 127.0.0.1:{port} project.wsgi"),
    "django-uvicorn": Program("examples/django", "uvicorn project.asgi:application --port {port}"),
    "bottle-in-main": Program("tests/frameworks/programs/bottle_in_main", "python app.py"),
    "pyramid-two-modules": Program("tests/frameworks/programs/pyramid_two_modules", "python app.py"),
    "module": Program("tests/frameworks/programs/module", "python -m shop"),
    "fastapi-workers": Program("examples/fastapi", "uvicorn app:app --workers 2 --port {port}"),
}

# Programs that run changed code by themselves, and the file that is changed.
RELOADING = {
    "flask": (Program("examples/flask", "flask --app app run --debug --port {port}"), "app.py"),
    "django": (Program("examples/django", "python manage.py runserver {port}"), "reports/views.py"),
    "bottle": (Program("examples/bottle", "python app.py --reload"), "tasks.py"),
    "bottle-in-main": (Program("tests/frameworks/programs/bottle_in_main", "python app.py --reload"), "app.py"),
    "pyramid": (Program("examples/pyramid", "hupper -m app"), "app.py"),
    "tornado": (Program("examples/tornado", "python app.py --reload"), "app.py"),
    "starlette": (Program("examples/starlette", "uvicorn app:app --reload --port {port}"), "app.py"),
    "fastapi": (Program("examples/fastapi", "uvicorn app:app --reload --port {port}"), "app.py"),
}

# Servers that run changed code when they are told to by SIGHUP.
TOLD_TO_RELOAD = {
    "gunicorn": (Program("examples/flask", "gunicorn -w 4 -b 127.0.0.1:{port} app:app"), "app.py"),
    "uvicorn": (Program("examples/fastapi", "uvicorn app:app --workers 2 --port {port}"), "app.py"),
}


def named(programs):
    return pytest.mark.parametrize("program", programs.values(), ids=programs.keys())


def named_with_file(programs):
    return pytest.mark.parametrize(("program", "file"), programs.values(), ids=programs.keys())


@named(EXAMPLES)
def test_example_works_and_leaves_nothing_behind(serve, until, program):
    server = serve(**asdict(program))
    check_work(server, until)
    check_end(server, until, signal.SIGINT)
    for ending in (signal.SIGTERM, signal.SIGKILL):
        server.start()
        assert server.written_report()["title"] == "Monthly report"
        check_end(server, until, ending)


@named(VARIANTS)
def test_variant_works_and_leaves_nothing_behind(serve, until, program):
    server = serve(**asdict(program))
    check_work(server, until)
    check_end(server, until, signal.SIGTERM)


@named_with_file(RELOADING)
def test_changed_code_runs_after_a_reload(serve, until, program, file):
    server = serve(**asdict(program))
    check_work(server, until)
    old = server.workers()
    server.change(file, "Monthly", "Yearly")
    # Reloaders interrupt the main thread, and wsgiref takes that for an error of the request that it answers just then:
    # whoever asks meanwhile can prevent the reload.
    until(lambda: old.isdisjoint(server.workers()), 30, "the workers with the old code have ended")
    check_changed(server, until)
    check_end(server, until, signal.SIGINT)


@named_with_file(TOLD_TO_RELOAD)
def test_changed_code_runs_after_a_hangup_signal(serve, until, program, file):
    server = serve(**asdict(program))
    assert server.written_report()["title"] == "Monthly report"
    server.change(file, "Monthly", "Yearly")
    server.signal(signal.SIGHUP)
    check_changed(server, until)
    check_end(server, until, signal.SIGTERM)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
def test_work_that_an_end_interrupts_is_taken_up_by_the_next_start(serve, until, ending):
    server = serve(**asdict(EXAMPLES["flask"]))
    ordered = server.order(seconds=3600)
    until(lambda: server.report(ordered)["status"] == "running", 20, "the work begins")
    check_end(server, until, ending)
    server.start()
    until(lambda: server.report(ordered)["status"] == "running", 20, "the work begins again")


def check_work(server, until):
    """The answer comes first, then the report, from a worker; the schedule fires meanwhile."""
    ordered = server.order(seconds=1)
    answered = time.time()
    report = until(lambda: server.report(ordered)["result"], 20, "the report is written")
    assert answered < report["finished"]
    assert server.report(ordered)["status"] == "succeeded"
    until(lambda: "Monthly report: written" in server.output(), 5, "the print of the task is in the server's output")
    (node,) = server.nodes()
    assert parent(report["process"]) == node
    until(lambda: len(server.heartbeats()) >= 4, 15, "the schedule fires each second")
    assert each_has_its_own_second(server.heartbeats())


def check_changed(server, until):
    until(lambda: server.written_report()["title"] == "Yearly report", 30, "the changed code runs")
    assert len(server.nodes()) == 1
    assert each_has_its_own_second(server.heartbeats())


def check_end(server, until, ending):
    server.end(ending)
    until(lambda: not server.processes(), 10, "no process is left")


def parent(pid):
    """Give the parent of a process, from its stat file: pid (name) state parent ..."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def each_has_its_own_second(moments, late=2):
    """Tell if each moment can be the run of another second, begun at most so many seconds late."""
    second = -math.inf
    for moment in moments:
        second = max(second + 1, math.ceil(moment - late))
        if second > moment:
            return False
    return True
