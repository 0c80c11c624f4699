"""Reports that are written in the background of a Pyramid application.

python app.py                                             (or with a reloader: hupper -m app)
curl -X POST "http://127.0.0.1:6543/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:6543/reports/UUID                   tells what became of it
"""

import os
import time
from pathlib import Path
from wsgiref.simple_server import make_server

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.view import view_config

import autocron

TITLE = "Monthly report"

autocron.start("pyramid-example.db")


@autocron.delay
def write_report(seconds: float) -> dict[str, object]:
    time.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)


@view_config(route_name="reports", request_method="POST", renderer="json")
def order_report(request):
    task_result = write_report(float(request.GET.get("seconds", 2)))
    request.response.status = 202
    return {"uuid": task_result.uuid}


@view_config(route_name="report", renderer="json")
def show_report(request):
    try:
        task_result = autocron.get_result(request.matchdict["uuid"])
    except autocron.ResultNotFound as error:
        raise HTTPNotFound from error
    return {"status": task_result.status, "result": task_result.result}


def make_app():
    with Configurator() as config:
        config.add_route("reports", "/reports")
        config.add_route("report", "/reports/{uuid}")
        config.scan()
        return config.make_wsgi_app()


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "6543")), make_app()) as server:
        server.serve_forever()
