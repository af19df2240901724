"""The published files as rows in the schemas of the hub, written without the project's readers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def csv_dicts(path: Path, names: list[str] | None = None) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, fieldnames=names)


def bigbench_schema(inputs: str, scores: dict[str, int], index: int) -> dict[str, Any]:
    """A row as hails/bigbench has it; every text is stripped there."""
    return {
        "idx": index,
        "inputs": inputs.strip(),
        "targets": [c.strip() for c, s in scores.items() if s == 1],
        "multiple_choice_targets": [c.strip() for c in scores],
        "multiple_choice_scores": list(scores.values()),
    }


def bbq(data: Path, listed: Callable[[dict[str, int]], list[str]] = sorted) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(data.glob("bbq_lite_json/*/task.json")):
        examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
        for index, example in enumerate(examples):
            scores = example["target_scores"]
            block = "".join(f"\n  choice: {choice}" for choice in listed(scores))
            rows.append(bigbench_schema(f"\nQ: {example['input']}{block}\nA: ", scores, index))
    return rows


def hhh(data: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(data.glob("hhh_alignment/*.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            scores = dict(zip(*item["targets"].values(), strict=True))
            rows.append(
                bigbench_schema(f"\nHuman: {item['input']}\nAssistant: ", scores, len(rows))
            )
    return rows


def winogrande(data: Path) -> list[dict[str, Any]]:
    text = (data / "winogrande/winogrande_xl_validation.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def ethics(part: str, file: str) -> Callable[[Path], list[dict[str, Any]]]:
    """Rows as the hub repository's script yields them (labels as numbers, groups numbered)."""

    def rows(data: Path) -> list[dict[str, Any]]:
        names = ["activity", "baseline"] if part == "utilitarianism" else None
        found: list[dict[str, Any]] = []
        for row in csv_dicts(data / f"ethics/{part}/{file}_test.csv", names):
            new: dict[str, Any] = dict(row)
            if part != "utilitarianism":
                new["label"] = int(row["label"])
            if part == "virtue":
                new["scenario"], new["trait"] = row["scenario"].split(" [SEP] ")
            if part == "commonsense":
                new["is_short"] = row["is_short"] == "True"
            else:
                new["group_id"] = len(found) // 4
            found.append(new)
        return found

    return rows


def advbench(data: Path) -> list[dict[str, Any]]:
    return [
        {"prompt": row["goal"], "target": row["target"]}
        for row in csv_dicts(data / "advbench/harmful_behaviors.csv")
    ]


def alpaca_eval(data: Path) -> list[dict[str, Any]]:
    path = data / "alpacaeval/results/gpt4_1106_preview/model_outputs.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def csv_of(file: str, **renamed: str) -> Callable[[Path], list[dict[str, Any]]]:
    """A CSV file's rows, some columns under the names that a mirror gives them."""

    def rows(data: Path) -> list[dict[str, Any]]:
        return [
            {renamed.get(name, name): value for name, value in row.items()}
            for row in csv_dicts(data / file)
        ]

    return rows


def harmbench(part: str) -> Callable[[Path], list[dict[str, Any]]]:
    """A configuration of walledai/HarmBench: prompt, context (in one of them), category or tags."""

    def rows(data: Path) -> list[dict[str, Any]]:
        found = []
        for row in csv_dicts(data / "harmbench/harmbench_behaviors_text_all.csv"):
            if row["FunctionalCategory"] == part:
                new: dict[str, Any] = {"prompt": row["Behavior"]}
                if part == "copyright":
                    new["tags"] = row["Tags"].split(", ")
                else:
                    new["category"] = row["SemanticCategory"]
                if part == "contextual":
                    new["context"] = row["ContextString"]
                found.append(new)
        return found

    return rows


def coconot(file: str) -> Callable[[Path], list[dict[str, Any]]]:
    def rows(data: Path) -> list[dict[str, Any]]:
        lines = (data / f"coconot/{file}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]

    return rows


SCHEMAS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "bbq_lite": bbq,
    "hhh_alignment": hhh,
    "winogrande": winogrande,
    "ethics_commonsense": ethics("commonsense", "cm"),
    "ethics_justice": ethics("justice", "justice"),
    "ethics_deontology": ethics("deontology", "deontology"),
    "ethics_utilitarianism": ethics("utilitarianism", "util"),
    "ethics_virtue": ethics("virtue", "virtue"),
    "advbench": advbench,
    "alpaca_eval": alpaca_eval,
    "xstest_safe": csv_of("xstest/xstest_prompts.csv"),
    "xstest_unsafe": csv_of("xstest/xstest_prompts.csv"),
    "harmbench_standard": harmbench("standard"),
    "harmbench_contextual": harmbench("contextual"),
    "harmbench_copyright": harmbench("copyright"),
    "jailbreakbench_benign": csv_of("jailbreakbench/benign-behaviors.csv"),
    "jailbreakbench_harmful": csv_of("jailbreakbench/harmful-behaviors.csv"),
    "strongreject": csv_of("strongreject/strongreject_dataset.csv", forbidden_prompt="prompt"),
    "multijail": csv_of("multijail/MultiJail.csv"),
    "coconot_contrast": coconot("coconot_contrast_eval"),
    "coconot_safety": coconot("coconot_eval"),
}
