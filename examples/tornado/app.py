"""Reports that are written in the background of a Tornado application.

python app.py                                             (or with --reload)
curl -X POST "http://127.0.0.1:8888/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:8888/reports/UUID                   tells what became of it
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from tornado.web import Application, HTTPError, RequestHandler

import autocron

TITLE = "Monthly report"


@autocron.delay
def write_report(seconds: float) -> dict[str, object]:
    time.sleep(seconds)  # the work
    print(f"{TITLE}: written")
    return {"title": TITLE, "process": os.getpid(), "finished": time.time()}


@autocron.cron(every=1)  # each second, so that there is something to see; nightly at half past two is "30 2 * * *"
def heartbeat() -> None:
    with Path(os.environ.get("HEARTBEATS", "heartbeats.txt")).open("a") as file:
        print(time.time(), file=file)


class ReportsHandler(RequestHandler):
    def post(self):
        task_result = write_report(float(self.get_query_argument("seconds", "2")))
        self.set_status(202)
        self.write({"uuid": task_result.uuid})


class ReportHandler(RequestHandler):
    def get(self, uuid: str):
        try:
            task_result = autocron.get_result(uuid)
        except autocron.ResultNotFound as error:
            raise HTTPError(404) from error
        self.write({"status": task_result.status, "result": task_result.result})


async def main() -> None:
    autocron.start("tornado-example.db")
    handlers = [(r"/reports", ReportsHandler), (r"/reports/([^/]+)", ReportHandler)]
    app = Application(handlers, autoreload="--reload" in sys.argv)
    app.listen(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
