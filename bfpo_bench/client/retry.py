"""Which failures are worth another try, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_chance = random.Random()
"""Own generator: waiting must not disturb anybody's seeded random numbers."""


def worth_another_try(status: int) -> bool:
    """Whether an HTTP status can be different next time (501 says that it will not)."""
    return status in (408, 429) or (status >= 500 and status != 501)


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1).

    Exponential, with up to half of it taken off at random so that many clients that failed
    together do not come back together.
    """
    # The exponent is bounded: 2.0 ** 1024 overflows.
    whole = min(longest, first * 2.0 ** min(attempt - 1, 60))
    return whole * (0.5 + 0.5 * _chance.random())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, 10.2.3); None where it does not, or unclearly.

    Args:
        headers: names in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = _seconds(text)
        # Counted by the server's own clock where it shows it: ours may be wrong.
        now = _seconds(headers.get("date", ""))
        if date is None:
            return None
        seconds = date - (time.time() if now is None else now)
    # NaN and infinity are floats too, but no time to wait.
    return max(0.0, seconds) if seconds < float("inf") else None


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
