"""What jobs print, log and say in a worker, and when the node is told. In a process of its own each: it is for good."""

import subprocess
import sys
import textwrap
import threading

import pytest

from autocron.model import Claim, News
from autocron.steps import StepsHere
from autocron.worker import news
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import MainThread

PROLOGUE = """
import logging, sys, threading
from autocron.job import current_job
from autocron.model import Claim
from autocron.steps import StepsHere
from autocron.worker import capture
from autocron.worker.news import Reporter, RunningJob
from autocron.worker.places import MainThread

captured = capture.install()
told = []
reporter = Reporter(told.append)

def begin(uuid):
    claim = Claim(uuid, 1, "app.task", "", 0.0)
    job = captured.running[uuid] = RunningJob(claim, StepsHere(), reporter, MainThread())
    return job

def end(job):
    del captured.running[job.uuid]
    reporter.finish(job)
    return [one.output for one in told if one.uuid == job.uuid][-1]

one = begin("one")
"""


def run(code: str) -> tuple[str, str]:
    """Run the code; give what stood on its terminal."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(code)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_prints_are_kept_and_shown() -> None:
    assert run("""
        print("out", 1)
        print("err", file=sys.stderr)
        assert end(one) == "out 1\\nerr\\n"
        print("no job any more")
    """) == ("out 1\nno job any more\n", "err\n")


def test_of_several_jobs_the_context_tells_which_one_prints() -> None:
    run("""
        two = begin("two")
        print("nobody's")
        for job in (one, two):
            token = current_job.set(job)
            print("of", job.uuid)
            current_job.reset(token)
        assert end(one) == "of one\\n"
        assert end(two) == "of two\\n"
    """)


def test_records_name_their_job_and_are_kept_once() -> None:
    _, err = run("""
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(autocron_task)s/%(autocron_uuid)s %(message)s"))
        logging.getLogger("shown").addHandler(handler)
        logging.getLogger("shown").propagate = False
        logging.getLogger("shown").error("first")
        logging.getLogger("hidden").addHandler(logging.NullHandler())
        logging.getLogger("hidden").error("second %s", 2)
        logging.getLogger("hidden").info("not wanted")
        logging.warning("third")
        assert end(one) == "app.task/one first\\nERROR hidden: second 2\\nWARNING:root:third\\n"
        logging.getLogger("shown").error("last")
    """)
    assert err == "app.task/one first\nWARNING:root:third\n/ last\n"


def test_what_is_forked_is_shown_only() -> None:
    out, _ = run("""
        import os
        if not os.fork():
            print("child")
            sys.stdout.flush()
            os._exit(0)
        os.wait()
        print("parent")
        assert end(one) == "parent\\n"
    """)
    assert out == "child\nparent\n"


class Node:
    """Takes news and says when some have come."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.came = threading.Semaphore(0)
        self.reporter = Reporter(self.take)
        self.job = RunningJob(Claim("one", 2, "app.task", "", 0.0), StepsHere(), self.reporter, MainThread())

    def take(self, one: News) -> None:
        self.news.append(one)
        self.came.release()


def test_while_a_job_runs_the_node_hears_the_last_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "INTERVAL", 0.01)
    node = Node()
    for number in range(1, 100):
        node.job.progress(number)
    while not any('"done":99.0' in (one.progress or "") for one in node.news):
        assert node.came.acquire(timeout=10)
    node.job.printed("text")
    assert node.came.acquire(timeout=10)
    assert node.news[-1] == News("one", 2, None, "text")


def test_before_the_end_the_rest_is_told_and_nothing_twice() -> None:
    node = Node()
    node.job.progress(1, 2, "half")
    node.job.printed("")
    node.reporter.finish(node.job)
    node.reporter.finish(node.job)
    assert node.news == [News("one", 2, '{"done":1.0,"total":2.0,"note":"half"}', None)]


def test_of_much_output_the_middle_is_left_out() -> None:
    node = Node()
    for number in range(10_000):
        node.job.printed(f"line {number}\n")
    node.reporter.finish(node.job)
    output = node.news[-1].output or ""
    assert output.startswith("line 0\n")
    assert output.endswith("line 9999\n")
    assert "characters left out" in output
    assert len(output) < news.OUTPUT_HEAD + news.OUTPUT_TAIL + 50


def test_a_job_that_says_nothing_costs_nothing() -> None:
    node = Node()
    node.reporter.finish(node.job)
    assert node.news == []
    assert node.reporter._thread is None
