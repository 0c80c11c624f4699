"""Rates such as "100/m", as buckets of tokens: a job takes one to begin, and the bucket fills up again steadily. Pure.

All that is stored of a bucket is when it is full again. Nothing has to run to fill it, and a clock that was put back
can delay nothing for longer than it takes to fill the bucket.
"""

import re

from autocron.errors import ConfigError
from autocron.model import Limit

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
ROUNDING = 1e-6  # of a token: what is lost where seconds since the epoch are added


def parse_rate(text: object) -> tuple[int, float]:
    """Give the tokens of a rate such as "100/m", and the seconds in which they come.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"([1-9]\d{0,8})/([smhd])", text) if isinstance(text, str) else None
    if not found:
        raise ConfigError(f'rate: {text!r} is none; write how many jobs per s, m, h or d, such as "100/m"')
    return int(found[1]), UNITS[found[2]]


def tokens(limit: Limit, full_at: float, now: float) -> int | None:
    """Give how many tokens there are; None: as many as anybody wants.

    Args:
        limit: says how large the bucket is and how fast it fills.
        full_at: when it is full.
        now: seconds since the epoch, as all times.
    """
    if limit.burst is None or limit.period is None:
        return None
    missing = (_bounded(limit.period, full_at, now) - now) * limit.burst / limit.period
    return int(limit.burst - missing + ROUNDING)


def take(limit: Limit, full_at: float, now: float, count: int) -> float:
    """Give when the bucket is full after `count` tokens are taken."""
    if limit.burst is None or limit.period is None:
        return full_at
    return _bounded(limit.period, full_at, now) + count * limit.period / limit.burst


def next_token(limit: Limit, full_at: float) -> float:
    """Give when there is a token, in a bucket that has none."""
    if limit.burst is None or limit.period is None:
        return 0.0
    return full_at - limit.period + limit.period / limit.burst


def _bounded(period: float, full_at: float, now: float) -> float:
    return min(max(full_at, now), now + period)
