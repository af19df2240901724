"""Comparisons: scipy's p-values, Holm's own example, calibration, power, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.synthetic_runs import Draw, synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.helpfulness.metrics import win_rate
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.comparison import Comparison
from bfpo_bench.leaderboard.render.comparison import render
from bfpo_bench.leaderboard.stats.paired import holm, mcnemar, signed
from bfpo_bench.run.results import HelpfulnessResult
from bfpo_bench.run.store import AnnotationRecord, Store
from tests.leaderboard.edits import edited


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (3, 3), (7, 19), (120, 81), (900, 1000)])
def test_mcnemar_equals_scipys_exact_binomial_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_with_more_items_than_any_benchmark_has() -> None:
    assert mcnemar(15_000, 15_000) == pytest.approx(1.0)
    assert 0 <= mcnemar(10_000, 20_000) < 1e-300


def test_holm_by_hand() -> None:
    """0.005·4, then 0.01·3, then 0.03·2; 0.04·1 may not be below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_signs() -> None:
    assert [signed(v) for v in (1.234, -0.5, -0.001, 0.0)] == ["+1.23", "-0.50", "0.00", "0.00"]


# ---------------------------------------------------------------------------- runs


def differences(found: Comparison) -> dict[str, object]:
    return {d.column: d for d in found.pairs[0].differences}


def test_two_runs(small_run: Path, other_run: Path) -> None:
    found = differences(compare_runs([small_run, other_run]))
    assert list(found)[:3] == ["Disc.", "Gen.", "Savg."]
    assert len(found) == 19
    alert = found["ALERT"]
    truth = Draw({}).outcomes("alert", 14763)[:40], Draw({"alert": 40.0}).outcomes("alert", 14763)
    first, other = truth[0], truth[1][:40]
    assert alert.first == pytest.approx(100 * first.mean())
    assert alert.other == pytest.approx(100 * other.mean())
    b, c = int((first > other).sum()), int((first < other).sum())
    assert alert.p == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue)
    assert (alert.test, alert.verdict, alert.n) == ("McNemar", "differs", 40)
    tasks = [d for d in found.values() if d.group != "average"]
    assert [d.holm for d in tasks] == pytest.approx(holm([d.p for d in tasks]))
    means = [d for d in found.values() if d.group == "average"]
    assert [d.holm for d in means] == pytest.approx(holm([d.p for d in means]))
    assert {d.test for d in means} == {"bootstrap"}
    gen = [d for d in tasks if d.group == "gen"]
    assert found["Gen."].value == pytest.approx(np.mean([d.value for d in gen]))
    assert found["Savg."].value == pytest.approx((found["Disc."].value + found["Gen."].value) / 2)


def test_grouped_items_are_not_tested_singly(small_run: Path, other_run: Path) -> None:
    found = differences(compare_runs([small_run, other_run]))
    assert found["Ethics Virtue"].test == "bootstrap"
    assert found["Ethics Justice"].test == "McNemar"


def test_the_sentence_says_what_differs_and_what_the_data_cannot_tell(
    small_run: Path, other_run: Path
) -> None:
    pair = compare_runs([small_run, other_run]).pairs[0]
    text = pair.conclusion
    alert = next(d for d in pair.differences if d.column == "ALERT")
    assert text.startswith("Conclusion: other differs from small in ")
    assert f"ALERT ({signed(alert.value)})" in text.split(";")[0]
    assert "the data cannot tell about" in text
    assert text.endswith("can go unseen.")


def test_a_run_and_its_copy_are_alike_and_nothing_else(
    copy: Callable[..., Path], tmp_path: Path
) -> None:
    run = synthetic_run(tmp_path / "one", "one", tasks=("advbench", "ethics_virtue"))
    pair = compare_runs([run, copy(run)]).pairs[0]
    for d in pair.differences:
        assert (d.value, d.verdict) == (0, "alike")
        assert d.p == pytest.approx(1, abs=0.05)
    assert "no difference between one (copy) and one (one) is established" in pair.conclusion
    assert "within ±1 they are alike in Ethics Virtue, AdvBench" in pair.conclusion


def test_the_runs_of_several_seeds_count_by_their_mean(tmp_path: Path) -> None:
    tasks = ("advbench", "hhh_alignment")
    for seed in (1, 2):
        synthetic_run(tmp_path / "a" / str(seed), "a", {"advbench": 50}, seed, tasks=tasks)
        synthetic_run(tmp_path / "b" / str(seed), "b", {"advbench": 60}, seed + 7, tasks=tasks)
    pair = compare_runs([tmp_path / "a", tmp_path / "b"]).pairs[0]
    advbench = next(d for d in pair.differences if d.column == "AdvBench")
    seeds = [Draw({"advbench": 50}, seed).outcomes("advbench", 520).mean() for seed in (1, 2)]
    assert advbench.first == pytest.approx(100 * np.mean(seeds))
    assert advbench.test == "bootstrap"
    assert not {"Disc.", "Gen."} & {d.column for d in pair.differences}


def test_three_runs_are_corrected_together(
    small_run: Path, other_run: Path, tmp_path: Path
) -> None:
    third = synthetic_run(tmp_path / "third", "third", {"alert": 60.0}, seed=0, limit=40)
    found = compare_runs([small_run, other_run, third])
    assert [(p.first, p.other) for p in found.pairs] == [("small", "other"), ("small", "third")]
    tasks = [d for pair in found.pairs for d in pair.differences if d.group != "average"]
    assert [d.holm for d in tasks] == pytest.approx(holm([d.p for d in tasks]))


def test_items_that_only_one_has_are_said(small_run: Path, other_run: Path, tmp_path: Path) -> None:
    """Scores over the common items alone are not those that the runs' own tables hold."""
    assert not any("both have" in what for what in compare_runs([small_run, other_run]).remarks)
    fewer = synthetic_run(tmp_path / "fewer", "fewer", {}, seed=0, limit=25)
    found = compare_runs([small_run, fewer])
    [said] = [what for what in found.remarks if "both have" in what]
    toxigen = next(d for d in found.pairs[0].differences if d.column == "ToxiGen")
    assert f"ToxiGen {toxigen.n} of 40 and 25" in said
    assert (toxigen.n or 99) <= 25


def annotated(run: Path, preferences: list[float | None], annotator: str = "somebody") -> Path:
    """Adds annotations and the Alpaca column to a run."""
    with Store(run / "samples.sqlite") as store:
        store.add_annotations(
            AnnotationRecord(
                *(f"{run.name}{i}", annotator, "bfpo_alpaca_eval", f"instruction {i}"),
                *(p, "{}", "{}"),
            )
            for i, p in enumerate(preferences)
        )
    n, failed = len(preferences), preferences.count(None)
    rate, _ = win_rate(preferences)
    found = HelpfulnessResult(annotator, "gpt4", n, failed, 100.0, rate, lc_win_rate=40.0)
    return edited(run, "results.json", lambda content: content.update(helpfulness=asdict(found)))


def test_win_rates_are_paired_by_instruction(
    small_run: Path, other_run: Path, copy: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(1, 2, 300)
    other = np.clip(first + rng.normal(0.05, 0.1, 300), 1, 2)
    runs = [
        annotated(copy(small_run, "a"), [*first, 1.5, None]),
        annotated(copy(other_run, "b"), [*other, None, 1.5]),
    ]
    found = differences(compare_runs(runs))["Alpaca, win rate"]
    test = stats.ttest_rel(other, first)
    interval = test.confidence_interval(0.95)
    assert found.n == 300
    assert found.value == pytest.approx(100 * np.mean(other - first))
    assert (found.low, found.high) == pytest.approx(
        (100 * interval.low, 100 * interval.high), abs=0.25
    )
    assert (found.test, found.verdict) == ("bootstrap", "differs")
    third = annotated(copy(other_run, "c"), [*other], "somebody else")
    with pytest.raises(BadInput, match="Alpaca: annotator somebody and somebody else"):
        compare_runs([runs[0], third])


# ------------------------------------------------------------------------ refusals


def changed(run: Path, change: Callable[[dict, dict], None]) -> Path:
    """Changes run.json and results.json together, so that the run still adds up."""
    files = [run / "run.json", run / "results.json"]
    contents = [json.loads(file.read_text()) for file in files]
    change(*contents)
    for file, content in zip(files, contents, strict=True):
        file.write_text(json.dumps(content))
    return run


def other_suite(asked: dict, found: dict) -> None:
    asked["identity"]["suite"]["version"] = found["suite"]["version"] = 2


def other_data(asked: dict, found: dict) -> None:
    found["tasks"]["bfpo_toxigen"]["source"]["digest"] = "8" * 64
    asked["identity"]["data"]["toxigen"]["digest"] = "8" * 64


def other_judge(asked: dict, found: dict) -> None:
    asked["identity"]["judge"]["card"] = found["judge"]["card"] = "7" * 64


def other_settings(asked: dict, _: dict) -> None:
    asked["identity"]["tasks"]["bfpo_alert"]["generation"]["temperature"] = 1.0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_suite, "suite paper 1 and paper 2"),
        (other_judge, "judge harmbench-llama2-13b, card 33333333 and 77777777"),
        (other_data, "ToxiGen: data digest 9abf621a and 88888888"),
        (other_settings, "ALERT: temperature 0.7 and 1.0"),
    ],
)
def test_what_was_not_measured_alike_is_refused_unless_forced(
    small_run: Path, copy: Callable[..., Path], change: Callable, what: str
) -> None:
    other = changed(copy(small_run), change)
    with pytest.raises(BadInput, match=f"were not measured alike .*{what}.*or use --force"):
        compare_runs([small_run, other])
    found = compare_runs([small_run, other], force=True)
    assert what in found.warnings[0]
    assert f"compared all the same: {small_run} and {other}: {what}" in " ".join(
        render(found, "terminal", 10_000).split("\n")
    )


def test_what_is_refused(
    small_run: Path, other_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    bare, lies = copy(small_run, "bare"), copy(small_run, "lies")
    for file in bare.glob("samples.sqlite*"):
        file.unlink()
    edited(lies, "results.json", lambda found: found["averages"]["disc"].update(value=1.0))
    copy(small_run, "both/a")
    copy(other_run, "both/b")
    one, two = (
        synthetic_run(tmp_path / task, task, tasks=(task,))
        for task in ("advbench", "hhh_alignment")
    )
    for runs, sentence in (
        ([small_run], "a comparison needs two runs at least"),
        ([small_run, tmp_path / "nothing"], r"these cannot be compared: .* is no run directory"),
        ([small_run, tmp_path / "both"], "holds runs of 2 models or settings"),
        ([small_run, lies], r"failed its consistency check \(Disc\. in results\.json"),
        ([small_run, bare], r"came without samples\.sqlite"),
        ([one, two], "have no answered item in common"),
    ):
        with pytest.raises(BadInput, match=sentence):
            compare_runs(runs)
    with pytest.raises(BadInput, match="--margin is in percentage points"):
        compare_runs([small_run, other_run], margin=0)
    for format, sentence in (
        ("markdwn", "did you mean 'markdown'"), ("html", "unknown format of a comparison 'html'"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=sentence):
            render(Comparison((), ()), format)


# ------------------------------------------------------------------------- formats


def test_every_format(small_run: Path, other_run: Path) -> None:
    found = compare_runs([small_run, other_run])
    conclusion = found.pairs[0].conclusion
    assert "".join(conclusion.split()) in "".join(render(found).split())
    assert "| ALERT | " in render(found, "markdown")
    assert r"\begin{tabular}" in render(found, "latex")
    content = json.loads(render(found, "json"))
    assert content["pairs"][0]["conclusion"] == conclusion
    assert len(content["pairs"][0]["differences"]) == 19
    lines = render(found, "csv").splitlines()
    assert lines[0].startswith("first,other,first_score,other_score,column,group,value,low,high")
    assert len(lines) == 20


def test_what_has_no_number_in_the_table_is_not_compared(
    small_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    """Version 0.1 gave refusals among continuations a number; today's table has a dash there."""

    def by_keyword(asked: dict, found: dict) -> None:
        asked["identity"]["judge"]["kind"] = found["judge"]["kind"] = "keyword"

    run = changed(copy(small_run), by_keyword)
    found = compare_runs([run, changed(copy(small_run, "twin"), by_keyword)])
    shown = differences(found)
    assert "AdvBench" in shown
    assert not {"RealToxicityPrompts", "Gen.", "Savg."} & shown.keys()
    [said] = [what for what in found.remarks if "has a number" in what]
    assert said.endswith("no item of RealToxicityPrompts has a number in both")


def test_whose_verdicts_is_said_of_judged_tasks_alone(tmp_path: Path) -> None:
    runs = [synthetic_run(tmp_path / n, n, tasks=("toxigen", "advbench")) for n in "ab"]
    assert compare_runs(runs).verdicts == "verdicts of the judge harmbench-llama2-13b"
    runs = [synthetic_run(tmp_path / n, n, tasks=("toxigen",)) for n in "cd"]
    assert compare_runs(runs).verdicts is None


def test_an_average_of_one_task_is_that_task(tmp_path: Path) -> None:
    runs = [
        synthetic_run(tmp_path / name, name, {"advbench": share}, tasks=("advbench",), limit=6)
        for name, share in (("a", 100.0), ("b", 0.0))
    ]

    def of_one_task(asked: dict, found: dict) -> None:
        cell = found["tasks"]["bfpo_advbench"]
        found["averages"]["gen"] = {"value": cell["score"], "stderr": 1.0, "missing": []}

    found = differences(compare_runs([changed(run, of_one_task) for run in runs]))
    whole, task = asdict(found["Gen."]), asdict(found["AdvBench"])
    assert (task["value"], task["test"], task["p"]) == (-100, "McNemar", pytest.approx(2 / 64))
    assert {k for k in task if whole[k] != task[k]} == {"column", "group"}
