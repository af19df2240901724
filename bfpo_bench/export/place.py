"""Where an export goes when nobody says, and names that lead nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from bfpo_bench.common.text import visible

LONGEST_NAME = 200
"""Bytes of a name; most file systems take 255, and locks beside it have longer ones."""

FOLDERS = ("lm-eval", "inspect", "eee", "hub")
"""Formats of several files; the others are one file each."""


def file_of(run: Path, format: str) -> str:
    """Name of what holds a run in a format, file or folder, where nobody gives another."""
    between = "-" if format in FOLDERS else "."
    return f"{Path(os.path.realpath(run)).name}{between}{format}"


def folder_of(run: Path, format: str, output: Path | None) -> Path:
    """The folder that the files of a format go into."""
    return output or Path(file_of(run, format))


def place_name(text: str) -> str:
    """A foreign text as one step of a path."""
    plain = "".join("_" if c in '/\\<>:"|?*' or c < " " or visible(c) != c else c for c in text)
    name = plain.encode()[:LONGEST_NAME].decode(errors="ignore")
    return name if name.strip(".") else "model"
