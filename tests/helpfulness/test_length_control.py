"""The length-controlled win rate: against published values, scikit-learn and alpaca_eval's code."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import bootstrap_weights
from bfpo_bench.helpfulness import upstream as files
from bfpo_bench.helpfulness.annotation import Annotation, read_annotations
from bfpo_bench.helpfulness.gamed import GAMED_BASELINES, Published, rebuild_gamed
from bfpo_bench.helpfulness.length_control import (
    STRENGTHS,
    Comparisons,
    Gamed,
    bootstrap_length_control,
    fit_length_control,
    fit_logistic,
    sigmoid,
)
from bfpo_bench.helpfulness.metrics import comparisons, measure
from bfpo_bench.helpfulness.upstream import Upstream, read_upstream
from tests.helpfulness.real import MODELS, annotations_file, instructions, leaderboard, table

WEIGHTS = "length_controlled_weights_baseline_gpt4_1106_preview.csv"


@pytest.fixture(scope="module")
def upstream(data_dir: Path) -> Upstream:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_from_hub", lambda name: None)
        return read_upstream(data_dir, instructions(data_dir))


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine's cache holds must not decide what a test sees."""
    monkeypatch.setattr(files, "_from_hub", lambda name: None)


def real(data_dir: Path, model: str) -> list[Annotation]:
    return read_annotations(annotations_file(data_dir, model))


# -------------------------------------------------------------------------- the solver


def test_scikit_learn_finds_the_same_coefficients() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(3)
    x = np.stack([np.tanh(rng.normal(size=90)), rng.normal(size=90), np.ones(90)], axis=1)
    p, s = rng.random(90) ** 2, rng.random(90)
    for strength in (0.05, 0.5, 20.0):
        model = linear.LogisticRegression(
            C=strength,
            l1_ratio=1,
            solver="liblinear",
            fit_intercept=False,
            tol=1e-10,
            max_iter=9999,
        )
        # Fractional labels: each row once as a win and once as a loss.
        twice, won = np.concatenate([x, x]), np.repeat([1, 0], 90)
        model.fit(twice, won, sample_weight=np.concatenate([s * p, s * (1 - p)]))
        found = fit_logistic(x.T[:, None], p, s[None], np.array([1 / strength]))
        assert found[:, 0] == pytest.approx(model.coef_[0], abs=2e-4)


def test_the_penalty_in_closed_form() -> None:
    """With a constant alone, n·(σ(w) − p) = −λ·sign(w); and 0 where λ is large enough."""
    ones, p = np.ones((1, 1, 40)), np.full(40, 0.2)
    [[small, large]] = fit_logistic(ones, p, np.ones((2, 40)), np.array([2.0, 13.0]))
    assert sigmoid(small) == pytest.approx(0.2 + 2 / 40)
    assert large == 0


def test_separable_data_has_a_minimum() -> None:
    x = np.array([[[-2.0, -1.0, 1.0, 2.0]]])
    p = np.array([0.0, 0.0, 1.0, 1.0])
    [[w]] = fit_logistic(x, p, np.ones((1, 4)), np.array([1e-3]))
    values = x[0, 0]
    gradient = float((values * (sigmoid(values * w) - p)).sum())
    assert w > 5
    assert gradient == pytest.approx(-1e-3, rel=1e-4)


# -------------------------------------------------------------- against what is published


@pytest.mark.parametrize("model", MODELS)
def test_published_weights_give_the_published_win_rate(
    data_dir: Path, upstream: Upstream, model: str
) -> None:
    found = measure(real(data_dir, model), upstream)
    published = float(leaderboard(data_dir)[model]["length_controlled_winrate"])
    assert found.lc_published == pytest.approx(published, abs=1e-4)
    # The own fit, within a point, and its interval.
    assert found.lc_win_rate == pytest.approx(published, abs=0.3)
    assert found.lc_low is not None
    assert found.lc_high is not None
    assert found.lc_low < published < found.lc_high
    assert 2 < found.lc_high - found.lc_low < 8
    assert found.lc_model == "length_controlled_v1 (rebuilt)"
    assert any("df_gamed.csv" in note and "rebuilt" in note for note in found.notes)
    assert any("instruction_difficulty.csv" in note for note in found.notes)


def test_every_published_win_rate_from_its_weights(data_dir: Path, upstream: Upstream) -> None:
    board = leaderboard(data_dir)
    difficulty = np.array(list(upstream.difficulty.values()))
    close = [
        abs(Published(*weights, 0, 0).controlled(difficulty) - float(value)) < 1e-4
        for model, weights in upstream.weights.items()
        if (value := board.get(model, {}).get("length_controlled_winrate"))
    ]
    # The difficulties are recovered from 189 of these; the others were fitted with other files.
    assert sum(close) >= 189
    assert len(close) < 210


@pytest.mark.parametrize("model", MODELS)
def test_a_published_fit_gives_its_penalty_away(
    data_dir: Path, upstream: Upstream, model: str
) -> None:
    """At the minimum Σ (p − σ) = sign(θ) / C, with C one of the ten that are tried here."""
    rows = comparisons(real(data_dir, model), upstream)
    weights = Published(*upstream.weights[model], 0, 0)
    lengths = np.tanh(rows.length_difference / rows.length_difference.std(ddof=1))
    assert rows.difficulty is not None
    left = (rows.preference - weights.chances(lengths, rows.difficulty)).sum()
    assert np.sign(left) == np.sign(weights.model)
    nearest = STRENGTHS[np.abs(np.log(STRENGTHS * abs(left))).argmin()]
    assert abs(left) == pytest.approx(1 / nearest, rel=0.04)
    assert 1 < nearest < 100


def test_rebuilt_baselines_have_their_published_win_rates(
    data_dir: Path, upstream: Upstream
) -> None:
    assert upstream.gamed is not None
    board, weights = leaderboard(data_dir), table(data_dir, WEIGHTS)
    halves = np.split(upstream.gamed.preference, 2)
    lengths = np.split(upstream.gamed.length, 2)
    assert set(GAMED_BASELINES) < set(weights)
    for name, preference, length in zip(GAMED_BASELINES, halves, lengths, strict=True):
        # Pairing lengths and difficulties at random moves the mean a little.
        assert 100 * preference.mean() == pytest.approx(float(board[name]["win_rate"]), abs=0.5)
        longer = float(board[name]["avg_length"]) > float(board["gpt4_1106_preview"]["avg_length"])
        assert (length.mean() < 0) == longer


@pytest.mark.parametrize("model", MODELS)
def test_alpaca_evals_own_code_on_the_same_files(
    data_dir: Path,
    upstream: Upstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    glm = pytest.importorskip("alpaca_eval.metrics.glm_winrate", reason="needs alpaca_eval, patsy")
    pandas = pytest.importorskip("pandas")
    gamed = upstream.gamed
    assert gamed is not None
    columns = {
        "model": np.repeat(GAMED_BASELINES, 805),
        "index": np.tile(np.arange(805), 2),
        "instruction_difficulty": gamed.difficulty,
        "std_delta_len": np.arctanh(gamed.length),
        "preference": gamed.preference,
        "not_gamed_baseline": False,
    }
    pandas.DataFrame(columns).to_csv(tmp_path / "df_gamed.csv", index=False)
    monkeypatch.setattr(glm, "hf_hub_download", lambda **_: str(tmp_path / "df_gamed.csv"))
    frame = pandas.read_json(annotations_file(data_dir, model))
    theirs = glm.get_length_controlled_winrate(frame, save_weights_dir=tmp_path / "weights")
    ours = fit_length_control(comparisons(real(data_dir, model), upstream), gamed)
    assert ours.win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=0.02)


# ----------------------------------------------------------------------- what it is for


def simulated(bias: float, longer: float, count: int = 4000) -> Comparisons:
    """Equally good models of different lengths, judged by an annotator who likes length."""
    rng = np.random.default_rng(5)
    difference = rng.normal(-longer, 500, count)
    difficulty = rng.normal(0, 1, count)
    chance = sigmoid(bias * np.tanh(difference / difference.std(ddof=1)))
    return Comparisons((rng.random(count) < chance).astype(float), difference, difficulty)


def test_a_bias_for_length_is_taken_out() -> None:
    rows = simulated(bias=-1.5, longer=600)
    assert rows.preference.mean() > 0.65
    fit = fit_length_control(rows)
    assert fit.win_rate == pytest.approx(50, abs=4)
    assert fit.length == pytest.approx(-1.5, abs=0.25)
    # Without a bias there is nothing to take out.
    assert fit_length_control(simulated(bias=0, longer=600)).win_rate == pytest.approx(50, abs=4)


def test_equal_lengths_and_failed_annotations() -> None:
    preference = np.array([0.2, 0.6, math.nan, 0.4] * 20)
    rows = Comparisons(preference, np.zeros(80), None)
    fit = fit_length_control(rows)
    assert fit.length == fit.difficulty == 0
    assert fit.win_rate == pytest.approx(40, abs=2)
    drawn = bootstrap_length_control(rows, None, fit, bootstrap_weights(80, 50))
    assert np.isfinite(drawn).all()
    with pytest.raises(ValueError, match="5 usable preferences are too few"):
        fit_length_control(Comparisons(preference[:6], np.zeros(6), None))


def test_bootstrap_samples_are_refits(data_dir: Path, upstream: Upstream) -> None:
    """Weighting rows and repeating them are one; keeping C changes next to nothing."""
    rows = comparisons(real(data_dir, MODELS[0]), upstream)
    assert rows.difficulty is not None
    fit = fit_length_control(rows, upstream.gamed)
    rng = np.random.default_rng(1)
    for _ in range(4):
        drawn = rng.integers(0, 805, 805)
        again = fit_length_control(
            Comparisons(
                rows.preference[drawn], rows.length_difference[drawn], rows.difficulty[drawn]
            ),
            upstream.gamed,
        )
        counts = np.bincount(drawn, minlength=805)[None].astype(float)
        [weighted] = bootstrap_length_control(rows, upstream.gamed, fit, counts)
        tolerance = 1e-3 if again.strength == fit.strength else 0.2
        assert weighted == pytest.approx(again.win_rate, abs=tolerance)


def test_resampling() -> None:
    weights = bootstrap_weights(805, 400)
    assert weights.sum(axis=1) == pytest.approx(np.full(400, 805))
    assert weights.var() == pytest.approx(1, abs=0.05)
    assert (bootstrap_weights(805, 400) == weights).all()
    assert not (bootstrap_weights(805, 400, seed=1) == weights).any()


# ----------------------------------------------------------------------------- the files


def copied(data_dir: Path, tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "alpacaeval"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((data_dir / "alpacaeval" / name).read_bytes())
    return tmp_path


def test_what_is_missing_is_said(data_dir: Path, tmp_path: Path) -> None:
    asked = instructions(data_dir)
    nothing = read_upstream(None, asked)
    assert nothing.difficulty == {}
    assert nothing.fitted(False) == "length_controlled_minimal"
    some = read_upstream(copied(data_dir, tmp_path, files.DERIVED), asked)
    assert some.gamed is None
    assert some.fitted(True) == "length_controlled_noreg"
    assert any("without gamed baselines (df_gamed.csv" in note for note in some.notes("me", True))
    assert any("as upstream uses them for every annotator" in n for n in some.notes("me", True))


def test_the_real_gamed_file_is_taken_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "model,index,instruction_difficulty,std_delta_len,preference,not_gamed_baseline\n"
        "v,0,0.5,-1.0,0.7,False\nv,1,-0.25,-2.0,,False\nc,0,0.5,1.0,0.2,False\nc,1,-0.25,2.0,0.1,F\n"
    )
    (tmp_path / "alpacaeval").mkdir()
    (tmp_path / "alpacaeval" / "df_gamed.csv").write_text(text)
    found = read_upstream(tmp_path, ["one", "two"])
    assert found.difficulty == {"one": 0.5, "two": -0.25}
    assert found.gamed is not None
    assert found.gamed.length == pytest.approx(np.tanh([-1, 1, 2]))
    assert found.gamed.preference.tolist() == [0.7, 0.2, 0.1]
    assert found.fitted(True) == "length_controlled_v1"
    assert found.notes(files.OFFICIAL_ANNOTATOR, True) == []
    # From the hub just the same.
    path = tmp_path / "alpacaeval" / "df_gamed.csv"
    monkeypatch.setattr(files, "_from_hub", lambda name: path if name == path.name else None)
    assert read_upstream(None, ["one", "two"]).difficulty == found.difficulty
    with pytest.raises(BadInput, match="has difficulties of 2 instructions and not of the 3 from"):
        read_upstream(None, ["one", "two", "three"])


def test_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    asked = []

    def download(repo: str, name: str, repo_type: str, local_files_only: bool) -> str:
        asked.append((repo, name, repo_type))
        if name != "df_gamed.csv":
            raise OSError("no network")
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert files._from_hub("df_gamed.csv") == tmp_path / "df_gamed.csv"
    assert files._from_hub("instruction_difficulty.csv") is None
    assert asked[0] == ("tatsu-lab/alpaca_eval", "df_gamed.csv", "dataset")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (files.WEIGHTS, "a,b\n1,2\n", "is not the file of AlpacaEval that its name says"),
        (files.WEIGHTS, "", "it has no column"),
        (files.DERIVED, "index,instruction_difficulty\n0,x\n", "has 'x' where a number should be"),
        (files.DERIVED, "index,d\n0,1.0\n5,1.0\n", "fetch it again from tatsu-lab/alpaca_eval"),
        (files.GAMED, "\udcff", "cannot be read as CSV"),
    ],
)
def test_files_that_are_not_what_they_should_be(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / "alpacaeval").mkdir()
    path = tmp_path / "alpacaeval" / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=said):
        read_upstream(tmp_path, ["one", "two"])


def test_weights_and_leaderboard_that_do_not_go_together(data_dir: Path, tmp_path: Path) -> None:
    folder = copied(data_dir, tmp_path, files.DERIVED, files.WEIGHTS, files.LEADERBOARD)
    path = folder / "alpacaeval" / files.LEADERBOARD
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("verbose,64.30", "verbose,99.30"), encoding="utf-8")
    with pytest.raises(BadInput, match="do not go together: no spread of lengths gives"):
        read_upstream(folder, instructions(data_dir))


def test_rebuilding_needs_a_possible_win_rate() -> None:
    certain = Published(0.0, 0.0, 0.0, win_rate=80, mean_length=900)
    with pytest.raises(ValueError, match=r"no spread of lengths gives a win rate of 80\.00"):
        rebuild_gamed((certain, certain), 1000, np.zeros(20))


def test_published_weights_of_other_annotations(
    data_dir: Path, tmp_path: Path, upstream: Upstream
) -> None:
    annotations = real(data_dir, MODELS[1])
    named = data_dir / "alpacaeval" / WEIGHTS
    mine = replace(upstream, weights_file=named)
    rows = comparisons(annotations, mine)
    # Another annotator, who likes the model better.
    kinder = replace(rows, preference=np.sqrt(rows.preference))
    one, rate = replace(annotations[0], annotator="me"), 100 * float(kinder.preference.mean())
    with pytest.raises(BadInput, match="they are of another annotator or of other outputs"):
        mine.published(one, kinder, rate)
    # Not asked for, they are left out: silently for another annotator, by a note for the official.
    assert upstream.published(one, kinder, rate) == (None, [])
    none, [note] = upstream.published(annotations[0], kinder, rate)
    assert none is None
    assert "predict a win rate of 4.80 %" in note
    with pytest.raises(BadInput, match="has no weights of somebody; leave --weights out"):
        mine.published(replace(one, generator_2="somebody"), rows, 5.0)
    other = replace(mine, weights={**mine.weights, "gpt-5": (0.0, 0.1, 0.2)})
    with pytest.raises(BadInput, match="are not relative to gpt-5, which these annotations"):
        other.published(replace(one, generator_1="gpt-5"), rows, 5.0)
    with pytest.raises(BadInput, match="need the instruction difficulties"):
        mine.published(one, replace(rows, difficulty=None), 5.0)


def test_gamed_rows_pull_the_length_effect() -> None:
    """The regularisation does what it is for: weights 0.1 a row, no model term."""
    rows = simulated(bias=0, longer=0, count=100)
    pull = Gamed(np.tile([0.9, -0.9], 2000), np.zeros(4000), np.tile([0.1, 0.9], 2000))
    assert fit_length_control(rows, pull).length < fit_length_control(rows).length - 1
