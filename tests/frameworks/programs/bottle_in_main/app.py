"""Bottle: the tasks are in the started script itself, which ends in an unguarded `run(...)`."""

import os
import sys
import time
from pathlib import Path

from bottle import abort, get, post, request, run

import autocron

TITLE = "Monthly report"

autocron.start("bottle.db")


@autocron.delay
def write_report(seconds):
    time.sleep(seconds)
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)
def heartbeat():
    with Path(os.environ["HEARTBEATS"]).open("a") as file:
        print(time.time(), file=file)


@post("/reports")
def order_report():
    return {"uuid": write_report(float(request.query.seconds)).uuid}


@get("/reports/<uuid>")
def show_report(uuid):
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound:
        abort(404)
    return {"status": task_result.status, "result": task_result.result}


run(host="127.0.0.1", port=int(os.environ["PORT"]), reloader="--reload" in sys.argv)
