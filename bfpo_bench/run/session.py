"""One session at a run: when it began and what its stages took, for the record in ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.environment import ANSWERING, describe_environment


class Session:
    """Begins when it is made.

    Args:
        run: where it is put on record: when it begins to make answers, so that a killed one is
            known too, and when it ends.
        about: what else there is to say about it.

    Attributes:
        seconds: of each stage so far; a stage that comes again adds up.
    """

    def __init__(self, run: RunDirectory, **about: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._run = run
        self._about = about
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._place: int | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Counts what the body takes for a stage, also where it breaks off."""
        if stage not in self.seconds:
            self.seconds[stage] = 0.0
            if stage in ANSWERING:
                self.record()
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - begin

    def record(self) -> None:
        """Writes the session so far into ``run.json``."""
        seconds = {stage: round(spent, 2) for stage, spent in self.seconds.items()}
        self._place = self._run.record_session(
            {
                "started": self._started,
                **self._about,
                "seconds": seconds,
                "environment": describe_environment(),
            },
            self._place,
        )
