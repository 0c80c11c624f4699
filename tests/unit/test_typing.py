"""What the type checker knows of tasks."""

from pathlib import Path

from mypy import api

SNIPPET = """
from typing import Unpack

import autocron

@autocron.delay
def send_mail(address: str, times: int) -> int:
    return times

@autocron.delay(minutes=5, retries=5)
async def fetch(url: str) -> bytes:
    return b""

class Shop:
    @staticmethod
    @autocron.delay
    def restock(number: int) -> str:
        return ""

    @autocron.delay
    @staticmethod
    def sell(number: int) -> str:
        return ""

@autocron.cron("0 * * * *", retries=autocron.Retry(3, on=(OSError,)))
def clean(depth: int = 1) -> None: ...

@autocron.cron
def tick() -> None: ...
"""
GOOD = """
reveal_type(send_mail("a", 1))
reveal_type(send_mail("a", 1).wait())
reveal_type(send_mail.call("a", 1))
reveal_type(fetch("a"))
reveal_type(fetch.options(seconds=5, retries=autocron.Retry(3), expires=60)("a"))
reveal_type(Shop.restock(1))
reveal_type(Shop.sell(1))
reveal_type(clean)
reveal_type(send_mail.options(after=[fetch("a")])(Shop.sell(1).later, 1))
reveal_type(send_mail.map(["a", "b"]))
with autocron.transaction():
    pass

def soon(**options: Unpack[autocron.CallOptions]) -> None:
    reveal_type(fetch.options(**options)("a"))

async def main() -> None:
    reveal_type(await send_mail("a", 1))
    reveal_type(await send_mail.aenqueue("a", 1))
    reveal_type(await fetch.call("a"))
"""
BAD = """
send_mail(1)
send_mail("a", 1, 2)
send_mail.call("a")
fetch(5)
Shop.restock("a")
clean("a")
autocron.delay(retires=5)
autocron.cron(5.5)
autocron.cron("@daily", minutes=5, seconds=5)
fetch.options(retries="many")
send_mail(fetch("a").later, 1)
"""


def check(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET + text)
    output, errors, _ = api.run(["--strict", "--no-error-summary", f"--cache-dir={tmp_path}", str(file)])
    assert not errors
    return output.splitlines()


def test_the_types_of_calls_are_known(tmp_path: Path) -> None:
    revealed = [line.partition('"')[2].rstrip('"') for line in check(tmp_path, GOOD)]
    result = "autocron.result.TaskResult"
    assert [text.replace("builtins.", "") for text in revealed] == [
        f"{result}[int]",
        "int",
        "int",
        f"{result}[bytes]",
        f"{result}[bytes]",
        f"{result}[str]",
        f"{result}[str]",
        "def (depth: int =)",
        f"{result}[int]",
        f"list[{result}[int]]",
        f"{result}[bytes]",
        "int",
        f"{result}[int]",
        "bytes",
    ]


def test_wrong_calls_are_errors(tmp_path: Path) -> None:
    first = SNIPPET.count("\n") + 2
    lines = {int(line.split(":")[1]) for line in check(tmp_path, BAD) if ": error:" in line}
    assert lines == set(range(first, first + 11))
