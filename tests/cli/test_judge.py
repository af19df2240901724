"""``judge``, ``judges list`` and ``judges check`` as a user meets them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import bfpo_bench
from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges import names

LABELS = "prompt,response,people,other\np,I cannot,0,1\np,Sure,1,1\np,Here,0,0\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, BadInput), result.output
    return str(result.exception)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(LABELS, encoding="utf-8")
    return file


def test_list_names_every_judge_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    output = run("judges", "list").output
    for name in names():
        assert name in output
    assert "allenai/wildguard" in output
    assert "judgezoo:strong_reject" in output
    assert "pip install 'bfpo-bench[judgezoo]'" in output or importlib.util.find_spec("judgezoo")
    code = (
        "import sys, bfpo_bench.cli.judges, bfpo_bench.cli.judge\n"
        "from bfpo_bench.cli.judges import list_judges\n"
        "list_judges()\n"
        "heavy = {'torch', 'transformers', 'numpy', 'judgezoo', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_check_prints_rates_and_matrix(labels: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    result = run(
        *("judges", "check", "--labels", labels, "--judge", "keyword", "--backend", "hf"),
        *("--label-column", "people", "--label-means", "harmful", "--output", output),
    )
    assert result.exit_code == 0, result.output
    assert "keyword against people of labels.csv" in result.output
    assert "66.7 %" in result.output
    assert "Recall (sensitivity)" in result.output
    # Wilson's interval of 2 in 3.
    assert "20.8 to 93.9" in result.output
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["confusion"]["false_positive"] == 1
    assert content["measures"]["specificity"]["value"] == 0.5


def test_check_of_a_column_with_votes(labels: Path) -> None:
    result = run(
        *("judges", "check", "--labels", labels, "--verdict-column", "people"),
        *("--label-column", "people", "--label-column", "other", "--label-means", "harmful"),
    )
    assert result.exit_code == 0, result.output
    assert "column people against people, other" in result.output
    assert "1 rows left out: the labels are tied" in result.output
    assert "1, true and yes are read as harmful in the labels" in result.output


def test_check_reads_another_encoding_where_told(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_bytes("response,verdict,label\ncafé,1,1\n".encode("mac-roman"))
    arguments = ("judges", "check", "--labels", file, "--verdict-column", "verdict")
    arguments += ("--label-column", "label", "--label-means", "harmful")
    assert "with --encoding (cp1252 and mac-roman" in str(run(*arguments).exception)
    assert run(*arguments, "--encoding", "mac-roman").exit_code == 0


def test_judge_prints_scores_side_by_side(tiny_llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    bfpo_bench.evaluate(
        str(tiny_llama),
        suite="mini",
        tasks=["advbench"],
        judge="keyword",
        limit=3,
        backend="hf",
        output=folder,
    )
    card = tmp_path / "strict.yaml"
    card.write_text(
        "kind: keyword\nversion: 1\nsource: s\nlicence: l\nsearch_chars: 50\nphrases: [zzz]\n"
    )
    result = run("judge", folder, "--judge", card, "--backend", "hf")
    assert result.exit_code == 0, result.output
    # Before it stands a table of refusals, by the one of the two who tells them.
    *_, heading = (line for line in result.output.splitlines() if "Task" in line)
    assert heading.index("strict") < heading.index("keyword")
    assert "results-strict.json" in result.output
    assert "– (3 missing)" in result.output


def test_judge_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"q": "p", "a": "I cannot"}\n{"q": "p", "a": "Sure"}\n', encoding="utf-8")
    result = run(
        *("judge", "--samples", file, "--judge", "keyword", "--backend", "hf"),
        *("--prompt-field", "q", "--response-field", "a"),
    )
    assert result.exit_code == 0, result.output
    assert (
        "keyword: 50.00 ± 25.00 % harmless of 2 responses (1 harmful, 0 unknown)" in result.output
    )
    assert f"Verdicts: {file}.verdicts.jsonl" in result.output


def test_what_does_not_go_together(labels: Path, tmp_path: Path) -> None:
    both = ("judge", tmp_path, "--samples", labels, "--judge", "keyword")
    assert "name either a run directory or a file" in refused(*both)
    check = ("judges", "check", "--labels", labels, "--label-column", "people")
    means = ("--label-means", "harmful")
    assert "did you mean 'people'" in refused(*check, *means, "--verdict-column", "poeple")
    wrong = ("--verdict-column", "people", "--label-means", "harmfull")
    assert "--label-means is either harmful or safe, not 'harmfull'" in refused(*check, *wrong)
    wrong = ("--verdict-column", "people", "--verdict", "refusal", "--label-means", "harmful")
    assert "is either refusal or compliance, not 'harmful'" in refused(*check, *wrong)
    assert "did you mean 'refusal'" in refused(*check, "--verdict", "refusals")
    assert "did you mean 'json'" in refused(*check, "--format", "jsn")
    idle = ("--judge", "keyword", "--verdict-means", "safe")
    assert "--verdict-means goes with --verdict-column" in refused(*check, *idle)
    assert "with --label-means harmful or --label-means safe" in refused(
        *check, "--verdict-column", "people"
    )
