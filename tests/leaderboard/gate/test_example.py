"""What docs/gate.md and docs/ci show: the example as it comes out, and a workflow that works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.leaderboard.gate.gate import hold_against
from bfpo_bench.leaderboard.gate.policy import read_policy
from bfpo_bench.leaderboard.gate.render import render_gate
from tests.docs import cheap
from tests.docs.pages import ROOT
from tests.leaderboard.edits import edited

PAGE, CI = ROOT / "docs" / "gate.md", ROOT / "docs" / "ci"
TRUTH = {"advbench": 99.0, "alert": 98.8, "realtoxicityprompts": 90.0, "winogrande": 73.0}


def block(language: str) -> str:
    """The page's one block in a language."""
    [found] = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(found)


def test_the_example_is_what_comes_out(tmp_path: Path) -> None:
    """Two runs with a luck of their own, on the same items."""
    runs = [
        synthetic_run(tmp_path / name, name, truth, luck, limit=1_000)
        for luck, (name, truth) in enumerate({"released": {}, "candidate": TRUTH}.items())
    ]
    edited(runs[1], "run.json", lambda it: it["identity"].update(seed=0))
    edited(runs[1], "results.json", lambda it: it.update(seed=0))
    gate = hold_against(runs[1], runs[0], read_policy(CI / "gate.yaml"))
    assert block("text") == render_gate(gate, width=100)
    assert block("yaml") == (CI / "gate.yaml").read_text("utf-8")


@pytest.fixture(scope="module")
def steps() -> dict[str, dict[str, Any]]:
    """The steps of the workflow's gate by name or by what they use."""
    content = yaml.safe_load((CI / "release-gate.yaml").read_text("utf-8"))
    # "on" is a truth value in YAML 1.1.
    assert set(content) == {"name", True, "permissions", "jobs"}
    gate, release = content["jobs"]["gate"], content["jobs"]["release"]
    assert gate["outputs"] == {"verdict": "${{ steps.gate.outputs.verdict }}"}
    assert (release["needs"], "approval" in release["environment"]) == ("gate", True)
    return {
        step.get("name") or step.get("uses", "").partition("@")[0] or step["run"]: step
        for step in gate["steps"]
    }


def test_its_commands_are_ours(
    steps: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = steps["Evaluate the candidate as the released model was"]["run"]
    assert isinstance(
        _parsed(line, "bfpo_bench.evaluation.run.run_evaluation", monkeypatch), cheap._Reached
    )
    (tmp_path / "gate.yaml").write_text((CI / "gate.yaml").read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    [line] = re.findall(r"bfpo-bench compare .*?(?= >>)", steps["Gate"]["run"])
    place = "bfpo_bench.leaderboard.gate.gate.hold_against"
    assert isinstance(_parsed(line, place, monkeypatch), cheap._Reached)
    kept = steps["Keep the report"]
    assert kept["if"] == "always()"
    assert f"--junit {kept['with']['path']} " in line


def _parsed(line: str, place: str, monkeypatch: pytest.MonkeyPatch) -> object:
    program, *words = line.split()
    assert program == "bfpo-bench"
    with monkeypatch.context() as patch:
        patch.setattr(place, cheap._reach)
        return cheap._run(words)


@pytest.mark.parametrize(
    ("code", "ends", "verdict"), [(0, 0, "pass"), (4, 0, "undecided"), (3, 3, ""), (2, 2, "")]
)
def test_its_script_knows_every_exit_code(
    code: int, ends: int, verdict: str, steps: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Run as GitHub runs `shell: bash`: it stops at the first failure, also within a pipe."""
    step = steps["Gate"]
    assert (step["shell"], step["id"]) == ("bash", "gate")
    script = f"bfpo-bench() {{ echo '| a row |'; return {code}; }}\n{step['run']}"
    output, summary = tmp_path / "output", tmp_path / "summary"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env={"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ends, done.stderr
    assert summary.read_text() == "| a row |\n"
    assert (output.read_text() if output.exists() else "") == (verdict and f"verdict={verdict}\n")
    assert ("::warning" in done.stdout) == (verdict == "undecided")
