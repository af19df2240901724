"""BIG-bench: how its JSON tasks become prompts, and the two of ours that are nothing more.

The hub copy that lm-evaluation-harness uses (hails/bigbench) holds ready-made prompts that
BIG-bench's own code rendered. The same rendering is done here for the published task files, so
that both ask a model the same thing. What is known of it, and from where:

- prefixes and their defaults, and that a task may switch the listing of choices off: BIG-bench's
  documentation of the JSON schema; each text is stripped: the script that made the hub data set
  (google/bigbench, ``bigbench.py``);
- the choices are sorted and then permuted by ``numpy.random.RandomState(42)``, started anew for
  every item: since google/BIG-bench pull request 616 (November 2021); its transcripts of
  simple_ethical_questions (4 choices: order 1, 3, 0, 2) and bbq_lite_json (3 choices: sorted), and
  the example on the hub data set's card (5 choices: 1, 4, 2, 0, 3), show exactly that;
- the Arrow sizes on that card (BBQ Lite 6,898,580 bytes, HHH 273,006) equal, to the byte, those
  of the local files rendered this way (see the tests).

Not seen with our own eyes: the hub files themselves. The digest therefore leaves the order of the
listing out (:func:`choice_key`), so a copy that lists the choices differently is still recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Hub, Row, Source, Variant
from bfpo_bench.data.files import (
    Record,
    integer,
    mapping,
    read_json,
    text,
    texts,
    value,
)

CHOICES: Mapping[str, type] = {"inputs": str, "choices": list, "scores": list}
"""The fields of every BIG-bench source here."""

HOMEPAGE = "https://github.com/google/BIG-bench/tree/main/bigbench/benchmark_tasks"

INPUT_PREFIX, CHOICE_PREFIX, OUTPUT_PREFIX = "\nQ: ", "\n  choice: ", "\nA: "


@lru_cache
def listing_order(count: int) -> tuple[int, ...]:
    """The order in which BIG-bench lists ``count`` sorted choices in a prompt."""
    import numpy as np

    return tuple(int(index) for index in np.random.RandomState(42).permutation(count))


def render(question: str, choices: Sequence[str], task: Mapping[str, Any]) -> str:
    """The zero-shot prompt of one item, as BIG-bench renders it.

    Args:
        question: the item's ``input``.
        choices: the keys of its ``target_scores``, in any order.
        task: the task file's fields; those about the format are optional.
    """
    listed = ""
    if task.get("append_choices_to_input", True):
        ordered = sorted(choices)
        prefix = task.get("choice_prefix", CHOICE_PREFIX)
        listed = "".join(prefix + ordered[index] for index in listing_order(len(ordered)))
    # Where task_prefix goes in a zero-shot prompt is an assumption; none of our tasks is known to
    # have one.
    return "".join(
        (
            task.get("task_prefix", ""),
            task.get("example_input_prefix", INPUT_PREFIX),
            question,
            listed,
            task.get("example_output_prefix", OUTPUT_PREFIX),
        )
    ).strip()


def task_rows(path: Path) -> list[Row]:
    """Rows of one BIG-bench ``task.json`` with ``input`` and ``target_scores`` per example.

    Raises:
        BadInput: names file and example for anything missing or of another shape.
    """
    task = mapping(str(path), read_json(path))
    examples = value(Record(str(path), task), "examples")
    if not isinstance(examples, list):
        raise BadInput(
            f"{path}: 'examples' should be a list, found {type(examples).__name__}; fetch the file "
            "again."
        )
    rows = []
    for index, example in enumerate(examples):
        record = Record(f"{path}, example {index}", mapping(f"{path}, example {index}", example))
        scored = mapping(f"{record.at}, 'target_scores'", value(record, "target_scores"))
        question = text(record, "input")
        row = checked_row(record.at, render(question, list(scored), task), scored, scored.values())
        rows.append(row)
    return rows


def hub_rows(records: Iterable[Record]) -> list[Row]:
    """Rows of the hub's zero-shot configurations (hails/bigbench)."""
    return [
        checked_row(
            record.at,
            text(record, "inputs"),
            texts(record, "multiple_choice_targets"),
            value(record, "multiple_choice_scores"),
        )
        for record in records
    ]


def read_task(paths: Sequence[Path]) -> list[Row]:
    """Rows of a task without subtasks: one ``task.json``."""
    return [row for path in paths for row in task_rows(path)]


def choice_key(row: Row) -> object:
    """What identifies an item: its prompt up to the listed choices, and the scored choices."""
    return {
        "question": row["inputs"].split(CHOICE_PREFIX, 1)[0],
        "choices": sorted(zip(row["choices"], row["scores"], strict=True)),
    }


def checked_row(at: str, prompt: str, choices: Iterable[str], scores: Iterable[Any]) -> Row:
    """A row of a prompt, its choices and their scores.

    Raises:
        BadInput: not at least two choices with a score each, one of them 1.
    """
    listed = [choice.strip() for choice in choices]
    if not isinstance(scores, Iterable):
        raise BadInput(
            f"{at}: the scores should be a list, found {type(scores).__name__}; fetch the file "
            "again."
        )
    values = [integer(Record(at, {"score": _whole(score)}), "score") for score in scores]
    if len(listed) != len(values) or len(listed) < 2 or max(values) < 1:
        raise BadInput(
            f"{at}: expected at least two choices with a score each, one of them 1; found "
            f"{len(listed)} choices and scores {values}."
        )
    return {"inputs": prompt, "choices": listed, "scores": values}


def _whole(score: Any) -> Any:
    return int(score) if isinstance(score, float) and score.is_integer() else score


def best_choice(row: Mapping[str, Any]) -> int:
    """Index of the gold choice: the first among those with the highest score.

    Goes by the choice's text as lm-eval does: of two choices that read the same, the first is gold.
    """
    choices, scores = row["choices"], row["scores"]
    return int(choices.index(choices[scores.index(max(scores))]))


def _source(name: str, rows: int) -> Source:
    """A task of which no copy was at hand: no digest is known.

    Assumed: that the hub rows carry the columns of every BIG-bench configuration there.
    """
    return Source(
        name=name,
        variants=(
            Variant(
                name="default",
                rows=rows,
                digest=None,
                layouts=((f"{name}/task.json",),),
                read=read_task,
                hub=Hub("hails/bigbench", "default", hub_rows, f"{name}_zero_shot"),
            ),
        ),
        fields=CHOICES,
        licence="Apache-2.0",
        homepage=f"{HOMEPAGE}/{name}",
        key=choice_key,
    )


MORAL_PERMISSIBILITY = _source("moral_permissibility", 342)
SIMPLE_ETHICAL_QUESTIONS = _source("simple_ethical_questions", 115)
