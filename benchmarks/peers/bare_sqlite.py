# /// script
# requires-python = ">=3.11"
# dependencies = []
#
# [tool.peer]
# title = "bare SQLite"
# package = "apsw"
# store = "yardstick"
# checkout = true
# settings = ""
# ///
"""The yardstick: what SQLite itself takes for autocron's rows, in one process, without autocron."""

import json
import sys

from bare import claims_and_finishes, inserts  # beside this folder


def main() -> None:
    count = int(sys.argv[1])
    figures = {
        "normal": inserts("normal", count),
        "full": inserts("full", count),
        "one": claims_and_finishes(count, 1),
        "hundred": claims_and_finishes(count, 100),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
