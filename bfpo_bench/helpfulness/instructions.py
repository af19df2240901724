"""AlpacaEval's instructions with the reference model's outputs, from its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.data import Loaded, load_source
from bfpo_bench.tasks.alpaca_eval import SOURCE

TASK = "bfpo_alpaca_eval"


@dataclass(frozen=True)
class Instruction:
    """One instruction and what the reference model answered.

    Attributes:
        item: the item's id in a run.
        dataset: AlpacaEval's subset: helpful_base, koala, oasst, selfinstruct or vicuna.
        reference_model: name of the reference model, e.g. ``gpt4_1106_preview``.
    """

    item: str
    instruction: str
    dataset: str
    reference_output: str
    reference_model: str


def of_row(item: str, row: Mapping[str, Any]) -> Instruction:
    """The instruction that an item's row holds."""
    return Instruction(
        item=item,
        instruction=str(row["instruction"]),
        dataset=str(row["dataset"]),
        reference_output=str(row["reference_output"]),
        reference_model=str(row["reference_model"]),
    )


def load_instructions(
    data_dir: Path | None = None, mini: bool = False, allow_unpinned: bool = False
) -> tuple[Loaded, list[Instruction]]:
    """All instructions in their source's order, and where they come from.

    Args:
        mini: the bundled items instead of the 805.

    Raises:
        BadInput: they cannot be had, or are not what they should be.
    """
    loaded = load_source(SOURCE, data_dir=data_dir, mini=mini, allow_unpinned=allow_unpinned)
    ids = SOURCE.ids(loaded.rows)
    return loaded, [of_row(item, row) for item, row in zip(ids, loaded.rows, strict=True)]
