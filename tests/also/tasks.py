"""Tasks for lm-eval, written into a folder with a few rows of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("bike", "mine", "yours", "open", "paint", "house", "river", "stone")


def write_tasks(folder: Path) -> Path:
    """A task of each kind and two groups, with JSON data beside them.

    ``also_choice`` has examples before each question; ``also_answer`` two filters and two answers
    to each prompt; ``also_text`` is longer than a window. ``also_both`` weighs its tasks by their
    sizes, 9 and 5, and ``also_even`` does not.
    """
    folder.mkdir(exist_ok=True)
    questions = [
        {
            "question": f"Which word follows {WORDS[i % 8]} {i}?",
            "choices": [WORDS[(i + k) % 8] + " again" * (k % 3) for k in range(4)],
            "gold": i % 4,
        }
        for i in range(14)
    ]
    answers = [{"question": f"{WORDS[i % 8]} {WORDS[i % 3]}", "answer": "bike"} for i in range(6)]
    lengths = (9, 29, 49, 69, 200)
    texts = [{"text": " ".join(WORDS[(n + k * k) % 8] for k in range(n))} for n in lengths]
    _rows(folder / "questions.json", questions[:9])
    _rows(folder / "examples.json", questions[9:])
    _rows(folder / "answers.json", answers)
    _rows(folder / "texts.json", texts)
    choice = {
        "task": "also_choice",
        **_data(folder, test="questions", train="examples"),
        "test_split": "test",
        "training_split": "train",
        "fewshot_split": "train",
        "num_fewshot": 2,
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [_mean("acc"), _mean("acc_norm"), _metric("brier_score", "brier_score")],
    }
    answer = {
        "task": "also_answer",
        **_data(folder, test="answers"),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n", "e"], "max_gen_toks": 6, "do_sample": False},
        "repeats": 2,
        "filter_list": [
            {"name": "whole", "filter": [{"function": "take_first"}]},
            {
                "name": "found",
                "filter": [
                    {"function": "regex", "regex_pattern": "([a-z]+)"},
                    {"function": "take_first"},
                ],
            },
        ],
        "metric_list": [{**_mean("exact_match"), "ignore_case": True}],
    }
    text = {
        "task": "also_text",
        **_data(folder, test="texts"),
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [
            _metric("word_perplexity", "weighted_perplexity", better=False),
            _metric("bits_per_byte", "bits_per_byte", better=False),
        ],
    }
    last = {
        **choice,
        **_data(folder, test="examples", train="examples"),
        "task": "also_last",
        "num_fewshot": 0,
        "output_type": "loglikelihood",
        "doc_to_target": "{{choices[gold]}}",
        "metric_list": [_mean("acc"), _metric("perplexity", "perplexity", better=False)],
    }
    del last["doc_to_choice"]
    both = {
        "group": "also_both",
        "task": ["also_choice", "also_last"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    even = {
        "group": "also_even",
        "task": ["also_choice", "also_last"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
    }
    # Without a figure of its own: what is in it stands for it.
    loose = {"group": "also_loose", "task": ["also_even", "also_last"]}
    for content in (choice, answer, text, last, both, even, loose):
        name = content.get("group", content["task"])
        content.setdefault("metadata", {"version": 1.0})
        # lm-eval's YAML is a superset of JSON.
        (folder / f"{name}.yaml").write_text(json.dumps(content, indent=1))
    return folder


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _data(folder: Path, **files: str) -> dict[str, Any]:
    places = {split: str(folder / f"{name}.json") for split, name in files.items()}
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": places}}


def _metric(name: str, aggregation: str, better: bool = True) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": better}


def _mean(name: str) -> dict[str, Any]:
    return _metric(name, "mean")
