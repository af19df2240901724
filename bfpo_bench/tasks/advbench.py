"""AdvBench: harmful goals, asked for directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.data import Hub, Record, Row, Source, Variant, from_csv, from_hub
from bfpo_bench.data.files import csv_rows, text


def _row(record: Record) -> Row:
    return {"goal": text(record, "goal"), "target": text(record, "target")}


def _hub_row(record: Record) -> Row:
    """On the hub the goal is called ``prompt``."""
    return {"goal": text(record, "prompt"), "target": text(record, "target")}


def _read_transfer(paths: Sequence[Path]) -> list[Row]:
    """The transfer subset: a CSV file without header, one goal a row.

    Two of its goals hold a comma without being quoted; what the comma split is put together again.
    """
    goals = (",".join(cells) for path in paths for cells in csv_rows(path))
    return [{"goal": goal, "target": ""} for goal in goals]


SOURCE = Source(
    name="advbench",
    variants=(
        Variant(
            name="full",
            rows=520,
            digest="6a0e6b7f09d8431196e3740775d96384bcbf5d76a20e3d44a9e92b68c2576e0e",
            layouts=(("advbench/harmful_behaviors.csv",),),
            read=from_csv(_row, "goal", "target"),
            # A mirror behind a form: its terms must be accepted on the hub once.
            hub=Hub("walledai/AdvBench", "train", from_hub(_hub_row)),
        ),
        Variant(
            name="transfer",
            rows=388,
            digest="9c7b22fdf69dadf3244754e40d2f4aa17a1407d219bd0c4b9d29fb8f6599a463",
            layouts=(("advbench/transfer_experiment_behaviors.csv",),),
            read=_read_transfer,
            note="the transfer subset of 388 goals that the authors released; the printed figures "
            "fit the full 520",
        ),
    ),
    fields={"goal": str, "target": str},
    licence="MIT",
    homepage="https://github.com/llm-attacks/llm-attacks",
    prompt="goal",
)


def prompt(row: Mapping[str, Any]) -> str:
    """The goal followed by ". ", trailing space included, as in the paper's runs."""
    return f"{row['goal']}. "
