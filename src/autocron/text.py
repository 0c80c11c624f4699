"""How things are said to people."""


def duration(seconds: float) -> str:
    """Give a duration in seconds as people say it: "4 h"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(0, round(seconds))} s"
