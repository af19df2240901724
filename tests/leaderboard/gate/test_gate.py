"""A gate on runs: what passes, fails and is open, what it refuses to hold, and how it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from benchmarks.synthetic_runs import Draw, synthetic_run
from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.gate.gate import Gate, hold_against
from bfpo_bench.leaderboard.gate.junit import junit_text
from bfpo_bench.leaderboard.gate.policy import Asked, Policy, read_policy
from bfpo_bench.leaderboard.gate.render import render_gate
from tests.leaderboard.edits import edited
from tests.leaderboard.judged import ANSWERS, FULL, PARTIAL, Said, judged_run
from tests.leaderboard.test_compare import annotated

HARMFUL, BENIGN = "bfpo_xstest_unsafe", "bfpo_xstest_safe"


def held(candidate: Path, baseline: Path, columns: Mapping[str, Any], **more: Any) -> Gate:
    asked = {name: terms and Asked(**terms) for name, terms in columns.items()}
    return hold_against(candidate, baseline, Policy(asked, **more))


def outcomes(gate: Gate) -> dict[str, str]:
    return {check.name: check.outcome for check in gate.checks}


def test_models_that_are_called_alike_are_told_apart(
    small_run: Path, copy: Callable[..., Path]
) -> None:
    gate = held(copy(small_run, "a/eval"), copy(small_run, "b/eval"), {"ALERT": {"margin": 90}})
    assert (gate.candidate, gate.baseline) == ("small (a/eval)", "small (b/eval)")
    for text in (junit_text(gate, 1.0), render_gate(gate), render_gate(gate, "json")):
        assert "small (a/eval)" in text
        assert "small (b/eval)" in text


# ---------------------------------------------------------------------------- decisions


def test_the_candidate_is_the_first_one(small_run: Path, other_run: Path) -> None:
    """ALERT has 98.5 and 40 % on the same 40 items: worse one way and better the other."""
    truth = [Draw({}).outcomes("alert", 14763), Draw({"alert": 40.0}).outcomes("alert", 14763)]
    scores = [100 * one[:40].mean() for one in truth]
    gate = held(other_run, small_run, {"ALERT": None})
    [check] = gate.checks
    assert "candidate and baseline have the same weights" not in gate.remarks
    assert (check.baseline, check.candidate) == pytest.approx(scores)
    assert check.value == pytest.approx(scores[1] - scores[0])
    assert (check.outcome, gate.outcome, gate.exit_code) == ("fail", "fail", 3)
    assert (gate.candidate, gate.baseline) == ("other", "small")
    better = held(small_run, other_run, {"alert": {"margin": 0}})
    assert (outcomes(better), better.exit_code) == ({"ALERT": "pass"}, 0)
    assert better.checks[0].value == pytest.approx(-check.value)


def test_one_failure_fails_and_all_have_to_pass(
    small_run: Path, other_run: Path, copy: Callable[..., Path]
) -> None:
    far = {"margin": 50}
    asked = {"toxigen": far, "Savg.": far, "Disc": far, "gen": far, "WinoGrande": {"margin": 0.5}}
    same = held(copy(small_run), small_run, asked)
    assert "candidate and baseline have the same weights" in same.remarks
    assert list(outcomes(same).values()) == ["pass"] * 4 + ["undecided"]
    assert (same.outcome, same.exit_code) == ("undecided", 4)
    assert held(copy(small_run, "b"), small_run, dict(list(asked.items())[:4])).outcome == "pass"
    assert held(other_run, small_run, {**asked, "alert": None}).outcome == "fail"
    said = same.why(same.checks[-1])
    assert said.startswith("WinoGrande: undecided, as good as the baseline; at 95 % confidence")
    assert "this sample cannot tell 0.5 points: it passes " in said
    found = re.search(r"tells ([\d.]+) points with power 80 %; .* about ([\d,]+) items", said)
    assert found is not None
    told, needed = float(found[1]), int(found[2].replace(",", ""))
    assert needed == pytest.approx(40 * (told / 0.5) ** 2, rel=0.05)
    assert said.endswith(f"{needed:,} items instead of 40, and there are 1,267.")


def answers(answered: int, partly: int, refused: int, harmful: int = 0) -> list[Said]:
    """Responses of which the first ones are answered, and so many of those harmful."""
    kinds = [ANSWERS] * answered + [PARTIAL] * partly + [FULL] * refused
    return [Said(n < harmful, kind) for n, kind in enumerate(kinds)]


def test_every_column_of_the_balance_goes_by_its_own_direction(tmp_path: Path) -> None:
    """The candidate refuses more of both, good of harmful prompts and bad of benign ones."""
    one = {HARMFUL: answers(60, 0, 40, harmful=30), BENIGN: answers(95, 5, 0)}
    two = {HARMFUL: answers(20, 0, 80, harmful=10), BENIGN: answers(55, 5, 40)}
    baseline, candidate = (judged_run(tmp_path / n, it) for n, it in (("one", one), ("two", two)))
    better = ("Harm.", "XSTest unsafe", "XSTest unsafe answered", "harm_harmless_without_refusing")
    worse = ("Answ.", "Answ. refused", "bfpo_xstest_safe_refused", "XSTest safe")
    asked: dict[str, Any] = dict.fromkeys((*better, *worse))
    gate = held(candidate, baseline, asked | {better[3]: {"better": "higher"}})
    found = dict(zip((*better, *worse), gate.checks, strict=True))
    # 90 of 100 harmless instead of 70; 10 of 100 harmless without refusing instead of 30.
    values = {"Harm.": 20, "XSTest unsafe answered": 40, "harm_harmless_without_refusing": -20}
    values |= {"Answ.": -40, "Answ. refused": -40}
    assert {name: found[name].value for name in values} == pytest.approx(values)
    expected = dict.fromkeys(better[:3], "pass") | dict.fromkeys((better[3], *worse), "fail")
    assert {name: check.outcome for name, check in found.items()} == expected
    assert gate.verdicts == "verdicts of the judge guard, refusals by the judge guard"
    with pytest.raises(BadInput, match=r"Harm\. refused is neither good nor bad .* `better: high"):
        held(candidate, baseline, {"Harm. refused": None})
    refused = held(candidate, baseline, {"Harm. refused": {"better": "higher"}})
    assert (refused.checks[0].value, refused.outcome) == (pytest.approx(40), "pass")
    ceiling = held(candidate, baseline, {"Answ. refused": {"margin": 99, "at_most": 20}})
    assert outcomes(ceiling) == {"Answ. refused": "pass", "Answ. refused at most 20 %": "fail"}


def test_a_floor_is_held_besides(
    small_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    asked = {"margin": 90, "at_least": 50}
    gate = held(copy(small_run), small_run, {"ALERT": asked, "Gen.": asked, "ToxiGen": asked})
    assert [check.outcome for check in gate.checks] == ["pass"] * 5 + ["undecided"]
    assert list(outcomes(gate))[-1] == "ToxiGen at least 50 %"
    assert "with power 80 % this sample shows it of a candidate that truly is" in gate.why(
        gate.checks[-1]
    )
    for terms, sentence in (
        ({"BBQ": {"at_most": 50}}, "asks BBQ for `at_most`, but more of it is better, so that is"),
        ({"crows_pairs": {"at_most": 60}}, "`at_most`, but a distance from 50 is held against"),
        ({"crows_pairs_distance": {"at_most": 9}}, "a distance from 50 is held against the"),
        ({"BBQ": {"better": "lower"}}, "BBQ has its own direction, higher; leave `better` out"),
    ):
        with pytest.raises(BadInput, match=sentence):
            held(tmp_path / "copy", small_run, terms)


def test_crows_pairs_is_held_by_its_distance_from_50(tmp_path: Path) -> None:
    """70 and 40 %: nearer to 50 by 10 points, though lower by 30."""
    task = ("crows_pairs",)
    one, two = (
        synthetic_run(tmp_path / name, name, {"crows_pairs": share}, tasks=task)
        for name, share in (("one", 70.0), ("two", 40.0))
    )
    gate = held(two, one, {"CrowS-Pairs": {"margin": 0}, "crows_pairs_distance": None})
    scores = [100 * Draw({"crows_pairs": p}).outcomes("crows_pairs", 1677).mean() for p in (70, 40)]
    value = abs(scores[0] - 50) - abs(scores[1] - 50)
    assert [check.value for check in gate.checks] == pytest.approx([value, value])
    assert (gate.checks[0].baseline, gate.checks[0].candidate) == pytest.approx(tuple(scores))
    assert value > 8
    assert gate.outcome == "pass"
    assert held(one, two, {"CrowS-Pairs": {"margin": 5}}).outcome == "fail"


# -------------------------------------------------------------------- what it cannot see


def test_what_it_cannot_see_does_not_pass(
    small_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    fewer = synthetic_run(tmp_path / "fewer", "fewer", {}, seed=0, limit=25)
    some = synthetic_run(tmp_path / "some", "some", tasks=("toxigen", "advbench"), limit=40)
    judged = synthetic_run(tmp_path / "judged", "judged", judge="another", limit=40)
    same = copy(small_run)
    for candidate, columns, sentence in (
        (same, {"Genn.": None}, r"unknown column of the gate's policy 'Genn\.'; did you mean"),
        (same, {"gen": None, "Gen.": None}, r"names Gen\. twice \('gen' and 'Gen\.'\)"),
        (same, {"Alpaca": None}, r"run has no Alpaca, so .*; evaluate it with --annotator\."),
        (same, {"harm": None}, r"has no Harm\., so .*; evaluate it on the whole suite"),
        (same, {"gen_corrected": None}, r"Gen\. corrected is .* by itself and .*; ask for Gen\."),
        (some, {"Gen.": None}, r"some has no Gen\. \(it is missing .*ALERT.*\), so the gate can"),
        (some, {"alert": None}, "some has no ALERT, so .*; evaluate it with the task bfpo_alert"),
        (fewer, {"Gen.": None}, r"not the same items of AdvBench \(25 of 40 are in both\)"),
        (small_run, {"ALERT": None}, "run is a run of candidate and baseline both, and no run is"),
        (small_run.parent, {"ALERT": None}, "run is a run of candidate and baseline both"),
        (judged, {"ALERT": None}, "a gate is for runs that were measured alike, .*judge harmb"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=sentence):
            held(candidate, small_run, columns)
    assert held(some, small_run, {"toxigen": {"margin": 90}}).outcome == "pass"
    stopped = [same, copy(small_run, "other")]
    for run in stopped:
        edited(run, "run.json", lambda it: it["identity"].update(precision=1.0))
        edited(run, "results.json", lambda it: it.update(precision=1.0))
    with pytest.raises(BadInput, match=r"asked with --precision, so how many .*ToxiGen it"):
        held(stopped[1], stopped[0], {"toxigen": None})


def test_win_rates_are_held_too(small_run: Path, copy: Callable[..., Path]) -> None:
    """300 instructions, of each the candidate is preferred by 0.05 less, within ± 0.35."""
    rng = np.random.default_rng(0)
    first = rng.uniform(1.4, 1.6, 300)
    other = first - 0.05 + rng.uniform(-0.35, 0.35, 300)
    one, two = (
        annotated(copy(small_run, name), list(rates))
        for name, rates in (("one", first), ("two", other))
    )
    gate = held(two, one, {"Alpaca": {"margin": 9}})
    [check] = gate.checks
    assert check.value == pytest.approx(100 * np.mean(other - first))
    low = stats.ttest_rel(other, first).confidence_interval(0.9).low
    # One instruction more that speaks against it.
    assert check.low == pytest.approx(100 * low - 100 / 300, abs=0.2)
    assert (check.column, gate.outcome) == ("Alpaca, win rate", "pass")
    assert "Alpaca is compared by the raw win rate" in gate.remarks
    assert held(two, one, {"Alpaca": {"margin": 1.5}}).outcome == "fail"


def imported(run: Path) -> Path:
    return edited(run, "run.json", lambda it: it["identity"].update(answers_from="inspect_ai"))


def demonstration(run: Path) -> Path:
    return edited(run, "results.json", lambda it: it["suite"].update(demonstration=True))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (imported, "were imported from inspect_ai, whose files do not say how they were asked for"),
        (demonstration, "the suite paper is a few bundled items and measures nothing"),
    ],
)
def test_what_is_not_comparable_for_sure_neither_passes_nor_fails(
    small_run: Path, other_run: Path, copy: Callable[..., Path],
    change: Callable[[Path], Path], why: str,
) -> None:  # fmt: skip
    one, two = change(copy(small_run, "one")), change(copy(other_run, "two"))
    asked = {"ALERT": None, "AdvBench": {"margin": 90}}
    gate = held(two, one, asked)
    assert (set(outcomes(gate).values()), gate.exit_code) == ({"undecided"}, 4)
    assert why in gate.conclusion
    assert all(f"nothing is decided, because {'' if 'suite' in why else 'the '}" in gate.why(c)
               for c in gate.checks)  # fmt: skip
    trusted = held(two, one, asked, trust_imported=True)
    assert trusted.outcome == ("fail" if change is imported else "undecided")


# ----------------------------------------------------------------------------- policies


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "policy.yaml names no column, so nothing could fail; list what must hold"),
        ("margin: 1\ncolumns: {}", "names no column, so nothing could fail"),
        ("margin: 1", "policy.yaml: 'columns' is missing; add it"),
        ("columns: {gen: {margin: -1}}", "columns, gen, margin must be at least 0, not -1"),
        ("margin: .nan\ncolumns: {gen: }", "margin must be .*, not nan"),
        ("margin: one\ncolumns: {gen: }", "margin must be a number, not 'one'"),
        ("confidence: 95\ncolumns: {gen: }", "confidence must be at most 0.999, not 95"),
        ("confidence: 0.5\ncolumns: {gen: }", "confidence must be more than 0.5, not 0.5"),
        ("columns: {gen: {confidence: 1}}", "gen, confidence must be at most 0.999, not 1"),
        ("columns: {gen: {at_least: 101}}", "at_least must be at most 100, not 101"),
        ("columns: {gen: {better: up}}", "choice for .*better: 'up'; there are: higher, lower"),
        ("columns: {gen: {margn: 1}}", "unknown setting in .*gen: 'margn'; did you mean 'margin'"),
        ("colums: {gen: }", "unknown setting in .*policy.yaml: 'colums'; did you mean 'columns'"),
        ("columns: [gen]", r"columns must be keys and values, not \['gen'\]"),
        ("just words", "must be keys and values, not 'just words'"),
        ("columns: {gen: {margin: 1}", "policy.yaml, line .* is no YAML that can be read"),
        ("\x00\x01", "policy.yaml.* is no YAML that can be read"),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=sentence) as caught:
        read_policy(file)
    assert len(caught.value.lines) == 1


# ------------------------------------------------------------------------- command line


def test_the_command_line(small_run: Path, other_run: Path, tmp_path: Path) -> None:
    policy, report, junit = (tmp_path / name for name in ("p.yaml", "gate.md", "gate.xml"))
    policy.write_text("columns: {ALERT: {margin: 5}}\n")
    two, more = [str(other_run), str(small_run)], ["--gate", str(policy)]

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["compare", *words])
        return done.exit_code, str(done.exception) if done.exit_code == 1 else done.output

    files = ["--junit", str(junit), "--output", str(report), "--format", "markdown"]
    assert run(*two, *more, *files) == (3, f"Gate: {report}\n")
    assert "**Gate: fail. other against small fails in ALERT.**" in report.read_text()
    assert ET.parse(junit).getroot().get("failures") == "1"
    assert run(*reversed(two), *more)[0] == 0
    policy.write_text("columns: {WinoGrande: }\n")
    code, said = run(*two, *more)
    assert (code, said.count("Gate: undecided.")) == (4, 1)
    for words, sentence in (
        ([*two, *more, "--junit", str(junit)], f"{junit} exists; give another --junit, or --force"),
        ([two[0], *more], "one baseline, and 1 run is named; write `bfpo-bench compare CANDIDATE"),
        ([*two, two[0], *more], "holds one candidate against one baseline, and 3 runs are named"),
        ([*two, *more, "--margin", "1"], "--margin says nothing to a gate; write margins into"),
        ([*two, "--junit", "x.xml"], "--junit goes with --gate"),
        ([*two, *more, "--junit", "x", "--output", "x"], "--junit and --output are both x"),
        ([*two, "--gate", str(tmp_path / "no.yaml")], "no.yaml cannot be read (No such file"),
        ([*two, "--gate", str(tmp_path)], "cannot be read (Is a directory); give --gate a YAML"),
    ):
        assert sentence in run(*words)[1], words
    said = CliRunner().invoke(app, ["compare", "--help"]).output
    assert "0 it is (pass), 3 it is shown not to be (fail), 4" in " ".join(said.split())


def test_every_format_says_the_same(small_run: Path, other_run: Path) -> None:
    gate = held(other_run, small_run, {"ALERT": {"at_least": 90}, "Savg.": {"margin": 30}})
    content = json.loads(render_gate(gate, "json"))
    assert (content["outcome"], content["exit_code"]) == ("fail", 3)
    assert content["conclusion"] == gate.conclusion
    assert [one["outcome"] for one in content["checks"]] == ["fail", "fail", "pass"]
    rows = gate.to_frame()
    assert rows["why"].tolist() == [gate.why(check) for check in gate.checks]
    assert rows["low"].tolist() == [check.low for check in gate.checks]
    for format in ("terminal", "markdown", "latex", "csv"):
        text = "".join(render_gate(gate, format).split())
        assert all(word in text for word in ("ALERT", "fail", "atleast90", "Savg.", "pass"))
    [low] = re.findall(r"ALERT .*margin 1 .*\[(\S+),", render_gate(gate, width=300))
    assert float(low) == pytest.approx(gate.checks[0].low, abs=0.005)


# -------------------------------------------------------------------------------- JUnit


def test_the_junit_file_is_one(small_run: Path, copy: Callable[..., Path]) -> None:
    """By the schema that Jenkins, GitLab and GitHub's reporters read, whatever a model is named."""
    name = '</testsuite><b a="1">&\x00\x1b[31m\ufffe \ud800]]>'
    bad = edited(copy(small_run), "results.json", lambda it: it["model"].update(name=name))
    edited(bad, "run.json", lambda it: it["identity"]["model"].update(name=name))
    gate = held(bad, small_run, {"ALERT": {"margin": 90}, "BBQ": None, "Savg.": {"margin": 90}})
    text = junit_text(gate, 3.0)
    top = ET.fromstring(text.encode("utf-8"))
    assert top.tag == "testsuites"
    [suite] = top
    counts = {"tests": "3", "failures": "1", "errors": "0", "time": "3.000"}
    for element in (top, suite):
        assert {key: element.get(key) for key in counts} == counts
    # What junit-10.xsd of Jenkins' xunit plugin allows there, and no more.
    assert top.keys() == ["name", *counts]
    assert sorted(suite.keys()) == sorted(["name", "timestamp", "skipped", *counts])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(suite.get("timestamp")))
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 3, "system-out"]
    properties = {one.get("name"): one.get("value") for one in suite[0]}
    assert properties["outcome"] == "undecided"
    assert str(properties["candidate"]).startswith('</testsuite><b a="1">&\\x00\\x1b[31m\\ufffe')
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [
        "ALERT: at most 90 points worse",
        "BBQ: at most 1 point worse",
        "Savg.: at most 90 points worse",
    ]
    assert {case.get("classname") for case in cases} == {"bfpo-bench.gate"}
    assert sum(float(str(case.get("time"))) for case in cases) == pytest.approx(3)
    assert [[child.tag for child in case] for case in cases] == [
        ["system-out"], ["failure"], ["system-out"],
    ]  # fmt: skip
    [failure] = cases[1]
    assert failure.get("type") == "undecided"
    assert failure.get("message") == "BBQ: undecided, as good as the baseline"
    assert failure.text == gate.why(gate.checks[1])
