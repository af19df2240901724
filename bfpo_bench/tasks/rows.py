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

from bfpo_bench import sources
from bfpo_bench.errors import BadInput

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
        _not_ours: lm-eval passes a task's whole metadata (its version, where the YAML lies) and
            the model's arguments too; none of that concerns the data.

    Returns:
        ``{"test": Dataset}``; a row has the source's canonical fields and ``item_id``.

    Raises:
        BadInput: no such source or variant, no data, or data that is not what it should be.
    """
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

    # Imported only now: `datasets` costs a second, and listing the tasks does not need it.
    from datasets import Dataset

    # By column: a copy of every row would be the largest thing in memory.
    names = list(loaded.rows[0]) if loaded.rows else []
    columns = {name: [row.get(name) for row in loaded.rows] for name in names}
    return {"test": Dataset.from_dict({**columns, "item_id": ids})}
