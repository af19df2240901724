"""Where an export goes when nobody says, and names that lead nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.paths import short_paths
from bfpo_bench.common.text import visible

LONGEST_NAME = 200
"""Bytes of a name; most file systems take 255, and locks beside it have longer ones."""

FOLDERS = ("lm-eval", "inspect", "eee", "hub")
"""Formats of several files; the others are one file each."""


def file_of(run: Path, format: str, among: Iterable[Path] = ()) -> str:
    """Name of what holds a run in a format, file or folder, where nobody gives another.

    Args:
        among: runs that are written with it, whose names are told apart.
    """
    place = place_of(run)
    name = short_paths([place, *map(place_of, among)])[place].strip(os.sep).replace(os.sep, "-")
    return f"{name}{'-' if format in FOLDERS else '.'}{format}"


def folder_of(run: Path, format: str, output: Path | None) -> Path:
    """The folder that the files of a format go into."""
    return output or Path(file_of(run, format))


def place_name(text: str) -> str:
    """A foreign text as one step of a path."""
    plain = "".join("_" if c in '/\\<>:"|?*' or c < " " or visible(c) != c else c for c in text)
    name = plain.encode()[:LONGEST_NAME].decode(errors="ignore")
    return name if name.strip(".") else "model"
