"""What folders are called where the last part of their path is not enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path


def short_paths(paths: Iterable[Path]) -> dict[Path, str]:
    """The shortest ends of paths that tell them apart."""
    parts = {path: path.absolute().parts for path in paths}
    ends = Counter(end for own in set(parts.values()) for end in _ends(own))
    return {
        path: str(Path(*next((end for end in _ends(own) if ends[end] == 1), own)))
        for path, own in parts.items()
    }


def _ends(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (parts[-length:] for length in range(1, len(parts) + 1))
