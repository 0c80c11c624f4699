"""Pyramid: the tasks are in a second module, and nothing guards `serve_forever()`."""

import os
from wsgiref.simple_server import make_server

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from tasks import write_report

import autocron

autocron.start("pyramid.db")


def order_report(request):
    return {"uuid": write_report(float(request.GET["seconds"])).uuid}


def show_report(request):
    try:
        task_result = autocron.get_result(request.matchdict["uuid"])
    except autocron.ResultNotFound as error:
        raise HTTPNotFound from error
    return {"status": task_result.status, "result": task_result.result}


with Configurator() as config:
    config.add_route("reports", "/reports")
    config.add_route("report", "/reports/{uuid}")
    config.add_view(order_report, route_name="reports", renderer="json")
    config.add_view(show_report, route_name="report", renderer="json")

make_server("127.0.0.1", int(os.environ["PORT"]), config.make_wsgi_app()).serve_forever()
