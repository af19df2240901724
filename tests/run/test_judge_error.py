"""The judge's errors: Rogan and Gladen's formula, Lang and Reiczigel's interval, coverage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.synthetic_runs import JUDGE, judge_identity
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import draw_tasks, tally_share
from bfpo_bench.run.judge_error import (
    JudgeCheck,
    corrected_gen,
    harmless_share,
    read_check,
)


def check(found: int, harmful: int, passed: int, harmless: int) -> JudgeCheck:
    return JudgeCheck(None, "somebody", found, harmful, passed, harmless)


def corrected(check: JudgeCheck, shares: list[tuple[int, int]]) -> tuple[float, float, float]:
    tallies = {f"task {i}": tally_share(k, n) for i, (k, n) in enumerate(shares)}
    drawn = {name: values[:, 0] for name, values in draw_tasks(tallies).items()}
    scores = {f"task {i}": 100 * k / n for i, (k, n) in enumerate(shares)}
    return corrected_gen(check, scores, drawn)


def test_the_formula_undoes_the_judges_errors() -> None:
    for true in (0.0, 0.05, 0.5, 0.97, 1.0):
        for sensitivity, specificity in ((0.9, 0.8), (0.873, 0.732), (1.0, 1.0)):
            harmful = 1 - true
            called = harmful * sensitivity + true * (1 - specificity)
            found = harmless_share(100 * (1 - called), sensitivity, specificity)
            assert float(found) == pytest.approx(100 * true)


def test_a_perfect_judge_changes_nothing() -> None:
    value, low, high = corrected(check(100_000, 100_000, 100_000, 100_000), [(90, 100), (400, 500)])
    assert value == pytest.approx(85.0)
    assert low == pytest.approx(81.3, abs=0.5)
    assert high == pytest.approx(88.0, abs=0.5)


def test_the_interval_is_that_of_lang_and_reiczigel() -> None:
    """Confidence limits for prevalence by an imperfect test (Lang and Reiczigel 2014), eq. 7."""
    k, n, found, harmful, passed, harmless = 300, 1000, 90, 100, 170, 200
    z = 1.959964
    n2, p2 = n + z * z, (k + z * z / 2) / (n + z * z)
    harmful2, s2 = harmful + 2, (found + 1) / (harmful + 2)
    harmless2, c2 = harmless + 2, (passed + 1) / (harmless + 2)
    j = s2 + c2 - 1
    rate = (p2 + c2 - 1) / j
    shift = 2 * z * z * (rate * s2 * (1 - s2) / harmful2 - (1 - rate) * c2 * (1 - c2) / harmless2)
    spread = (
        z
        / j
        * np.sqrt(
            p2 * (1 - p2) / n2
            + rate**2 * s2 * (1 - s2) / harmful2
            + (1 - rate) ** 2 * c2 * (1 - c2) / harmless2
        )
    )
    expected = 100 * (rate + shift - spread), 100 * (rate + shift + spread)
    value, low, high = corrected(check(found, harmful, passed, harmless), [(n - k, n)])
    assert 100 - value == pytest.approx(100 * (0.3 + 0.85 - 1) / 0.75)
    assert (100 - high, 100 - low) == pytest.approx(expected, abs=0.6)


def test_it_is_covered() -> None:
    rng = np.random.default_rng(0)
    sensitivity, specificity, true, hits = 0.87, 0.9, (0.9, 0.8), 0
    for _ in range(100):
        found, passed = rng.binomial(110, sensitivity), rng.binomial(190, specificity)
        shares = []
        for share in true:
            safe = share * specificity + (1 - share) * (1 - sensitivity)
            shares.append((int(rng.binomial(600, safe)), 600))
        _, low, high = corrected(check(found, 110, passed, 190), shares)
        hits += low <= 100 * sum(true) / 2 <= high
    assert hits / 100 == pytest.approx(0.95, abs=0.06)


def test_ignoring_the_judges_uncertainty_would_be_much_too_narrow() -> None:
    sure = corrected(check(8730, 10_000, 7320, 10_000), [(7000, 10_000)])
    unsure = corrected(check(87, 100, 73, 100), [(7000, 10_000)])
    assert unsure[2] - unsure[1] > 3 * (sure[2] - sure[1])


# ----------------------------------------------------------------------- reading


def content(**changes: Any) -> dict[str, Any]:
    confusion = {
        "true_positive": 90, "false_positive": 20, "false_negative": 8, "true_negative": 170,
        "unknown_harmful": 2, "unknown_harmless": 10,
    }  # fmt: skip
    verdicts = {"judge": judge_identity(JUDGE), "column": None}
    return {"schema": 1, "verdicts": verdicts, "confusion": confusion} | changes


def written(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "check.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_unknown_verdicts_count_as_called_harmful(tmp_path: Path) -> None:
    found = read_check(written(tmp_path, content()))
    assert (found.found, found.harmful, found.passed, found.harmless) == (92, 100, 170, 200)
    assert (found.sensitivity, found.specificity) == (0.92, 0.85)


CONFUSION = content()["confusion"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no judge check"),
        (content(confusion={}), "is no judge check"),
        (content(schema=2), "has schema 2, this bfpo-bench knows 1"),
        (content(verdict="refusal"), "is of refusal; a correction needs one of harm"),
        (
            content(confusion=CONFUSION | {"true_positive": 0, "false_negative": 0,
                                           "unknown_harmful": 0}),
            "a correction needs some of both",
        ),
        (
            content(confusion=CONFUSION | {"true_positive": 10, "false_negative": 90}),
            "no better than chance",
        ),
    ],
)  # fmt: skip
def test_what_is_no_check_is_refused(tmp_path: Path, text: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_check(written(tmp_path, text))


def test_a_missing_check_is_refused(tmp_path: Path) -> None:
    sentence = (
        r"the judge check .* cannot be read \(No such file or directory\); write one with "
        "`bfpo-bench judges check … --output FILE`."
    )
    with pytest.raises(BadInput, match=sentence):
        read_check(tmp_path / "nothing.json")


def test_what_judges_check_writes_is_read(tmp_path: Path) -> None:
    from bfpo_bench.judges.agreement import check_column

    labels = tmp_path / "labels.csv"
    lines = ["verdict,label", *["1,1"] * 9, "0,1", *["0,0"] * 17, *["1,0"] * 3]
    labels.write_text("\n".join(lines))
    file = tmp_path / "agreement.json"
    found = check_column(labels, "verdict", ["label"], label_means="harmful")
    file.write_text(found.to_json())
    read = read_check(file)
    assert (read.found, read.harmful, read.passed, read.harmless) == (9, 10, 17, 20)
    assert (read.judge, read.by) == (None, "column verdict")
