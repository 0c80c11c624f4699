"""Takes texts and tables over HTTP, looks into them in the background and mails what it found.

demo.py starts it, together with the mail server that MAIL_PORT names; what it keeps is in DEMO_FOLDER.
"""

import csv
import json
import os
import re
import smtplib
import textwrap
import time
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from statistics import mean
from uuid import uuid4

from flask import Flask, abort, render_template, request

import autocron

MAIL_PORT = int(os.environ["MAIL_PORT"])
FOLDER = Path(os.environ["DEMO_FOLDER"])
UPLOADS = FOLDER / "uploads.jsonl"

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 500_000
autocron.start("demo.db", workers=2)


@autocron.delay
def examine(upload: str, name: str, text: str) -> dict[str, str]:
    """Write a report about the file and have it mailed by a job of its own."""
    report = describe_table(text) if name.endswith(".csv") else describe_text(text)
    return {"report": report, "mail": mail(upload, name, report).uuid}


@autocron.delay
def mail(upload: str, name: str, report: str) -> None:
    message = EmailMessage()
    message["From"] = "demo@localhost"
    message["To"] = "you@localhost"
    message["Subject"] = f"{name}: {report.splitlines()[0]}"
    message["Message-ID"] = f"<{upload}@localhost>"  # the same at every attempt: a copy can be told from another mail
    message["X-Process"] = f"{os.getpid()} {os.getppid()}"
    message.set_content(report)
    with smtplib.SMTP("127.0.0.1", MAIL_PORT) as server:
        server.send_message(message)


@autocron.cron(every=1)
def take_stock() -> None:
    """Note each second how many files have come."""
    with (FOLDER / "stock.csv").open("a") as file:
        print(time.time(), len(read_uploads()), sep=",", file=file)


def describe_text(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    lines = textwrap.wrap(text, 60)
    frequent = Counter(word for word in words if len(word) > 4).most_common(5)
    return "\n".join(
        [
            f"{len(words)} words, {len(set(words))} different",
            "Most frequent: " + ", ".join(f"{word} ({count})" for word, count in frequent),
            "",
            *(f"{number:3}  {line}" for number, line in enumerate(lines, 1)),
        ]
    )


def describe_table(text: str) -> str:
    head, *rows = csv.reader(text.splitlines())
    columns = zip(head, zip(*rows, strict=True), strict=True)
    return "\n".join(
        [
            f"{len(rows)} rows, {len(head)} columns",
            *(describe_column(name, values) for name, values in columns),
            "",
            *("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]),
        ]
    )


def describe_column(name: str, values: tuple[str, ...]) -> str:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return f"{name}: {len(set(values))} different values"
    return f"{name}: {min(numbers):g} to {max(numbers):g}, mean {mean(numbers):.4g}"


def read_uploads() -> list[dict[str, str]]:
    return [json.loads(line) for line in UPLOADS.read_text().splitlines()] if UPLOADS.exists() else []


@app.get("/")
def index():
    return render_template("index.html")


@app.post("/uploads")
def upload_files():
    files = [file for file in request.files.getlist("file") if file.filename]
    return [accept(file.filename, file.read().decode(errors="replace")) for file in files], 202


def accept(name: str, text: str) -> dict[str, str]:
    upload = uuid4().hex
    task_result = examine(upload, name, text)
    record = {"upload": upload, "name": name, "uuid": task_result.uuid}
    with UPLOADS.open("a") as file:
        file.write(json.dumps(record) + "\n")
    return record


@app.get("/uploads")
def list_uploads():
    return [{**record, **progress(record["uuid"])} for record in read_uploads()]


def progress(uuid: str) -> dict[str, object]:
    """Tell how far the report and its mail are, and how often they were begun."""
    try:
        examined = autocron.get_result(uuid)
        if examined.result is None:
            return {"report": examined.status, "mail": "", "attempts": len(examined.attempts)}
        mailed = autocron.get_result(examined.result["mail"])
    except autocron.ResultNotFound:
        return {"report": "expired", "mail": "", "attempts": ""}
    attempts = max(len(examined.attempts), len(mailed.attempts))
    return {"report": examined.status, "mail": mailed.status, "attempts": attempts}


@app.get("/reports/<uuid>")
def show_report(uuid: str):
    try:
        examined = autocron.get_result(uuid)
    except autocron.ResultNotFound:
        abort(404)
    text = examined.result["report"] if examined.result else f"{examined.status} {examined.error_message}"
    return text, {"Content-Type": "text/plain; charset=utf-8"}
