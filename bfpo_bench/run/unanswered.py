"""What nothing that a run holds depends on yet, and so may be asked for anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BenchError
from bfpo_bench.run.store import Store
from bfpo_bench.run.store.schema import ASKED

log = logging.getLogger(__name__)

TABLES = (*ASKED, "outcomes")
"""Of a store: all that somebody has answered, or that follows from it."""


def holds_any(run: Path, tables: Sequence[str], opened: Callable[[], Store] | None = None) -> bool:
    """Whether a run's store holds anything in these tables, or cannot be read.

    Args:
        opened: opens it where it lies elsewhere meanwhile.
    """
    place = run / "samples.sqlite"
    if opened is None and not place.exists():
        return False
    query = " UNION ALL ".join(f"SELECT 1 FROM {table}" for table in tables)
    try:
        with opened() if opened else Store(place, read_only=True) as store:
            return bool(store.select(f"{query} LIMIT 1"))
    except BenchError:
        return True


def gives_way(run: Path, opened: Callable[[], Store] | None = None) -> bool:
    """Whether a run holds no answers, as where its model could not be loaded; says so."""
    if holds_any(run, TABLES, opened):
        return False
    log.warning("%s held a run of something different without answers.", run)
    return True


def judged_as(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """An identity by the judges of another one, where both have some.

    Verdicts alone depend on a judge: without any, another may be asked.
    """
    judges = ("judge", "refusal_judge")
    return before | {part: now[part] for part in judges if before.get(part) and now.get(part)}
