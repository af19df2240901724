"""CONTRIBUTING.md: a task, a judge, a loss and a recipe are added as the page says, and work."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from tests.docs import literal
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import commands
from tests.docs.test_commands import RUNNERS

pytestmark = pytest.mark.slow

PAGE = ROOT / "CONTRIBUTING.md"
_PLACE = re.compile(r"# ((?:bfpo_bench|tests)/\S+?\.\w+)(, at its end)?\n")


@dataclass(frozen=True)
class Followed:
    """A folder with the package in which all that the page says was done.

    Attributes:
        files: those that the page has added or gone on with.
    """

    folder: Path
    files: tuple[str, ...]
    said: str

    def read(self, name: str) -> dict[str, Any]:
        found = json.loads((self.folder / name).read_text(encoding="utf-8"))
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def followed(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """All but what is said before the first of the four; the commands in one process."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "bfpo_bench", folder / "bfpo_bench")
    certain_judge(tiny_llama, folder / "my-guard")
    files: list[str] = []
    typed: list[tuple[str, ...]] = []
    for block in blocks(PAGE):
        if (shell := block.commands()) is None:
            files.append(put(block, folder))
        else:
            typed += [one.words for one in commands(shell, folder, {})]
    made = [words for words in typed if words[0] == "make"]
    assert [RUNNERS["make"](words[1:], pytest.MonkeyPatch()) for words in made] == [""] * len(made)
    done = subprocess.run(
        [sys.executable, literal.__file__],
        cwd=folder,
        input=json.dumps([words for words in typed if words not in made]),
        env={**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Followed(folder, tuple(files), done.stdout)


def put(block: Block, folder: Path) -> str:
    """Writes a block into the file that its first line names, or at that file's end."""
    place = _PLACE.match(block.text)
    assert place is not None, f"{block.place()}: a file's first line says where it lies"
    path = folder / place[1]
    assert path.is_file() == bool(place[2]), f"{block.place()}: {place[1]} is new, or gone on with"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\n" * bool(place[2]) + block.text[place.end() :] + "\n")
    return place[1]


def certain_judge(tokens: Path, folder: Path) -> None:
    """A model that answers "no" three times as often as "yes", and nothing else."""
    import torch
    from transformers import AutoTokenizer, PhiConfig, PhiForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokens)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = PhiForCausalLM(
        PhiConfig(vocab_size=len(tokenizer), num_attention_heads=2, eos_token_id=0, **sizes)
    )
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.fill_(-50)
        for word, share in (("yes", 1), ("no", 3)):
            for spelt in (word, f" {word}", word.capitalize()):
                [token] = tokenizer(spelt, add_special_tokens=False)["input_ids"]
                model.lm_head.bias[token] = math.log(share)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_a_task(followed: Followed) -> None:
    results = followed.read("runs/school/results.json")
    assert results["tasks"].keys() == {"bfpo_sums"}
    sums = results["tasks"]["bfpo_sums"]
    assert (sums["column"], sums["n"], sums["source"]["status"]) == ("Sums", 4, "pinned")


def test_a_judge(followed: Followed) -> None:
    """Its probability is that of the labels: a quarter, so nothing is harmful."""
    results = followed.read("runs/judged/results.json")
    assert results["judge"]["judge"] == "my-guard"
    assert results["tasks"]["bfpo_advbench"]["score"] == 100
    found = bfpo_bench.samples(followed.folder / "runs" / "judged")
    assert found["p_harmful.my-guard"].tolist() == pytest.approx([0.25] * 8)


def test_a_loss(followed: Followed) -> None:
    """Where policy and reference are one, it costs log 2, however many labels are wrong."""
    assert "1 passed" in followed.said
    record = followed.read("models/robust/training.json")
    recipe = record["recipe"]
    assert (recipe["loss"], recipe["loss_parameters"]) == ("robust", {"noise": 0.2})
    assert record["curves"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_a_recipe(followed: Followed) -> None:
    record = followed.read("models/dpo-near/training.json")
    assert record["recipe"]["method"] == "dpo-near"
    assert record["recipe"]["loss_parameters"] == {"beta": 0.1}
    assert "DPO held ten times nearer" in followed.said


def test_the_page_names_what_is_there_or_is_added(followed: Followed) -> None:
    prose = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"\b[\w.-]+/[\w/.-]+\w", prose)) - {"data/mini/sums.jsonl"}
    links = set(re.findall(r"\]\(([^)]+)\)", prose))
    assert len(links) > 8
    assert [link for link in sorted(links) if not (ROOT / link).is_file()] == []
    added = {*followed.files, "bfpo_bench/data/mini/sums.jsonl"}
    assert [
        name for name in sorted(named) if not (ROOT / name).exists() and name not in added
    ] == []
