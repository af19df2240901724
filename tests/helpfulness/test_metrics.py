"""Win rates against AlpacaEval's leaderboard, and against alpaca_eval's own code where it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.helpfulness.annotation import Annotation, read_annotations
from bfpo_bench.helpfulness.metrics import discrete_win_rate, mean_length, measure, win_rate
from bfpo_bench.helpfulness.upstream import Upstream
from tests.helpfulness.real import MODELS, annotations_file, leaderboard


@pytest.mark.parametrize("model", MODELS)
def test_the_leaderboards_figures(data_dir: Path, model: str) -> None:
    annotations = read_annotations(annotations_file(data_dir, model))
    published = leaderboard(data_dir)[model]
    preferences = [one.preference for one in annotations]
    value, error = win_rate(preferences)
    assert value == pytest.approx(float(published["win_rate"]), abs=1e-9)
    assert error == pytest.approx(float(published["standard_error"]), abs=1e-9)
    discrete = float(published["discrete_win_rate"])
    assert discrete_win_rate(preferences) == pytest.approx(discrete, abs=1e-9)
    outputs = [one.output_2 for one in annotations]
    assert int(mean_length(outputs)) == int(published["avg_length"])
    assert len(preferences) == int(published["n_total"])


def test_by_hand() -> None:
    value, error = win_rate([1, 2, 1.5, None])
    assert (value, error) == (50, pytest.approx(50 / math.sqrt(3)))
    assert win_rate([1.25]) == (25, None)
    # A win by a hair is a win; 1.5 is a draw.
    assert discrete_win_rate([1.51, 1.49, 1.5, None]) == 50
    assert discrete_win_rate([1.51, 1.6, 1.5, 1.2]) == 62.5
    with pytest.raises(ValueError, match="no usable preference"):
        win_rate([None])


def test_as_alpaca_eval_computes_them(data_dir: Path) -> None:
    metrics = pytest.importorskip("alpaca_eval.metrics", reason="alpaca_eval is not installed")
    given: list[dict[str, Any]] = [
        {"preference": p} for p in (1.0, 2.0, 1.5, 0, 1.4999, 1.72, None, -1)
    ]
    theirs = metrics.get_winrate(given)
    ours = [1.0, 2.0, 1.5, 1.5, 1.4999, 1.72, None, None]
    value, error = win_rate(ours)
    assert value == pytest.approx(theirs["win_rate"])
    assert error == pytest.approx(theirs["standard_error"])
    assert discrete_win_rate(ours) == pytest.approx(theirs["discrete_win_rate"])


def invented(preferences: list[float | None]) -> list[Annotation]:
    return [
        Annotation(f"i{n}", "x" * (30 + n % 7), "ref", "koala", "y" * (30 - n % 5), "m", "a", p)
        for n, p in enumerate(preferences)
    ]


def test_failed_annotations_stay_counted_and_visible() -> None:
    found = measure(invented([1.2, 1.9, 1.4] * 10 + [None] * 10), Upstream())
    assert (found.n, found.failed) == (40, 10)
    assert found.win_rate == pytest.approx(50)
    assert found.win_low is not None
    assert found.win_high is not None
    assert found.win_low < 50 < found.win_high
    assert "10 of 40 annotations are not usable" in found.notes[0]
    assert "as losses they would make it 37.50" in found.notes[0]
    assert found.lc_model == "length_controlled_minimal"
    assert any("instruction difficulties" in note for note in found.notes)


@pytest.mark.parametrize(("preference", "ends"), [(1.0, (0, 8.76)), (2.0, (91.24, 100))])
def test_losing_everything_is_not_certain(preference: float, ends: tuple[float, float]) -> None:
    """40 of 40 has the interval of any proportion, Wilson's: z² / (40 + z²) = 0.0876."""
    found = measure(invented([preference] * 40), Upstream())
    assert (found.win_low, found.win_high) == pytest.approx(ends, abs=0.01)
    assert found.lc_win_rate == pytest.approx(ends[0] if preference == 1 else ends[1], abs=0.1)
    assert (found.lc_low, found.lc_high) == (None, None)
    assert any("enough for an interval of the length-controlled" in note for note in found.notes)


def test_too_few_for_length_control_and_none_at_all() -> None:
    found = measure(invented([1.2, 1.9, None]), Upstream())
    assert found.win_rate == pytest.approx(55)
    assert found.lc_win_rate is None
    assert "2 usable annotations are too few for length control" in found.notes
    found = measure(invented([None] * 12), Upstream())
    assert (found.win_rate, found.failed, found.mean_length) == (None, 12, 28.25)
    assert found.notes == ["none of the 12 annotations is usable"]
