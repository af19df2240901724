"""AlpacaEval's files, read and written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.helpfulness.annotation import (
    check_instructions,
    read_annotations,
    read_outputs,
    written,
)
from tests.helpfulness.real import MODELS, annotations_file, outputs_file, rows

ANNOTATION: dict[str, Any] = {
    "instruction": "Say hello.",
    "output_1": "Hello!",
    "generator_1": "reference",
    "dataset": "koala",
    "output_2": "Hi.",
    "generator_2": "model",
    "annotator": "somebody",
    "preference": 1.25,
    "raw_completion": {"text": "m"},
}
OUTPUT = {"instruction": "Say hello.", "output": "Hi.", "generator": "model", "dataset": "koala"}


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


def file_of(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "file.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("model", MODELS)
def test_published_files_survive_reading_and_writing(data_dir: Path, model: str) -> None:
    path = annotations_file(data_dir, model)
    kept = set(ANNOTATION)
    before = [{key: row[key] for key in row if key in kept} for row in rows(path)]
    assert json.loads(written(read_annotations(path))) == before
    path = outputs_file(data_dir, model)
    assert json.loads(written(read_outputs(path))) == rows(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 1.0), (2, 2.0), (1.5, 1.5), (0, 1.5), (None, None), (-1, None), (2.1, None)],
)
def test_preferences(tmp_path: Path, given: Any, expected: float | None) -> None:
    [found] = read_annotations(file_of(tmp_path, [{**ANNOTATION, "preference": given}]))
    assert found.preference == expected
    assert json.loads(written([found]))[0]["preference"] == expected


def test_not_a_number_is_no_preference(tmp_path: Path) -> None:
    text = json.dumps([{**ANNOTATION, "preference": float("nan")}])
    [found] = read_annotations(file_of(tmp_path, text))
    assert found.preference is None


def test_half_a_character_becomes_its_escape(tmp_path: Path) -> None:
    [found] = read_annotations(file_of(tmp_path, [{**ANNOTATION, "output_2": "\ud800!"}]))
    assert found.output_2 == r"\ud800!"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{]", r"is not JSON .*; AlpacaEval's annotations are a JSON list of objects"),
        ({"instruction": "x"}, "holds no annotations: a JSON list of objects"),
        ([], "holds no annotations"),
        ([1], "entry 0 of .* must be keys and values, not 1"),
        ([{**ANNOTATION, "output_2": 3}], "entry 0 of .*, output_2 must be a text, not 3"),
        ([{**ANNOTATION, "preference": "yes"}], "preference must be a number, not 'yes'"),
        ([without(ANNOTATION, "preference")], "entry 0 of .*: 'preference' is missing; add it"),
        (
            [ANNOTATION, {**ANNOTATION, "generator_2": "another"}],
            r"is of 2 models, 'model' \(1\), 'another' \(1\); give a file for each",
        ),
        ([ANNOTATION, {**ANNOTATION, "generator_1": "another"}], "is of 2 reference models"),
        ([ANNOTATION, {**ANNOTATION, "annotator": "another"}], "is of 2 annotators"),
    ],
)
def test_bad_annotations(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_annotations(file_of(tmp_path, content))


def test_bad_outputs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"entry 0 of .*: 'generator' is missing"):
        read_outputs(file_of(tmp_path, [without(OUTPUT, "generator")]))
    with pytest.raises(BadInput, match=r"the model outputs .* cannot be read"):
        read_outputs(tmp_path / "missing.json")
    assert read_outputs(file_of(tmp_path, [OUTPUT]))[0].output == "Hi."


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["a", "b", "z"], "1 of the 3 instructions in f.json are not among the 3 expected ones"),
        (["a", "b", "b", "c"], "1 of the instructions in f.json stand there more than once"),
        (["a", "c"], "f.json lacks 1 of the 3 instructions (the first: 'b')"),
    ],
)
def test_instructions_must_be_the_expected_ones(found: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        check_instructions(Path("f.json"), found, ["a", "b", "c"])
    check_instructions(Path("f.json"), ["c", "a", "b"], ["a", "b", "c"])
