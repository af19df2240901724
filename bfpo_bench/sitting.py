"""One sitting at a run: when it began and what its stages took, for the record in ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bfpo_bench.rundir import RunDirectory


class Sitting:
    """Begins when it is made.

    Attributes:
        seconds: of each stage so far; a stage that comes again adds up.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Counts what the body takes for a stage, also where it breaks off."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - begin

    def record(self, run: RunDirectory, **about: Any) -> None:
        """Writes the sitting, and what else there is to say about it, into ``run.json``."""
        from bfpo_bench.environment import describe_environment

        seconds = {stage: round(spent, 2) for stage, spent in self.seconds.items()}
        run.record_session(
            describe_environment(), {"started": self._started, **about, "seconds": seconds}
        )
