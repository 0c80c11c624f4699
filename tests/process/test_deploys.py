"""Jobs that wait while the code changes."""

import time
from typing import Any

from databases import on_each_database

OLD = "\n@delay(hours=1)\ndef mail(address):\n    return address\n"
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
