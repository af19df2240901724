"""From a declared source to the data set an lm-eval task reads.

A task YAML says ``custom_dataset: !function bfpo_bench.tasks.rows.dataset`` and names its source
under ``dataset_kwargs``; where the source is declared in a module beside the YAML, it names a
:class:`RowsOf` there instead. lm-eval then calls that with everything in the TaskManager's
``metadata`` (on its command line: ``--model_args`` merged with ``--metadata``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Source, load_source
from bfpo_bench.tasks.catalog import find_source

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowsOf:
    """The rows of one source as a data set, for a task YAML to name.

    Attributes:
        source: the declaration.
    """

    source: Source

    def __call__(
        self,
        *,
        variant: str | None = None,
        data_dir: str | Path | None = None,
        variants: Mapping[str, str] | None = None,
        mini: bool = False,
        allow_unpinned: bool = False,
        documents: Mapping[str, Mapping[str, Any]] | None = None,
        **_not_ours: Any,
    ) -> dict[str, Dataset]:
        """The rows as the ``test`` split of a Hugging Face data set.

        Args:
            variant: fixed by a YAML whose task *is* that variant; wins over ``variants``.
            data_dir: folder of upstream files; default: the environment's ``BFPO_DATA_DIR``.
            variants: source name → variant, asked for by the run; other sources keep their default.
            mini: read the bundled mini items instead.
            allow_unpinned: let a copy through that differs from the pinned one.
            documents: source name → the one document to give instead of all rows, for a caller that
                makes the documents itself and does not want them twice in memory.
            _not_ours: lm-eval passes a task's whole metadata (its version, where the YAML lies) and
                the model's arguments too; none of that concerns the data.

        Returns:
            ``{"test": Dataset}``; a row has the source's canonical fields and ``item_id``.

        Raises:
            BadInput: no such variant, no data, or data that is not what it should be.
        """
        name = self.source.name
        if documents is not None:
            return _split({field: [value] for field, value in documents[name].items()})
        if variants is not None and not isinstance(variants, Mapping):
            raise BadInput(
                f"metadata 'variants' is {variants!r}; "
                'give a mapping such as {"crows_pairs": "original"}.'
            )
        loaded = load_source(
            self.source,
            data_dir=None if data_dir is None else Path(data_dir),
            variant=variant or (variants or {}).get(name),
            mini=mini,
            allow_unpinned=allow_unpinned,
        )
        # In lm-eval alone nothing else says that a score is not the paper's.
        for mark in loaded.marks:
            log.warning(mark)
        # By column: a copy of every row would be the largest thing in memory.
        columns: dict[str, list[Any]] = {field: [] for field in loaded.rows[0]}
        for row in loaded.rows:
            for field, column in columns.items():
                column.append(row.get(field))
        return _split({**columns, "item_id": self.source.ids(loaded.rows)})


def _split(columns: dict[str, list[Any]]) -> dict[str, Dataset]:
    # Imported only now: `datasets` costs a second, and listing the tasks does not need it.
    from datasets import Dataset

    return {"test": Dataset.from_dict(columns)}


def dataset(source: str, **asked: Any) -> dict[str, Dataset]:
    """The rows of one of the package's sources; see :class:`RowsOf`.

    Args:
        source: its name, from the YAML's ``dataset_kwargs``.

    Raises:
        BadInput: no such source.
    """
    return RowsOf(find_source(source))(**asked)


def document(row: Mapping[str, Any], item_id: str) -> dict[str, Any]:
    """What lm-eval reads from a data set for a row."""
    return {**row, "item_id": item_id}


def no_target(row: Mapping[str, Any]) -> str:
    """A generative task has no gold answer: a judge decides (lm-eval insists on a target)."""
    return ""
