"""A workflow: pages are fetched, each is counted when it is there, and the sum waits for all."""

import autocron
from autocron import delay

PAGES = {"a.html": "one two three", "b.html": "four five", "c.html": "six"}


@delay
def fetch(name: str) -> str:
    return PAGES[name]


@delay
def count(text: str) -> int:
    return len(text.split())


@delay
def add(numbers: list[int]) -> int:
    return sum(numbers)


@delay
def clean_up() -> str:
    return "cleaned up"


def main() -> None:
    autocron.start("workflow.db", workers=2)
    with autocron.transaction():  # all of it is stored, or nothing
        counts = [count(fetch(name).later) for name in PAGES]
        total = add([number.later for number in counts])
    print("words:", total.wait(20))
    for result in total.graph():
        print(f"  {result.task.rpartition('.')[2]}: {result.status}, {result.result!r}")
    broken = add([count(fetch("lost.html").later).later])
    end = clean_up.options(after=[broken], on_parent_failure="run")()
    print(end.wait(20))
    print("a sum without its page is", broken.status)
    autocron.stop()


if __name__ == "__main__":
    main()
