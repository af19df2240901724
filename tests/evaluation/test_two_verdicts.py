"""What is harmful and what is refused, by one judge or by two: stored apart, counted apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import wilson
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.judges import Exchange, Verdict, keyword
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions, JudgesOptions
from bfpo_bench.run.marks import NO_REFUSALS
from bfpo_bench.run.outcomes import item_values
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.shares import REFUSAL, Judges
from bfpo_bench.run.store import Store

SAFE, UNSAFE = "bfpo_xstest_safe", "bfpo_xstest_unsafe"
OPTIONS: dict[str, Any] = {"suite": "mini-balance", "backend": "hf", "dtype": "float32"}
CARD = """
kind: keyword
version: 1
source: written for this test
licence: Apache-2.0
phrases: [anything]
search_chars: 100
"""
SAID = ("compliance", "partial_refusal", "full_refusal", None)


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cards of a judge of harm, and a bench that notes who is asked about how many responses."""
    asked: list[str] = []

    def judge(self: keyword.KeywordJudge, items: list[Exchange]) -> list[Verdict]:
        asked.append(f"{self.name} {len(items)}")
        both = self.name == "keyword"
        return [
            Verdict(None if i % 3 == 2 else i % 3 == 0, None, "", SAID[i % 4] if both else None)
            for i in range(len(items))
        ]

    monkeypatch.setattr(keyword.KeywordJudge, "judge", judge)
    (tmp_path / "harm.yaml").write_text(CARD)
    return asked


def test_two_judges_and_then_one_that_gives_both(
    judges: list[str], tiny_llama: Path, tmp_path: Path
) -> None:
    run, card = tmp_path / "run", str(tmp_path / "harm.yaml")
    options = {**OPTIONS, "tasks": ["xstest_safe", "xstest_unsafe"], "output": run}
    results = bfpo_bench.evaluate(str(tiny_llama), judge=card, **options, refusal_judge="keyword")
    safe, unsafe = results.tasks[SAFE], results.tasks[UNSAFE]
    # The judge of harm is asked where harm is the number; that of refusals everywhere.
    assert judges == [f"harm {unsafe.n}", f"keyword {unsafe.n}", f"keyword {safe.n}"]
    assert (results.judges, safe.metric, unsafe.metric) == (
        *(Judges("harm", "keyword"), "answered", "harmless"),
    )
    for cell in (safe, unsafe):
        said = [SAID[i % 4] for i in range(cell.n)]
        wanted = dict(zip(REFUSAL, (said.count(one) / cell.n for one in SAID), strict=True))
        assert {name: cell.metrics[name] for name in REFUSAL} == wanted
        for name, share in wanted.items():
            low, high = wilson(round(share * cell.n), cell.n)
            assert cell.intervals[name] == pytest.approx([low, high])
    assert safe.score == 100 * safe.metrics["complied"]
    assert safe.unknown == round(safe.metrics["refusal_unknown"] * safe.n)
    assert "harmless" not in safe.metrics
    harmless = [i % 3 == 1 for i in range(unsafe.n)]
    assert unsafe.score == 100 * sum(harmless) / unsafe.n
    both = [h and SAID[i % 4] == "compliance" for i, h in enumerate(harmless)]
    assert unsafe.metrics["harmless_without_refusing"] == sum(both) / unsafe.n
    assert results.averages["answ"].missing or results.averages["answ"].value == safe.score
    with Store(run / "samples.sqlite", read_only=True) as store:
        items = item_values(store, unsafe, results.judges, "harmless_without_refusing")
        assert sum(items.values()) == sum(both)
        assert sum(item_values(store, safe, results.judges).values()) == safe.score * safe.n / 100
    frame = results.to_frame().set_index("task")
    assert frame.loc[UNSAFE, "refused"] == pytest.approx(100 * unsafe.metrics["refused"])
    low, high = safe.intervals["complied"]
    line = f"| {safe.score:.2f} ({low:.1f}–{high:.1f}) |"
    text = (run / "table.md").read_text()
    assert line in text
    assert "refusals by the judge keyword" in text
    # Finished; nobody is asked again, and another judge of refusals is another run.
    del judges[:]
    again = bfpo_bench.evaluate(str(tiny_llama), judge=card, **options, refusal_judge="keyword")
    assert (again, judges) == (results, [])
    del judges[:]
    one = judge_run(run, choose_judge(JudgeOptions("keyword", backend="hf")))
    assert one.results.judges == Judges("keyword", "keyword")
    # Its verdicts are there; the other's were asked in vain.
    assert judges == []
    assert read_results(run / "results.json") == results


def test_a_run_without_refusals_is_filled(
    judges: list[str], tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, card = tmp_path / "run", tmp_path / "harm.yaml"
    suite = tmp_path / "harm-alone.yaml"
    suite.write_text(
        f"name: mine\nversion: 1\ndata: mini\njudge: {card}\ntasks: [{SAFE}, {UNSAFE}]\n"
    )
    options = {**OPTIONS, "suite": str(suite), "output": run}
    before = bfpo_bench.evaluate(str(tiny_llama), **options)
    assert before.refusal_judge is None
    assert before.tasks[SAFE].score is None
    assert before.tasks[SAFE].marks[-1] == NO_REFUSALS
    assert "bfpo-bench judge RUN --judge wildguard-7b" in str(before.marks)
    assert not before.tasks[UNSAFE].metrics.keys() & REFUSAL.keys()
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        [(count,)] = db.execute("SELECT COUNT(*) FROM verdicts WHERE refusal IS NOT NULL")
    assert count == 0
    monkeypatch.setattr(
        "bfpo_bench.evaluation.target.LocalTarget.open", lambda *_: pytest.fail("loaded")
    )
    found = judge_run(run, choose_judge(JudgeOptions("keyword", backend="hf"))).results
    filled = read_results(run / "results.json")
    # Harm stays the run's own judge's; what is refused comes from the one that was asked.
    assert filled.judges == Judges("harm", "keyword")
    assert filled.tasks[UNSAFE].score == before.tasks[UNSAFE].score
    assert filled.tasks[SAFE].score == found.tasks[SAFE].score is not None
    assert NO_REFUSALS not in " ".join(filled.marks)
    assert filled.tasks[UNSAFE].metrics["refused"] == found.tasks[UNSAFE].metrics["refused"]
    # The same evaluate command keeps it.
    assert bfpo_bench.evaluate(str(tiny_llama), **options) == filled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (JudgesOptions("keyword", refusal_judge="llama-guard-3-8b"), "says nothing of refusals"),
        (JudgesOptions("openai-xstest"), "says what is refused and nothing of harm"),
    ],
)
def test_a_judge_that_does_not_say_what_it_is_asked(options: Any, message: str) -> None:
    named = options.refusal.refusal_judge
    wish, gives = options, "harm"
    if named is not None:
        wish, gives = options.refusal.of_judge(None, options), "refusal"
    with pytest.raises(BadInput, match=message):
        choose_judge(wish, gives=gives)  # type: ignore[arg-type]
