"""The client's clock in a test's hands."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from bfpo_bench.client import http


class Clock:
    """Goes on like the real one, and is put forward: no machine is too slow for a deadline then.

    Attributes:
        ahead: seconds that it is ahead of the real one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        now = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + self.ahead)
        monkeypatch.setattr(http, "time", now)
