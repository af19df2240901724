"""How a command of ``bfpo-bench`` runs here: as typed up to the work, then the work on little.

A command that loads models is run twice. First as it stands, until the work would begin: all its
options and values have been read and checked by then. Then with the options of :data:`CHEAP` in
the place of its own, to its end.
"""

from __future__ import annotations

import argparse
import importlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.engines.open import BACKENDS
from bfpo_bench.evaluation.options import read_variants
from bfpo_bench.judges import load_judge
from bfpo_bench.suites import load_suite
from tests.log_lines import leaping, missing


def _no_alpaca(_: Sequence[str]) -> bool:
    return not Path("annotations.json").exists()


def _backend(name: str) -> None:
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)


WORK = {
    "evaluate": ("bfpo_bench.evaluation.run.run_evaluation", "bfpo_bench.estimate.dry_run.dry_run"),
    "train": ("bfpo_bench.training.train.train", "bfpo_bench.training.dry_run.dry_run"),
    "judge": ("bfpo_bench.judges.chosen.choose_judge",),
    "redteam": ("bfpo_bench.redteam.redteam",),
    "helpfulness import": ("bfpo_bench.helpfulness.from_files.import_annotations",),
    "helpfulness export": ("bfpo_bench.helpfulness.of_run.export_helpfulness",),
    "helpfulness compare": ("bfpo_bench.helpfulness.of_run.read_annotated",),
    "helpfulness reward": ("bfpo_bench.helpfulness.rewards.mean_reward",),
    "sweep": ("bfpo_bench.sweeps.run.run_sweep", "bfpo_bench.sweeps.run.standings"),
    "demo": ("bfpo_bench.toy_world.study.runs.run_study", "bfpo_bench.toy_world.demo.tour"),
}
"""Where a command begins to work."""

ONE_DEVICE = ("--backend", "hf", "--device", "cpu")
EVALUATION = ("--suite", "mini", "--judge", "keyword", "--limit", "2")
PAIRS = (
    *("--set", "data=[{name: mine, pairs: bfpo, files: [preferences.jsonl], limit: 8}]"),
    *("--set", "optimization.max_steps=1", "--set", "optimization.pairs_per_update=4"),
    *("--set", "optimization.per_device_train_batch_size=2", "--set", "layers=[mlp.down_proj]"),
    *("--set", "tokens={max_length: 128, max_prompt: 64}", "--set", "precision=fp32"),
    *("--set", "mixing=shuffled", "--set", "report_to=[]", "--model", "./my-model"),
)
CHEAP: Mapping[str, Sequence[str]] = {
    "evaluate": (*EVALUATION, *ONE_DEVICE, "--data-parallel-size", "1"),
    "train": (*PAIRS, "--device", "cpu"),
    "judge": ("--judge", "keyword"),
    "redteam": (
        *("--judge", "keyword", "--ranker", "length", "--limit", "4", "--max-new-tokens", "8"),
        *("--prompts", "prompts.csv", "--temperature", "1", *ONE_DEVICE),
    ),
    "illustrate": ("--steps", "20", "--repeats", "1", "--tau", "1"),
    "data check": ("--mini",),
}
"""Command → options that make little of its work."""

LEFT_OUT = (
    *("--variant", "--data-dir", "--judge-model", "--judge-url", "--allow-unpinned"),
    *("--skip-missing", "--tensor-parallel-size", "--serve", "--ray", "--precision"),
)
"""Options of evaluate, judge and redteam that the mini suite or the cheap judge has no use for."""

ASKED_ELSEWHERE = ("--annotator",)
"""With one of these an annotator would be asked: a dry run in place of the work."""

AS_TYPED_ONLY: Mapping[str, tuple[str, Callable[[Sequence[str]], bool]]] = {
    "demo": ("minutes; tests/toy_world runs it", lambda words: True),
    "sweep": ("a process for each model; tests/sweeps runs it", lambda words: True),
    "judge": ("a server that judges; tests/judges has one", lambda words: "openai" in words),
    "train": (
        "rollouts or two trainings; tests/training/on_policy and test_stages.py run them",
        lambda words: bool({"morl", "mistral/modpo"} & set(words)),
    ),
    **{
        f"helpfulness {name}": ("AlpacaEval's files, which not everybody has", _no_alpaca)
        for name in ("import", "export", "compare")
    },
}
"""Commands that end where the work begins: why, and when."""

NAMES: Mapping[str, Callable[[str], object]] = {
    "--judge": lambda name: load_judge(name),
    "--suite": lambda name: load_suite(name),
    "--variant": lambda name: read_variants([name]),
    "--backend": _backend,
}
"""Options whose values :data:`CHEAP` replaces → what knows the names."""


ALIKE = ("evaluate", "train", "leaderboard", "illustrate")
"""Commands that many pages show, and of which little remains the same: run once for all."""

_done: set[tuple[str, ...]] = set()


class _Reached(Exception):
    """The work would begin."""


def run(words: Sequence[str], monkeypatch: pytest.MonkeyPatch, work: bool = True) -> str:
    """Runs a command line (without the program's name) as far as this module says.

    Args:
        work: False: as typed and no further.

    Returns:
        What is wrong; "" if nothing is.
    """
    for option, value in pairwise(words):
        try:
            NAMES.get(option, str)(value)
        except BadInput as error:
            return str(error)
    name = next((one for one in (" ".join(words[:2]), words[0]) if one in WORK), "")
    if name:
        with monkeypatch.context() as patch:
            for place in WORK[name]:
                module, _, function = place.rpartition(".")
                patch.setattr(importlib.import_module(module), function, _reach)
            if name == "train":  # evaluate's own checks need data; they run below
                patch.setattr("bfpo_bench.cli.train._checked", lambda asked, *_: asked)
            said = _run(words)
        if not isinstance(said, _Reached):
            return f"as typed: {said or 'it ended before its work'}"
        _, stops = AS_TYPED_ONLY.get(name, ("", lambda words: False))
        if not work or stops(words):
            return ""
    little = tuple(cheap(words))
    if little in _done:
        return ""
    done = _run(little)
    if done is not None:
        return str(done)
    if little[0] in ALIKE:
        _done.add(little)
    return ""


def cheap(words: Sequence[str]) -> list[str]:
    """A command line with little work in it."""
    name = " ".join(words[:2]) if " ".join(words[:2]) in CHEAP else words[0]
    kept, more = list(words), list(CHEAP.get(name, ()))
    if name in ("evaluate", "train", "judge", "redteam"):
        kept = _without(kept, LEFT_OUT)
    if name == "leaderboard" and "--judge" in kept:  # the runs here have one judge's verdicts
        more += ("--judge", "keyword")
    evaluates = name == "evaluate" or (name == "train" and "--evaluate" in words)
    if name == "train" and evaluates:
        kept, more = _without(kept, ("--annotator",)), [*more, *EVALUATION]
    if evaluates and "--tasks" not in kept:
        more += ("--tasks", "toxigen,advbench")
    if name == "evaluate" and "--base-url" in kept:  # the tests' own server
        more = [*_without(more, ("--backend", "--device")), "--model", "toy"]
    if name == "evaluate" and any(word in kept for word in ASKED_ELSEWHERE):
        more = [*_without(more, ("--backend",)), "--dry-run"]
    kept = _without(kept, [word for word in more if word.startswith("--") and word != "--set"])
    if name == "evaluate" and "--dry-run" not in more and "--output" not in kept:
        more += ("--output", f"made/{zlib.crc32(' '.join(kept).encode()):x}")
    return [*kept, *more]


def _without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    kept: list[str] = []
    place = 0
    while place < len(words):
        if words[place] in options:
            place += 1
            if place < len(words) and not words[place].startswith("--"):
                place += 1
        else:
            kept.append(words[place])
            place += 1
    return kept


def _reach(*_: Any, **__: Any) -> None:
    raise _Reached


def _run(words: Sequence[str]) -> BaseException | str | None:
    """What a command ended in; None: well, it has said something, and so have all its stages."""
    with leaping() as stages:
        done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, SystemExit) and done.exit_code:
        return f"exit code {done.exit_code}: {done.output[-500:]}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return done.exception
    return missing(stages, done.stderr) or (None if done.output.strip() else "nothing was printed")


def parsed(
    main: Callable[[Sequence[str]], Any], words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Has the parser of a program with ``argparse`` read its options; what is wrong with them."""
    read = argparse.ArgumentParser.parse_args

    def only_read(self: argparse.ArgumentParser, *given: Any) -> None:
        read(self, *given)
        raise _Reached

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", only_read)
        try:
            main(words)
        except _Reached:
            return ""
        except SystemExit as error:
            return f"exit code {error.code}"
    return "it read no options"


def misnamed(words: Sequence[str]) -> str:
    """What a command line without all that it needs names wrongly: a command or an option."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command)
    for word in words:
        if word == "--help":
            continue
        if word.startswith("--"):
            flag = word.rstrip(",.;:").partition("=")[0]
            if not any(flag in one.opts for one in command.params):
                return f"{command.name} has no option {flag}"
        elif hasattr(command, "get_command"):
            found = command.get_command(context, word)
            if found is None:
                return f"there is no command {word}"
            command = found
    return ""
