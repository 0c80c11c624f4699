"""What tasks do to themselves and to their results."""

from typing import Any

import pytest


def test_closed_pipe(lab: Any) -> None:
    """What a task prints goes where nobody reads any more."""
    lab.write(
        "app.py",
        "import os\nreader, writer = os.pipe()\nos.dup2(writer, 1)\nos.dup2(writer, 2)\nos.close(writer)\n"
        "os.close(reader)\n" + (lab.folder / "app.py").read_text(),
    )
    app = lab.start()
    code = "for n in range(2000):\n    print('x' * 1000)\n    print('y', file=sys.stderr)\nvalue = 1"
    assert app.ask(f"[run({code!r}).wait(10) for n in range(3)]") == [1, 1, 1]
    assert app.ask("work(1).wait(10)") == 1


def test_output(lab: Any) -> None:
    app = lab.start()
    app.ask('run(\'print("to out"); print("to err", file=sys.stderr); os.system("echo from a child")\').wait(10)')
    lab.until(lambda: all(text in lab.output() for text in ("to out\n", "to err\n", "from a child\n")))


def test_closed_streams(lab: Any) -> None:
    app = lab.start()
    app.ask("run('os.close(1); os.close(2); sys.stdout = None').wait(10)")
    assert app.ask("work(1).wait(10)") == 1


def test_large_arguments_and_results(lab: Any) -> None:
    lab.add("tasks.py", "\n@delay\ndef double(text):\n    return text + text\n")
    app = lab.start(workers=2)
    assert app.ask("[len(double('x' * 250_000).wait(10)) for n in range(20)]", 60) == [500_000] * 20
    assert app.ask("[len(r.wait(10)) for r in [double('x' * 500_000) for n in range(20)]]", 60) == [1_000_000] * 20
    with pytest.raises(Exception, match=r"ValueError: the arguments of tasks\.double take"):
        app.ask("double('x' * 2_000_000)")


@pytest.mark.parametrize(
    "value",
    ["object()", "lambda: 1", "'x' * 2_000_000", "'ü' * 600_000", "float", "(lambda a: (a.append(a), a)[1])([])"],
)
def test_result_that_cannot_be_stored(lab: Any, value: str) -> None:
    app = lab.start()
    job = lab.ended(app.ask(f"run({f'note(1); value = {value}'!r}).uuid"))
    assert (job.state, job.result) == ("succeeded", None)
    assert job.error_message.startswith("result discarded: ")
    assert app.ask(f"autocron.get_result({job.uuid!r}).wait()") is None
    assert lab.ledger() == ["1"]


@pytest.mark.parametrize(
    ("setting", "call"), [("result_ttl", "work(1)"), ("failed_ttl", "run('1 / 0')")], ids=["succeeded", "failed"]
)
def test_expired_result(lab: Any, setting: str, call: str) -> None:
    app = lab.start(**{setting: 0.5})
    uuid = app.ask(f"{call}.uuid")

    def is_gone() -> bool:
        return app.ask(f"autocron.app._app.get({uuid!r}) is None")

    lab.until(is_gone, what="it expires")
    with pytest.raises(Exception, match="ResultNotFound"):
        app.ask(f"autocron.get_result({uuid!r})")
    lab.until(lambda: not lab.store.counts(0.0).by_state, 10, "the node deletes it")


def test_call_inside_a_job(lab: Any) -> None:
    app = lab.start()
    uuid = app.ask("run('value = work(7).uuid').wait(10)")
    assert lab.ended(uuid).result == "7"
    with pytest.raises(Exception, match="waiting for a job inside a job would block"):
        app.ask("run('work(8).wait()').wait(10)")
    lab.until(lambda: lab.ledger() == ["ran 7", "ran 8"])


def test_start_and_stop_inside_a_job(lab: Any) -> None:
    app = lab.start()
    assert app.ask("run('value = autocron.start(\"other.db\"); autocron.stop()').wait(10)") is False
    assert app.ask("run('value = work(7).uuid').wait(10)")
    assert not (lab.database.parent / "other.db").exists()


def test_child_outlives_its_worker(lab: Any) -> None:
    """A process that a task has left behind ends with the worker and does not hide the worker's death."""
    app = lab.start()
    code = "import subprocess; note('child', subprocess.Popen(['sleep', '600']).pid); hold.function('gate')"
    uuid = app.ask(f"run({code!r}).uuid")
    worker = lab.begun("gate")
    (child,) = [int(line.split()[1]) for line in lab.ledger() if line.startswith("child")]
    lab.kill(worker)
    lab.until(lambda: lab.job(uuid).past_attempts, 2, "the death of the worker is noticed")
    lab.until(lambda: child not in lab.processes(), 2, "its child ends")
