"""The rows of a suite's tasks, and which of them a limited run takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from bfpo_bench import data as sources
from bfpo_bench.data import Loaded
from bfpo_bench.suites import Suite, SuiteTask, task_declaration


@dataclass(frozen=True)
class DataOptions:
    """Where the rows come from; see :func:`bfpo_bench.data.load`."""

    data_dir: Path | None = None
    variants: dict[str, str] = field(default_factory=dict)
    mini: bool = False
    allow_unpinned: bool = False


@dataclass(frozen=True)
class TaskData:
    """The rows of one task and the items of it that are wanted.

    Attributes:
        version: version of the task's YAML.
        positions: chosen rows (``--limit``), ascending.
        ids: item ids of *all* rows.
    """

    spec: SuiteTask
    version: int
    loaded: Loaded
    ids: list[str]
    positions: list[int]


def read_data(
    suite: Suite, options: DataOptions, limit: int | None = None, seed: int = 0
) -> list[TaskData]:
    """Loads the rows of every task and chooses the items of a limited run.

    ``limit`` draws that many items per task at random: the items whose hashes with the seed are
    smallest, so that the choice depends on the seed and the items alone, not on their order.

    Raises:
        BadInput: a source cannot be had or is not what it should be.
    """
    found = []
    for spec in suite.everything:
        declaration = task_declaration(spec.task)
        source = declaration["dataset_kwargs"]["source"]
        loaded = sources.load(
            source,
            data_dir=options.data_dir,
            variant=options.variants.get(source),
            mini=options.mini,
            allow_unpinned=options.allow_unpinned,
        )
        ids = sources.item_ids(source, loaded.rows)
        positions = list(range(len(ids)))
        if limit is not None and limit < len(ids):

            def rank(position: int, task: str = spec.task, ids: list[str] = ids) -> bytes:
                return hashlib.sha256(f"{seed}\0{task}\0{ids[position]}".encode()).digest()

            positions = sorted(sorted(positions, key=rank)[:limit])
        version = int(declaration["metadata"]["version"])
        found.append(TaskData(spec, version, loaded, ids, positions))
    return found
