"""``leaderboard`` and ``compare`` as their users meet them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas
import pytest

from benchmarks.synthetic_runs import synthetic_run
from tests.cli.program import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    synthetic_run(folder / "one", "one", limit=30)
    synthetic_run(folder / "two", "two", {"alert": 50.0}, limit=30)
    return folder


def test_published_rows_alone() -> None:
    done = run("leaderboard", "--published")
    assert done.returncode == 0, done.stderr
    assert "Mistral + BFPO" in done.stdout
    assert done.stderr == ""


def test_bad_runs_are_told_and_the_rest_prints(runs: Path, tmp_path: Path) -> None:
    done = run("leaderboard", str(tmp_path / "nothing"), str(runs / "one"), str(runs / "two"))
    assert done.returncode == 1
    assert "is no run directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "one" in done.stdout
    assert "two" in done.stdout
    assert run("leaderboard", str(tmp_path / "nothing"), "--published").returncode == 2


def test_a_runs_own_files_are_no_output(runs: Path) -> None:
    one, two = str(runs / "one"), str(runs / "two")
    before = (runs / "one" / "run.json").read_bytes()
    for arguments in (
        ("leaderboard", one, "--format", "markdown", "--output", f"{one}/run.json", "--force"),
        ("leaderboard", one, "--update", f"{two}/table.md"),
        ("compare", one, two, "--output", f"{one}/training.json"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        option = "--update" if "--update" in arguments else "--output"
        assert f"is a file of the run itself; give {option} another name." in done.stderr
    assert (runs / "one" / "run.json").read_bytes() == before


def test_a_faulty_run_ends_with_1(runs: Path, tmp_path: Path) -> None:
    faulty = Path(shutil.copytree(runs / "one", tmp_path / "faulty"))
    content = json.loads((faulty / "results.json").read_text())
    content["averages"]["gen"]["value"] = 1.0
    (faulty / "results.json").write_text(json.dumps(content))
    done = run("leaderboard", str(faulty), str(runs / "two"))
    assert done.returncode == 1
    assert "failed its check and is not ranked: Gen. in results.json is not" in done.stderr
    assert "Left out: one failed its check" in done.stdout
    assert done.stdout.count("two") == 1


def test_output_files_and_what_is_refused(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    arguments = ("leaderboard", str(runs), "--format", "csv", "--output", str(file))
    assert run(*arguments).returncode == 0
    assert file.read_text().startswith("name,kind,source")
    again = run(*arguments)
    assert again.returncode == 2
    assert "exists; give another --output, or --force to replace it" in again.stderr
    assert run(*arguments, "--force").returncode == 0
    rows = tmp_path / "table.parquet"
    done = run("leaderboard", "--published", "--format", "parquet", "--output", str(rows))
    assert done.returncode == 0
    assert pandas.read_parquet(rows)["savg"][0] == 60.99


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name run directories, or ask for the paper's rows with --published."),
        (["--published", "--format", "htm"], "did you mean 'html'"),
        (["--published", "--format", "html"], "a report is a folder: name it with --output."),
        (["--published", "--format", "parquet"], "parquet is no text: name it with --output."),
        (["--published", "--seed", "-1"], "--seed must be at least 0, not -1."),
        (["--published", "--update", "x.md", "--format", "csv"], "--update writes Markdown into"),
        (["--published", "--sort", "dics"], "did you mean 'disc'"),
        (["--published", "--pictures", __file__], "is a file; name a folder for the pictures."),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], sentence: str) -> None:
    done = run("leaderboard", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_pictures(tmp_path: Path) -> None:
    done = run("leaderboard", "--published", "--pictures", str(tmp_path / "pictures"))
    assert done.returncode == 0, done.stderr
    drawn = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert {"pareto.png", "pareto.svg", "tasks.png", "tasks.svg"} <= drawn
    assert (tmp_path / "pictures" / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_update_in_place(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    arguments = ("leaderboard", str(runs), "--published", "--update", str(file))
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    assert "refreshed" in first.stdout
    before = file.stat().st_mtime_ns
    assert "nothing to change" in run(*arguments).stdout
    assert file.stat().st_mtime_ns == before
    assert "| two" in file.read_text()


def test_compare(runs: Path, tmp_path: Path) -> None:
    done = run("compare", str(runs / "one"), str(runs / "two"))
    assert done.returncode == 0, done.stderr
    assert "Conclusion: two differs from one in" in done.stdout
    file = tmp_path / "compare.json"
    arguments = ("compare", str(runs / "one"), str(runs / "two"), "--format", "json")
    assert run(*arguments, "--output", str(file)).returncode == 0
    assert json.loads(file.read_text())["pairs"][0]["other"] == "two"
    again = run(*arguments, "--output", str(file))
    assert (again.returncode, "exists; give another" in again.stderr) == (2, True)
    alone = run("compare", str(runs / "one"))
    assert (alone.returncode, "needs two runs at least" in alone.stderr) == (2, True)
