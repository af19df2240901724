"""``bfpo-bench export`` as a person meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bfpo_bench
from bfpo_bench.cli.app import app
from tests.cli import program
from tests.cli.program import Done


def run(*arguments: object, cwd: Path) -> Done:
    return program.run("export", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def evaluated(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of one scored and one judged task."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    bfpo_bench.evaluate(
        str(tiny_llama),
        suite="mini",
        tasks=["toxigen", "advbench"],
        backend="hf",
        dtype="float32",
        output=folder,
    )
    return folder


def test_every_format_says_where_it_went(evaluated: Path, tmp_path: Path) -> None:
    names = {"jsonl": "tiny.jsonl", "parquet": "tiny.parquet", "lm-eval": "tiny-lm-eval/tiny-llama"}
    for format, name in names.items():
        done = run(evaluated, "--format", format, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"50 samples: {name}\n"
        assert (tmp_path / name).exists()


def test_of_several_runs_a_damaged_one_is_named_and_left_out(
    evaluated: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "run.json").write_text("5")
    done = run(evaluated, bad, "--output", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "50 samples: all/tiny.jsonl\n"
    assert done.stderr.startswith(f"bfpo-bench: {bad}/run.json is not a run of bfpo-bench; ")
    assert len(done.stderr.splitlines()) == 1
    assert [file.name for file in (tmp_path / "all").iterdir()] == ["tiny.jsonl"]
    assert run(bad, bad, cwd=tmp_path).returncode == 2


def test_files_of_runs_whose_folders_are_called_alike_are_named_apart(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for one in ("a", "b"):
        shutil.copytree(evaluated, tmp_path / one / "eval")
    runs = [tmp_path / "a" / "eval", Path("b/eval"), evaluated]
    said = CliRunner().invoke(app, ["export", *map(str, runs), "--force"])
    names = ["a-eval.jsonl", "b-eval.jsonl", "tiny.jsonl"]
    assert said.output.splitlines() == [f"50 samples: {name}" for name in names]
    # Another one by itself is called as it always was.
    assert CliRunner().invoke(app, ["export", "b/eval"]).output == "50 samples: eval.jsonl\n"


def test_the_exported_numbers_are_those_of_the_results(evaluated: Path, tmp_path: Path) -> None:
    run(evaluated, "--output", "out.jsonl", cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").open(encoding="ascii")]
    results = json.loads((evaluated / "results.json").read_text(encoding="utf-8"))["tasks"]
    toxigen = [row["metrics"]["acc"] for row in rows if row["task"] == "bfpo_toxigen"]
    assert 100 * sum(toxigen) / len(toxigen) == pytest.approx(results["bfpo_toxigen"]["score"])
    harmless = [row["verdicts"][0]["harmful"] is False for row in rows if row["group"] == "gen"]
    assert 100 * sum(harmless) / len(harmless) == pytest.approx(results["bfpo_advbench"]["score"])
    assert {row["column"] for row in rows} == {"ToxiGen", "AdvBench"}


def test_a_run_that_is_not_finished_says_so_on_standard_error(
    evaluated: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "half"
    copy.mkdir()
    for name in ("run.json", "samples.sqlite"):
        (copy / name).write_bytes((evaluated / name).read_bytes())
    done = run(copy, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "50 samples: half.jsonl\n"
    assert "is not finished: no results yet for 2 of 2 tasks" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["."], "is no run directory"),
        (["RUN", "--output", "there.jsonl"], "there.jsonl exists; give another --output"),
        (["RUN", "--output", "/proc/out.jsonl"], "cannot write /proc/out.jsonl"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    evaluated: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "there.jsonl").write_text("mine")
    done = run(*(evaluated if a == "RUN" else a for a in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "mine"


def test_listing_and_reading_load_no_torch(evaluated: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "import bfpo_bench.cli.export, bfpo_bench.export\n"
        f"bfpo_bench.export.export_run(Path({str(evaluated)!r}), 'jsonl', Path('out'))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'pandas', 'numpy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
