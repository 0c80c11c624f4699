"""Reports that are written in the background of a Bottle application; the tasks are in tasks.py.

python app.py                                             (or with --reload)
curl -X POST "http://127.0.0.1:8080/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:8080/reports/UUID                   tells what became of it
"""

import os
import sys

from bottle import abort, get, post, request, response, run
from tasks import write_report

import autocron

autocron.start("bottle-example.db")


@post("/reports")
def order_report():
    task_result = write_report(float(request.query.seconds or 2))
    response.status = 202
    return {"uuid": task_result.uuid}


@get("/reports/<uuid>")
def show_report(uuid: str):
    try:
        task_result = autocron.get_result(uuid)
    except autocron.ResultNotFound:
        abort(404)
    return {"status": task_result.status, "result": task_result.result}


run(host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), reloader="--reload" in sys.argv)
