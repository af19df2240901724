"""AlpacaEval's instructions, outputs and annotations: what they are, and its two file formats.

``model_outputs.json`` and ``annotations.json`` are JSON lists with one object for each instruction.
Fields that upstream writes and nothing here needs (``price_per_example`` …) are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import read_json
from bfpo_bench.common.validate import validated
from bfpo_bench.data import Loaded, load_source
from bfpo_bench.tasks.alpaca_eval import SOURCE

TIE = 1.5
"""Preference of a draw in AlpacaEval's scale from 1 (the reference wins) to 2 (the model wins)."""


TASK = "bfpo_alpaca_eval"

# Fields that are not named here are left out.
_FILE = ConfigDict(strict=True)


def _on_the_scale(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return TIE if value == 0 else value if 1 <= value <= 2 else None


Preference = Annotated[float | None, BeforeValidator(_on_the_scale)]
"""From 1 (the reference wins) to 2 (the model wins); None: no usable answer. One that is NaN or
outside the scale is none; 0 is an old way to say a draw."""


@checked(frozen=True, config=_FILE)
class Annotation:
    """One instruction, two outputs and the annotator's preference: an entry of
    ``annotations.json``.

    All texts are untrusted. ``output_1`` is the reference's whatever the order in which the
    annotator was shown the two.

    Attributes:
        dataset: AlpacaEval's subset: helpful_base, koala, oasst, selfinstruct or vicuna.
        preference: fractions are probabilities of a weighted annotator.
        raw_completion: what the annotator answered, plain JSON values; None where that is not
            known.
    """

    instruction: str
    output_1: str
    generator_1: str
    dataset: str
    output_2: str
    generator_2: str
    annotator: str
    preference: Preference
    raw_completion: Any = None


@checked(frozen=True, config=_FILE)
class ModelOutput:
    """What a model answered to an instruction: an entry of ``model_outputs.json``."""

    dataset: str
    instruction: str
    output: str
    generator: str


Entry = TypeVar("Entry", ModelOutput, Annotation)


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

    def annotated(
        self, output: str, model: str, annotator: str, preference: float | None, raw: str | None
    ) -> Annotation:
        """A model's output as it was compared with the reference's; `raw` is JSON."""
        try:
            told = None if raw is None else json.loads(raw)
        except ValueError as error:
            raise BadInput(
                f"what {annotator} answered to {TASK}, item {self.item} is damaged ({error}); "
                "begin the run again with --fresh."
            ) from error
        shown = (self.instruction, self.reference_output, self.reference_model, self.dataset)
        return Annotation(*shown, output, model, annotator, preference, told)


def of_row(item: str, row: Mapping[str, Any]) -> Instruction:
    """The instruction that an item's row holds.

    Raises:
        BadInput: it lacks a part of one.
    """
    names = ("instruction", "dataset", "reference_output", "reference_model")
    if lost := [name for name in names if name not in row]:
        raise BadInput(
            f"the row of {TASK}, item {item} has no {lost[0]}; begin the run again with --fresh."
        )
    return Instruction(item, *(str(row[name]) for name in names))


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


def read_outputs(path: Path) -> list[ModelOutput]:
    """Reads a ``model_outputs.json``.

    Raises:
        BadInput: it cannot be read, is no such file, or holds the outputs of several models.
    """
    found = _read(path, ModelOutput, "model outputs")
    _require_one(path, "models", (one.generator for one in found))
    return found


def read_annotations(path: Path) -> list[Annotation]:
    """Reads an ``annotations.json``.

    Raises:
        BadInput: it cannot be read, is no such file, or holds annotations of several models, of
            several reference models or by several annotators.
    """
    found = _read(path, Annotation, "annotations")
    _require_one(path, "models", (one.generator_2 for one in found))
    _require_one(path, "reference models", (one.generator_1 for one in found))
    _require_one(path, "annotators", (one.annotator for one in found))
    return found


def written(entries: Iterable[ModelOutput | Annotation]) -> str:
    """The text of a ``model_outputs.json`` or an ``annotations.json``."""
    return json.dumps([asdict(one) for one in entries], indent=2, ensure_ascii=False) + "\n"


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


def _read(path: Path, kind: type[Entry], what: str) -> list[Entry]:
    keys = ", ".join(field.name for field in fields(kind))
    try:
        content = read_json(path)
    except OSError as error:
        raise BadInput(f"the {what} {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is not JSON ({error}); AlpacaEval's {what} are a JSON list of objects."
        ) from error
    if not isinstance(content, list) or not content:
        raise BadInput(f"{path} holds no {what}: a JSON list of objects with {keys} is expected.")
    rows = ({"dataset": "", **row} if isinstance(row, dict) else row for row in content)
    return [validated(kind, row, f"entry {n} of {path}") for n, row in enumerate(rows)]


def _require_one(path: Path, what: str, names: Iterable[str]) -> None:
    counts = Counter(names)
    if len(counts) > 1:
        listed = ", ".join(f"{_brief(name)} ({count})" for name, count in counts.most_common(3))
        raise BadInput(f"{path} is of {len(counts)} {what}, {listed}; give a file for each.")


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
