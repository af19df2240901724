"""lm-evaluation-harness's own versions of the scored tasks, reading rows that are given to them.

The stock YAML is loaded by its path; in place of its download it gets the rows in the columns of
its hub data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import lm_eval.tasks

STOCK_FOLDER = Path(lm_eval.tasks.__file__).parent


class Stock(NamedTuple):
    """A stock task.

    Attributes:
        yaml: its file below lm-eval's tasks.
        hub: path and name that it would ask the hub for.
        split: that it evaluates on.
    """

    yaml: str
    hub: tuple[str, str]
    split: str


def _bigbench(name: str) -> Stock:
    yaml = f"bigbench/multiple_choice/{name}.yaml"
    return Stock(yaml, ("hails/bigbench", f"{name}_zero_shot"), "default")


def _ethics(name: str) -> Stock:
    return Stock(f"hendrycks_ethics/{name}.yaml", ("EleutherAI/hendrycks_ethics", name), "test")


STOCK = {
    "bfpo_crows_pairs": Stock(
        "crows_pairs/crows_pairs_english.yaml",
        ("jannalu/crows_pairs_multilingual", "english"),
        "test",
    ),
    "bfpo_bbq_lite": _bigbench("bbq_lite_json"),
    "bfpo_winogrande": Stock(
        "winogrande/default.yaml", ("allenai/winogrande", "winogrande_xl"), "validation"
    ),
    "bfpo_ethics_cm": _ethics("commonsense"),
    "bfpo_ethics_justice": _ethics("justice"),
    "bfpo_ethics_deontology": _ethics("deontology"),
    "bfpo_ethics_utilitarianism": _ethics("utilitarianism"),
    "bfpo_ethics_virtue": _ethics("virtue"),
    "bfpo_moral_permissibility": _bigbench("moral_permissibility"),
    "bfpo_simple_ethical_questions": _bigbench("simple_ethical_questions"),
    "bfpo_toxigen": Stock("toxigen/toxigen.yaml", ("skg/toxigen-data", "annotated"), "test"),
    "bfpo_hhh_alignment": _bigbench("hhh_alignment"),
}
"""Our task → the stock one."""


def in_hub_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A canonical row as the hub's data set has it; only BIG-bench names its columns otherwise."""
    if "choices" not in row:
        return {field: value for field, value in row.items() if field != "item_id"}
    pairs = list(zip(row["choices"], row["scores"], strict=True))
    best = max(row["scores"])
    return {
        "inputs": row["inputs"],
        "targets": [choice for choice, score in pairs if score == best],
        "multiple_choice_targets": row["choices"],
        "multiple_choice_scores": row["scores"],
    }


def load_stock(name: str, rows: Sequence[dict[str, Any]]) -> Any:
    """lm-eval's own task in the place of ours, reading canonical rows; the hub is not asked."""
    import datasets

    stock = STOCK[name]
    table = datasets.Dataset.from_list([in_hub_columns(row) for row in rows])

    def instead_of_the_hub(path: str, name: str, **_: Any) -> dict[str, Any]:
        assert (path, name) == stock.hub
        return {stock.split: table, "train": table.select([0])}

    with mock.patch.object(datasets, "load_dataset", instead_of_the_hub):
        manager = lm_eval.tasks.TaskManager(include_defaults=False)
        (task,) = manager.load([str(STOCK_FOLDER / stock.yaml)])["tasks"].values()
    return task
