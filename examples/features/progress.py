"""Progress and output: what a job says is seen while it runs, from any process of the application."""

import time

import autocron
from autocron import delay


@delay
def convert(pages: list[str]) -> int:
    job = autocron.current()
    for number, page in enumerate(pages, 1):
        print("converting", page)
        time.sleep(0.3)
        job.progress(number, len(pages), page)
    return len(pages)


def main() -> None:
    autocron.start("progress.db")
    result = convert(["cover", "preface", "index"])
    seen = None
    while not result.is_ready:
        if (progress := result.progress) != seen and progress:
            print(f"{progress.done:.0f} of {progress.total:.0f}: {progress.note}")
            seen = progress
        time.sleep(0.05)
    print("converted", result.wait(), "pages; the output was", result.output.splitlines())
    autocron.stop()


if __name__ == "__main__":
    main()
