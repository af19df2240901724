"""kill -9 during a red teaming on real prompts, then the same command: the same pairs."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Attempt, Driver

pytestmark = pytest.mark.slow

KILLED = -9
MOMENTS = ("before", "inside", "after")
# What is written in which order, and how many of the next writes a kill may wait for.
SCHEDULE = (
    *[("run.json", 1), ("items", 1), ("responses", 2), ("responses", 1), ("responses", 1)],
    *[("verdicts", 2), ("verdicts", 1), ("rankings", 1), ("rankings", 1)],
    *[("pairs.summary.json", 1), ("pairs.jsonl", 1)],
)


@pytest.fixture(scope="module")
def prompts(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of AdvBench's goals and six of HarmBench's behaviors, in a file of ours."""
    import csv

    folder = tmp_path_factory.mktemp("prompts")
    rows = []
    for file, prompt, category in (
        ("advbench/harmful_behaviors.csv", "goal", None),
        ("harmbench/harmbench_behaviors_text_all.csv", "Behavior", "SemanticCategory"),
    ):
        with (data_dir / file).open(newline="", encoding="utf-8") as lines:
            for row in list(csv.DictReader(lines))[:6]:
                about = row[category] if category else "advbench"
                rows.append({"prompt": row[prompt], "category": about})
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def redteam_options(prompts: Path, tiny_llama: Path, judge_card: Path) -> dict[str, Any]:
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
    tables = ("items", "responses", "verdicts", "rankings")
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        found: dict[str, Any] = {
            t: sorted(db.execute(f"SELECT * FROM {t}"), key=str) for t in tables
        }
    found["pairs"] = output.read_text()
    found["summary"] = output.with_name("pairs.summary.json").read_text()
    found["identity"] = json.loads((run / "run.json").read_text())["identity"]
    found["files"] = sorted(path.name for path in (*run.iterdir(), *output.parent.iterdir()))
    return found


@pytest.fixture(scope="module")
def undisturbed(
    driver: Driver, redteam_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], float]:
    output = tmp_path_factory.mktemp("whole") / "pairs.jsonl"
    outcome = driver.run(Attempt({**redteam_options, "output": str(output)}))
    assert outcome.code == 0, outcome.errors
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
    driver: Driver,
    redteam_options: dict[str, Any],
    undisturbed: tuple[dict[str, Any], float],
    tmp_path: Path,
    seed: int,
) -> None:
    rng = random.Random(seed)
    options = {**redteam_options, "output": str(tmp_path / "pairs.jsonl")}
    for what, most in SCHEDULE:
        at = (what, rng.randint(1, most), rng.choice(MOMENTS))
        outcome = driver.run(Attempt(options, at=at))
        assert outcome.code == KILLED, f"{at}: {outcome.code}\n{outcome.errors}"
    outcome = driver.run(Attempt(options))
    assert outcome.code == 0, outcome.errors
    assert contents(tmp_path / "pairs.jsonl") == undisturbed[0]


def test_killed_at_random_moments(
    driver: Driver,
    redteam_options: dict[str, Any],
    undisturbed: tuple[dict[str, Any], float],
    tmp_path: Path,
) -> None:
    expected, seconds = undisturbed
    rng = random.Random(5)
    kills = runs = 0
    while kills < 3:
        output = tmp_path / str(runs) / "pairs.jsonl"
        code = KILLED
        while code == KILLED:
            moment = rng.uniform(0, 1.1 * seconds)
            outcome = driver.run(
                Attempt({**redteam_options, "output": str(output)}, seconds=moment)
            )
            code = outcome.code
            kills += code == KILLED
        assert code == 0, outcome.errors
        assert contents(output) == expected
        runs += 1
