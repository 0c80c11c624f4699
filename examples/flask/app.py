"""Reports that are written in the background of a Flask application.

flask --app app run                                       (or with --debug, or: gunicorn -w 4 app:app)
curl -X POST "http://127.0.0.1:5000/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:5000/reports/UUID                   tells what became of it
"""

import os
import time
from pathlib import Path

from flask import Flask, abort, request

import autocron

TITLE = "Monthly report"

app = Flask(__name__)
autocron.start("flask-example.db")


@autocron.delay
def write_report(seconds: float) -> dict[str, object]:
    time.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)


@app.post("/reports")
def order_report():
    task_result = write_report(request.args.get("seconds", 2.0, type=float))
    return {"uuid": task_result.uuid}, 202


@app.get("/reports/<uuid>")
def show_report(uuid: str):
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound:
        abort(404)
    return {"status": task_result.status, "result": task_result.result}
