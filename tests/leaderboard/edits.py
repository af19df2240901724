"""Changes to run directories that are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.synthetic_runs import item_id
from bfpo_bench.run.store import AnnotationRecord, ItemRecord, ResponseRecord, Store, answer_key


def edited(run: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Changes one of a run's JSON files; returns the run."""
    content = json.loads((run / name).read_text())
    change(content)
    (run / name).write_text(json.dumps(content))
    return run


def annotated(run: Path, preferences: Sequence[float | None], annotator: str = "somebody") -> None:
    """Gives a run that many responses to AlpacaEval's instructions, with an annotator's answers.

    For what shows samples; ``results.json`` stays as it is.
    """
    task = "bfpo_alpaca_eval"
    settings = {"version": 1, "metric": "win_rate"}
    edited(run, "run.json", lambda content: content["identity"]["tasks"].update({task: settings}))
    with Store(run / "samples.sqlite") as store:
        for n, preference in enumerate(preferences):
            row = {
                "instruction": f"instruction {n}", "dataset": "helpful_base",
                "reference_output": f"reference {n}", "reference_model": "gpt4_1106_preview",
            }  # fmt: skip
            item, key = item_id(task, n), answer_key("annotated", n)
            store.add_items([ItemRecord(task, item, n, json.dumps(row))])
            store.add_responses(
                [
                    ResponseRecord(
                        *(key, task, item, "", f"instruction {n}", f"answer {n}", "stop"),
                        *(0, 0, 0, 0),
                    )
                ]
            )
            store.add_annotations(
                [AnnotationRecord(key, annotator, task, item, preference, '"m"', "{}")]
            )
