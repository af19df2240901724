"""From a declared source to the data set an lm-eval task reads.

A task YAML says ``custom_dataset: !function bfpo_bench.tasks.rows.dataset`` and names its source
under ``dataset_kwargs``. lm-eval then calls `dataset` with that and with everything in the
TaskManager's ``metadata`` (on its command line: ``--model_args`` merged with ``--metadata``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench import data as sources
from bfpo_bench.common.errors import BadInput

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


def dataset(
    source: str,
    *,
    variant: str | None = None,
    data_dir: str | Path | None = None,
    variants: Mapping[str, str] | None = None,
    mini: bool = False,
    allow_unpinned: bool = False,
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    **_not_ours: Any,
) -> dict[str, Dataset]:
    """The rows of one source as the ``test`` split of a Hugging Face data set.

    Args:
        source: name of the source, from the YAML's ``dataset_kwargs``.
        variant: fixed by a YAML whose task *is* that variant; wins over ``variants``.
        data_dir: folder of upstream files; default: the environment's ``BFPO_DATA_DIR``.
        variants: source name → variant, asked for by the run; the other sources keep their default.
        mini: read the bundled mini items instead.
        allow_unpinned: let a copy through that differs from the pinned one.
        documents: source → the one document to give instead of all rows, for a caller that makes
            the documents itself (:func:`document`) and does not want them twice in memory.
        _not_ours: lm-eval passes a task's whole metadata (its version, where the YAML lies) and
            the model's arguments too; none of that concerns the data.

    Returns:
        ``{"test": Dataset}``; a row has the source's canonical fields and ``item_id``.

    Raises:
        BadInput: no such source or variant, no data, or data that is not what it should be.
    """
    if documents is not None:
        return _split({name: [value] for name, value in documents[source].items()})
    if variants is not None and not isinstance(variants, Mapping):
        raise BadInput(
            f"metadata 'variants' is {variants!r}; "
            'give a mapping such as {"crows_pairs": "original"}.'
        )
    loaded = sources.load(
        source,
        data_dir=None if data_dir is None else Path(data_dir),
        variant=variant or (variants or {}).get(source),
        mini=mini,
        allow_unpinned=allow_unpinned,
    )
    # In lm-eval alone nothing else says that a score is not the paper's.
    for mark in loaded.marks:
        log.warning(mark)
    ids = sources.item_ids(source, loaded.rows)
    # By column: a copy of every row would be the largest thing in memory.
    columns: dict[str, list[Any]] = {name: [] for name in loaded.rows[0]}
    for row in loaded.rows:
        for name, column in columns.items():
            column.append(row.get(name))
    return _split({**columns, "item_id": ids})


def _split(columns: dict[str, list[Any]]) -> dict[str, Dataset]:
    # Imported only now: `datasets` costs a second, and listing the tasks does not need it.
    from datasets import Dataset

    return {"test": Dataset.from_dict(columns)}


def document(row: Mapping[str, Any], item_id: str) -> dict[str, Any]:
    """What lm-eval reads from :func:`dataset` for a row."""
    return {**row, "item_id": item_id}
