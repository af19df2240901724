"""The files under docs/cluster: what other programs read of them, and the commands in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bfpo_bench.evaluation.options import EvaluateOptions
from tests.docs import cheap
from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "cluster"


def command(file: Path) -> list[str]:
    """The words of the evaluation that a file runs, after the program's name."""
    content = yaml.safe_load(file.read_text()) if file.suffix == ".yaml" else {}
    if "spec" in content:
        [container] = content["spec"]["template"]["spec"]["containers"]
        words = container["command"]
    else:
        text = content["run"] if content else file.read_text()
        values = {**content.get("envs", {}), "TMPDIR": "/tmp", "SCRATCH": "."}
        text = re.sub(r"\$(\w+)", lambda name: values.get(name[1], "$"), text)
        lines = text.replace("\\\n", " ").splitlines()
        [line] = [line for line in lines if "bfpo-bench evaluate" in line]
        words = shlex.split(line.partition("||")[0])
    return list(words[words.index("bfpo-bench") + 1 :])


@pytest.mark.parametrize("name", sorted(file.name for file in FOLDER.iterdir()))
def test_the_command_of_a_file_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EvaluateOptions] = []

    def read(options: EvaluateOptions, *_: Any) -> None:
        seen.append(options)
        raise cheap._Reached

    words = command(FOLDER / name)
    with monkeypatch.context() as patch:
        patch.setattr("bfpo_bench.evaluation.run.run_evaluation", read)
        assert isinstance(cheap._run(words), cheap._Reached)
    [options] = seen
    assert options.serve is not None
    assert options.serve.tp == 8
    assert options.output is not None
    assert options.local_scratch is not None


def test_slurms_directives_come_first_and_the_script_is_bash() -> None:
    script = FOLDER / "serve.sbatch"
    lines = script.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert sum(line.startswith("#SBATCH ") for line in lines[:begin]) == 7
    assert not any(line.startswith("#SBATCH") for line in lines[begin:])
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_kubernetes_mounts_what_it_names() -> None:
    pod = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
    [container] = pod["containers"]
    named = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == named
    for option in ("--output", "--local-scratch"):
        [place] = [w.partition("=")[2] for w in container["command"] if w.startswith(option)]
        assert any(Path(place).is_relative_to(mount) for mount in mounts.values())
