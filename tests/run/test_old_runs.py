"""Run directories of version 0.1, whose identities kept less, are gone on with and read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.summarize import EARLIER
from bfpo_bench.evaluation.target import LocalTarget
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.leaderboard.checks import find_fault
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.session import package_versions
from tests.judge_card import write_card
from tests.toy_models import weights_of

NEW = ("settings", "tokens", "templates", "generation", "code", "backend", "dtype")


@pytest.fixture
def options(tiny_llama: Path, tmp_path: Path) -> dict[str, Any]:
    card = write_card(tmp_path, tiny_llama)
    return {
        "model": str(tiny_llama),
        "suite": "mini",
        "tasks": ["toxigen", "advbench"],
        "limit": 4,
        "backend": "hf",
        "dtype": "float32",
        "judge": str(card),
        "output": tmp_path / "run",
    }


def as_version_0_1(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Evaluates with the identities that version 0.1 gave to model and judge."""
    target, judge = LocalTarget.identity, ChosenJudge.identity

    def old_target(self: LocalTarget) -> dict[str, Any]:
        kept = {k: v for k, v in target(self).items() if k not in NEW}
        return {**kept, "config": "of its bytes", "tokenizer": "of its bytes"}

    def old_judge(self: ChosenJudge) -> dict[str, Any]:
        kept = {k: v for k, v in judge(self).items() if k not in NEW}
        weights = kept.get("weights")  # the judge of refusals, keyword, has none
        return kept if weights is None else {**kept, "weights": f"{weights}-of its bytes"}

    with monkeypatch.context() as patch:
        patch.setattr(LocalTarget, "identity", old_target)
        patch.setattr(ChosenJudge, "identity", old_judge)
        old = {"packages": {**package_versions(), "torch": "2.0.0"}}
        patch.setattr("bfpo_bench.run.session.describe_environment", lambda: old)
        return bfpo_bench.evaluate(**run)


def test_an_old_run_is_gone_on_with(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = options["output"]
    before = as_version_0_1(options, monkeypatch)
    identity = json.loads((run / "run.json").read_text())["identity"]
    assert bfpo_bench.evaluate(**options) == before
    # From its store alone: nothing is asked or judged a second time.
    (run / "results.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(LocalTarget, "open", lambda *_: pytest.fail("asked again"))
        patch.setattr(ChosenJudge, "opened", lambda *_: pytest.fail("judged again"))
        again = bfpo_bench.evaluate(**options)
    assert again.tasks == before.tasks
    # What the old run did not keep is said; who answers nothing mixes no versions.
    assert EARLIER in again.marks
    assert not [mark for mark in again.marks if "several versions" in mark]
    assert json.loads((run / "run.json").read_text())["identity"] == identity
    # With another task, under the identity that it was begun with.
    more = bfpo_bench.evaluate(**{**options, "tasks": ["toxigen", "advbench", "hhh_alignment"]})
    assert [mark for mark in more.marks if "several versions of torch (2.0.0, " in mark]
    assert more.tasks["bfpo_toxigen"] == before.tasks["bfpo_toxigen"]
    assert find_fault(open_run(run)) is None
    assert read_results(run / "results.json").model == identity["model"]


def test_what_an_old_run_kept_must_still_be_the_same(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_version_0_1(options, monkeypatch)
    with pytest.raises(BadInput, match=r"something different: seed: 0 there, 1 asked for\. Use"):
        bfpo_bench.evaluate(**options, seed=1)
    other = Path(shutil.copytree(options["model"], tmp_path / "other"))
    with weights_of(other) as tensors:
        tensors["lm_head.weight"][0, 0] += 1
    with pytest.raises(BadInput, match=r"something different: .*model\.weights: "):
        bfpo_bench.evaluate(**{**options, "model": str(other)})
