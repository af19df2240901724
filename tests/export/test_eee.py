"""Records of Every Eval Ever 0.3.0 against its own schemas, and against the run's numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.export import export_run
from bfpo_bench.run.results_files import read_results

from .conftest import MakeRun, lines

SCHEMAS = Path(__file__).parent / "every_eval_ever"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 16 tasks of the paper, ten items each, judged by two judges."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return synthetic_run(folder, "org/model", limit=10, second_judge="keyword")


def valid(schema: str, content: Any) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    kind = json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8"))
    assert kind["version"] == "0.3.0"
    jsonschema.Draft7Validator.check_schema(kind)
    validator = jsonschema.Draft7Validator(kind)
    for one in content:
        validator.validate(one)
    return True


def exported(run: Path, output: Path, **more: Any) -> tuple[dict[str, Any], Path]:
    """The file of numbers, and where it is."""
    folder = export_run(run, "eee", output, **more).path
    [file] = folder.rglob("*[0-9a-f].json")
    return json.loads(file.read_text(encoding="ascii")), file


def test_both_levels_hold_to_the_schemas_and_to_the_run(whole: Path, tmp_path: Path) -> None:
    content, file = exported(whole, tmp_path / "out")
    results = read_results(whole / "results.json")
    assert file.parent == tmp_path / "out/data/bfpo-bench/org/model"
    detail = content["detailed_evaluation_results"]
    samples = tmp_path / "out" / detail["file_path"]
    rows = lines(samples)
    assert valid("eval", [content])
    assert valid("instance_level_eval", rows)
    assert detail["total_rows"] == len(rows) == 160
    assert detail["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
    numbers = {one["evaluation_result_id"]: one for one in content["evaluation_results"]}
    assert len(numbers) == len(content["evaluation_results"])
    for task, cell in results.tasks.items():
        told = numbers[f"{task}/{cell.metric}"]["score_details"]
        assert (told["score"], told["uncertainty"]["num_samples"]) == (cell.score, 10)
        # What every item adds is the number again.
        own = [row for row in rows if row["evaluation_result_id"] == f"{task}/{cell.metric}"]
        mean = sum(row["evaluation"]["score"] for row in own) / len(own)
        assert 100 * mean == pytest.approx(cell.score)
        correct = sum(row["evaluation"]["is_correct"] for row in own)
        assert correct == pytest.approx(cell.score / 10)
    assert numbers["paper_savg/mean"]["score_details"]["score"] == results.averages["savg"].value
    assert {row["evaluation_id"] for row in rows} == {content["evaluation_id"]}
    # The same run is the same record.
    assert exported(whole, tmp_path / "again")[1].name == file.name


def test_numbers_alone(whole: Path, tmp_path: Path) -> None:
    done = export_run(whole, "eee", tmp_path / "out", aggregate_only=True)
    [file] = (path for path in done.path.rglob("*") if path.is_file())
    text = file.read_text(encoding="ascii")
    content = json.loads(text)
    assert valid("eval", [content])
    assert done.samples == len(content["evaluation_results"])
    assert "detailed_evaluation_results" not in content
    # A path of this machine is nobody's business, nor is a response.
    assert str(tmp_path.parent) not in text
    with pytest.raises(BadInput, match="--aggregate-only is for --format eee"):
        export_run(whole, "jsonl", tmp_path / "x", aggregate_only=True)


@pytest.mark.parametrize("name", ["../..", "a/../../b", "C:\\x", "", "data/.."])
def test_a_models_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    run = synthetic_run(tmp_path / "run", name, limit=1)
    content, file = exported(run, tmp_path / "out", aggregate_only=True)
    assert file.relative_to(tmp_path / "out").parts[:2] == ("data", "bfpo-bench")
    assert len(file.relative_to(tmp_path / "out").parts) == 5
    assert content["model_info"]["id"] == name


def test_a_run_without_results_has_no_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for format in ("eee", "hub"):
        with pytest.raises(BadInput, match="has no results yet, and this format is made of them"):
            export_run(run, format, tmp_path / "out")
    assert not (tmp_path / "out").exists()
