"""Flask: autocron is started in the last line of the module."""

import os
import time
from pathlib import Path

from flask import Flask, abort, request

import autocron

TITLE = "Monthly report"

app = Flask(__name__)


@autocron.delay
def write_report(seconds):
    time.sleep(seconds)
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)
def heartbeat():
    with Path(os.environ["HEARTBEATS"]).open("a") as file:
        print(time.time(), file=file)


@app.post("/reports")
def order_report():
    return {"uuid": write_report(request.args.get("seconds", type=float)).uuid}


@app.get("/reports/<uuid>")
def show_report(uuid):
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound:
        abort(404)
    return {"status": task_result.status, "result": task_result.result}


autocron.start("flask.db")
