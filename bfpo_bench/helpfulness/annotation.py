"""AlpacaEval's instructions, outputs and annotations: what they are, and its two file formats.

``model_outputs.json`` and ``annotations.json`` are JSON lists with one object for each instruction.
Fields that upstream writes and nothing here needs (``price_per_example`` …) are left out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import valid_text
from bfpo_bench.data import Loaded, load_source
from bfpo_bench.tasks.alpaca_eval import SOURCE

TIE = 1.5
"""Preference of a draw in AlpacaEval's scale from 1 (the reference wins) to 2 (the model wins)."""


@dataclass(frozen=True)
class Annotation:
    """One instruction, two outputs and the annotator's preference, in AlpacaEval's convention.

    All texts are untrusted. ``output_1`` is the reference's whatever the order in which the
    annotator was shown the two.

    Attributes:
        dataset: AlpacaEval's subset: helpful_base, koala, oasst, selfinstruct or vicuna.
        preference: 1 (the reference wins) to 2 (the model wins), 1.5 a draw; None where the
            annotator gave no usable answer. Fractions are probabilities of a weighted annotator.
        raw: what the annotator answered, plain JSON values; None where that is not known.
    """

    instruction: str
    dataset: str
    output_1: str
    generator_1: str
    output_2: str
    generator_2: str
    annotator: str
    preference: float | None
    raw: Any = None


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


@dataclass(frozen=True)
class ModelOutput:
    """What a model answered to an instruction."""

    instruction: str
    output: str
    generator: str
    dataset: str


def read_outputs(path: Path) -> list[ModelOutput]:
    """Reads a ``model_outputs.json``.

    Raises:
        BadInput: it cannot be read, is no such file, or holds the outputs of several models.
    """
    found = [
        ModelOutput(
            instruction=_text(path, n, row, "instruction"),
            output=_text(path, n, row, "output"),
            generator=_text(path, n, row, "generator"),
            dataset=_text(path, n, row, "dataset", ""),
        )
        for n, row in enumerate(_rows(path, "model outputs", "instruction, output, generator"))
    ]
    _require_one(path, "models", (one.generator for one in found))
    return found


def write_outputs(outputs: Iterable[ModelOutput]) -> str:
    """The text of a ``model_outputs.json``."""
    rows = [
        {
            "dataset": one.dataset,
            "instruction": one.instruction,
            "output": one.output,
            "generator": one.generator,
        }
        for one in outputs
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def read_annotations(path: Path) -> list[Annotation]:
    """Reads an ``annotations.json``.

    A preference that is null, NaN or outside 1 to 2 is no usable answer; 0, an old way to say a
    draw, becomes 1.5.

    Raises:
        BadInput: it cannot be read, is no such file, or holds annotations of several models, of
            several reference models or by several annotators.
    """
    keys = "instruction, output_1, output_2, generator_1, generator_2, preference"
    found = [
        Annotation(
            instruction=_text(path, n, row, "instruction"),
            dataset=_text(path, n, row, "dataset", ""),
            output_1=_text(path, n, row, "output_1"),
            generator_1=_text(path, n, row, "generator_1"),
            output_2=_text(path, n, row, "output_2"),
            generator_2=_text(path, n, row, "generator_2"),
            annotator=_text(path, n, row, "annotator"),
            preference=_preference(path, n, row),
            raw=row.get("raw_completion"),
        )
        for n, row in enumerate(_rows(path, "annotations", keys))
    ]
    _require_one(path, "models", (one.generator_2 for one in found))
    _require_one(path, "reference models", (one.generator_1 for one in found))
    _require_one(path, "annotators", (one.annotator for one in found))
    return found


def write_annotations(annotations: Iterable[Annotation]) -> str:
    """The text of an ``annotations.json``."""
    rows = [
        {
            "instruction": one.instruction,
            "output_1": one.output_1,
            "generator_1": one.generator_1,
            "dataset": one.dataset,
            "output_2": one.output_2,
            "generator_2": one.generator_2,
            "annotator": one.annotator,
            "preference": one.preference,
            "raw_completion": one.raw,
        }
        for one in annotations
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def check_instructions(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Checks that a file is over the expected instructions, each once.

    Raises:
        BadInput: it has others, one of them twice, or lacks some.
    """
    wanted = set(expected)
    others = [one for one in found if one not in wanted]
    if others:
        raise BadInput(
            f"{len(others)} of the {len(found)} instructions in {path} are not among the "
            f"{len(expected)} expected ones (the first: {_brief(others[0])}); give outputs for "
            "AlpacaEval's own instructions."
        )
    twice = [one for one, count in Counter(found).items() if count > 1]
    if twice:
        raise BadInput(
            f"{len(twice)} of the instructions in {path} stand there more than once (the first: "
            f"{_brief(twice[0])}); keep one of each."
        )
    missing = [one for one in expected if one not in set(found)]
    if missing:
        raise BadInput(
            f"{path} lacks {len(missing)} of the {len(expected)} instructions (the first: "
            f"{_brief(missing[0])}); a win rate is only given over all of them."
        )


def _rows(path: Path, what: str, keys: str) -> list[Mapping[str, Any]]:
    try:
        content = valid_text(json.loads(path.read_bytes()))
    except OSError as error:
        raise BadInput(f"the {what} {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is not JSON ({error}); AlpacaEval's {what} are a JSON list of objects."
        ) from error
    if not isinstance(content, list) or not content:
        raise BadInput(f"{path} holds no {what}: a JSON list of objects with {keys} is expected.")
    wrong = next((n for n, row in enumerate(content) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise BadInput(f"entry {wrong} of {path} is no object with {keys}.")
    return content


def _text(path: Path, n: int, row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = row.get(key, default)
    if not isinstance(value, str):
        state = f"{_brief(json.dumps(value))} as {key!r}" if key in row else f"no {key!r}"
        raise BadInput(
            f"entry {n} of {path} has {state}, where AlpacaEval's format has a text; give the file "
            "that alpaca_eval writes or reads."
        )
    return value


def _preference(path: Path, n: int, row: Mapping[str, Any]) -> float | None:
    value = row.get("preference", "")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        state = "no 'preference'" if value == "" else f"{_brief(str(value))} as its preference"
        raise BadInput(
            f"entry {n} of {path} has {state}, where AlpacaEval's format has a number from 1 (the "
            "reference wins) to 2, or null."
        )
    number = TIE if value == 0 else float(value)
    return number if not math.isnan(number) and 1 <= number <= 2 else None


def _require_one(path: Path, what: str, names: Iterable[str]) -> None:
    counts = Counter(names)
    if len(counts) > 1:
        listed = ", ".join(f"{_brief(name)} ({count})" for name, count in counts.most_common(3))
        raise BadInput(f"{path} is of {len(counts)} {what}, {listed}; give a file for each.")


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
