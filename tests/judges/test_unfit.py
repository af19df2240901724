"""A judge gives figures for the kinds of prompts that it is made for, and elsewhere a note."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.judgezoo import NAMES, ZooCard
from bfpo_bench.judges.load import names
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard import leaderboard
from bfpo_bench.run.results import Results
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import Store
from bfpo_bench.run.table import markdown
from bfpo_bench.suites import PROMPT_KINDS, load_suite, prompt_kind

RTP = "bfpo_realtoxicityprompts"
WHY = (
    "no number: judge keyword is made for instructions, and these prompts want continuations; name "
    "another judge, or ask for it with --judge-anyway"
)
ANYWAY = "judged anyway: judge keyword is made for instructions, and these want continuations"
EVERYTHING = """\
kind: keyword
version: 1
source: this test
licence: none
search_chars: 40
phrases: [the, a, you]
fits: [instructions, continuations]
"""


def keyword(anyway: bool = False) -> Any:
    return choose_judge(JudgeOptions("keyword", backend="hf", judge_anyway=anyway))


def test_tasks_say_what_their_prompts_want() -> None:
    tasks = load_suite("paper").everything
    kinds = {task.task: prompt_kind(task.task) for task in tasks if task.generation is not None}
    assert kinds.pop(RTP) == "continuations"
    assert set(kinds.values()) == {"instructions"}
    assert len(kinds) == 4


def test_judges_say_what_they_can_judge(tmp_path: Path) -> None:
    """The paper has a HarmBench classifier judge continuations too; refusals they hold none."""
    both, every = ("instructions", "continuations"), PROMPT_KINDS
    asked = tuple(kind for kind in every if kind != "continuations")
    for name in names():
        answers = name.startswith(("qwen3guard", "openai-"))
        wanted = both[:1] if name == "keyword" else asked if answers else every
        assert load_judge(name).fits == wanted
    zoo = {name for name in NAMES if ZooCard(f"judgezoo:{name}").fits == every}
    assert zoo == {"aegis_guard", "harmbench", "llama_guard_3", "llama_guard_4", "md_judge"}
    card = tmp_path / "mine.yaml"
    card.write_text(EVERYTHING)
    assert load_judge(card).fits == both
    # It changes no verdict, and so no identity.
    narrow = dataclasses.replace(load_judge("harmbench-llama2-13b"), fits=both[:1])  # type: ignore[type-var]
    assert narrow.identity() == load_judge("harmbench-llama2-13b").identity()
    card.write_text(EVERYTHING.replace("continuations", "stories"))
    with pytest.raises(BadInput, match=r"unknown choice for judge card .*, fits\[1\]: 'stories'"):
        load_judge(card)


def check(results: Results, anyway: bool) -> None:
    cell = results.tasks[RTP]
    assert (cell.score is not None) == anyway
    assert (cell.stderr is not None) == anyway
    assert ("harmless" in cell.metrics) == anyway
    assert [mark for mark in cell.marks if "judge" in mark] == [ANYWAY if anyway else WHY]
    assert f"RealToxicityPrompts: {ANYWAY if anyway else WHY}" in results.marks
    assert results.averages["gen"].missing == ([] if anyway else ["RealToxicityPrompts"])
    assert (results.averages["gen"].value is not None) == anyway
    for task in ("bfpo_advbench", "bfpo_alert", "bfpo_alert_adversarial"):
        assert results.tasks[task].score is not None
        assert not [mark for mark in results.tasks[task].marks if "made for" in mark]


def test_a_note_instead_of_a_number(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    options: dict[str, Any] = {
        "suite": "mini", "tasks": ["gen"], "limit": 3, "judge": "keyword", "backend": "hf",
        "dtype": "float32", "output": run,
    }  # fmt: skip
    results = bfpo_bench.evaluate(str(tiny_llama), **options)
    check(results, anyway=False)
    assert read_results(run / "results.json") == results
    assert results.tasks[RTP].n == sum(results.tasks[RTP].finishes.values()) == 3
    text = markdown(results)
    assert "Gen. is missing RealToxicityPrompts" in text
    assert "| RealToxicityPrompts | generative | – |" in text
    with Store(run / "samples.sqlite", read_only=True) as store:
        assert len(store.responses(RTP)) == 3
        assert store.verdicts(RTP, "keyword") == []
    board = leaderboard(run)
    assert not board.problems
    assert "gen" not in board.entries[0].cells
    assert WHY in " ".join(str(board).split())
    # Asked for, it is given from the responses that are there, and says so.
    monkeypatch.setattr(
        "bfpo_bench.evaluation.target.LocalTarget.open", lambda *_: pytest.fail("loaded")
    )
    check(bfpo_bench.evaluate(str(tiny_llama), **options, judge_anyway=True), anyway=True)
    # A judge for both kinds has a Gen. of its own, and keyword's second look is like its first.
    card = tmp_path / "mine.yaml"
    card.write_text(EVERYTHING)
    other = judge_run(run, choose_judge(JudgeOptions(str(card), backend="hf"))).results
    assert other.averages["gen"].value is not None
    # What is refused keyword says still.
    told = [mark for mark in other.marks if "made for" in mark]
    assert all(": refusals judged anyway: judge keyword is made for" in mark for mark in told)
    for anyway in (False, True):
        check(judge_run(run, keyword(anyway)).results, anyway)


def test_a_judge_that_fits_nothing_there(tiny_llama: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    bfpo_bench.evaluate(
        str(tiny_llama), suite="mini", tasks=["realtoxicityprompts"], limit=2, judge="keyword",
        backend="hf", output=run,
    )  # fmt: skip
    with pytest.raises(BadInput, match=rf"holds only responses that judge keyword.*\({RTP}\)"):
        judge_run(run, keyword())
