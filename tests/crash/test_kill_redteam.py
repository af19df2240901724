"""kill -9 during a red teaming on real prompts, then the same command: the same pairs."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Driver
from tests.crash.killing import Options, finish, finished_despite, kill_by, rows

pytestmark = pytest.mark.slow

SCHEDULE = (
    *[("run.json", 1), ("items", 1), ("responses", 2), ("responses", 1), ("responses", 1)],
    *[("verdicts", 2), ("verdicts", 1), ("rankings", 1), ("rankings", 1)],
    *[("pairs.summary.json", 1), ("pairs.jsonl", 1)],
)

Undisturbed = tuple[dict[str, Any], float]


@pytest.fixture(scope="module")
def prompts(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of AdvBench's goals and six of HarmBench's behaviors, in a file of ours."""
    folder = tmp_path_factory.mktemp("prompts")
    asked = []
    for file, prompt, category in (
        ("advbench/harmful_behaviors.csv", "goal", None),
        ("harmbench/harmbench_behaviors_text_all.csv", "Behavior", "SemanticCategory"),
    ):
        with (data_dir / file).open(newline="", encoding="utf-8") as lines:
            for row in list(csv.DictReader(lines))[:6]:
                about = row[category] if category else "advbench"
                asked.append({"prompt": row[prompt], "category": about})
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in asked))
    return path


@pytest.fixture(scope="module")
def redteam_options(prompts: Path, tiny_llama: Path, judge_card: Path) -> Options:
    return {
        "model": str(tiny_llama),
        "prompts": str(prompts),
        "judge": str(judge_card),
        "ranker": "tests.rankers.own:longer",
        "max_new_tokens": 12,
        "batch_size": 4,
        "backend": "hf",
        "dtype": "float32",
    }


def contents(output: Path) -> dict[str, Any]:
    """All that a finished red teaming holds but for the times in its ``run.json``."""
    run = output.with_name("pairs.run")
    found = rows(run / "samples.sqlite", ("items", "responses", "verdicts", "rankings"))
    found["pairs"] = output.read_text()
    found["summary"] = output.with_name("pairs.summary.json").read_text()
    found["identity"] = json.loads((run / "run.json").read_text())["identity"]
    # A lock that a killed process has left is there for the next one to take.
    beside = (path for path in output.parent.iterdir() if path.suffix != ".lock")
    found["files"] = sorted(path.name for path in (*run.iterdir(), *beside))
    return found


@pytest.fixture(scope="module")
def undisturbed(
    driver: Driver, redteam_options: Options, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    output = tmp_path_factory.mktemp("whole") / "pairs.jsonl"
    outcome = finish(driver, {**redteam_options, "output": str(output)})
    writes = Counter(outcome.writes)
    assert writes["responses"] >= 6
    assert writes["verdicts"] >= 8
    assert writes["rankings"] >= 2
    found = contents(output)
    summary = json.loads(found["summary"])
    assert summary["total"]["pairs"] >= 4
    assert len(summary["categories"]) > 1
    assert len(found["responses"]) == 24
    return found, outcome.seconds


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_every_kind_of_write(
    driver: Driver, redteam_options: Options, undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    options = {**redteam_options, "output": str(tmp_path / "pairs.jsonl")}
    kill_by(driver, options, SCHEDULE, seed)
    finish(driver, options)
    assert contents(tmp_path / "pairs.jsonl") == undisturbed[0]


def test_killed_at_random_moments(
    driver: Driver, redteam_options: Options, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    outputs = (tmp_path / str(n) / "pairs.jsonl" for n in itertools.count())
    runs = ({**redteam_options, "output": str(output)} for output in outputs)
    for run in finished_despite(driver, runs, kills=3, seconds=seconds, seed=5):
        assert contents(Path(run["output"])) == expected
