"""Section 3.4: the orders and the closed forms, and the files that show them."""

from __future__ import annotations

import csv
import inspect
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bfpo_bench.cli import illustrate as command
from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.illustration import figure as example
from bfpo_bench.training.illustration.four_actions import (
    METHODS,
    Curve,
    closed_form,
    learn,
    ranking,
)

ORDERS = {
    "bfpo": "y1 > y3 > y4 > y2",
    "bfpo-no-shift": "y1 > y3 > y2 > y4",
    "dpo": "y1 > y2 > y3 > y4",
    "ipo": "y1 > y2 > y3 > y4",
}
# Targets of the six pairs 12, 13, 14, 23, 24, 34 with I = (1, 0, 1, 0).
TARGETS = {
    "bfpo": [1, 0.5, 1, -1, -0.5, 1],
    "bfpo-no-shift": [1.5, 1, 1.5, -0.5, 0, 1.5],
    "ipo": [0.5] * 6,
}


@pytest.fixture(scope="module")
def curves() -> list[Curve]:
    return learn([0.4, 1.0], seed=3, steps=500, repeats=3)


@pytest.mark.parametrize(
    ("method", "logits"),
    [
        ("bfpo", [0.625, -0.625, 0.375, -0.375]),  # FACTS: Section 3.4 of the paper
        ("bfpo-no-shift", [1, -0.5, 0.25, -0.75]),
        ("ipo", [0.375, 0.125, -0.125, -0.375]),  # (3, 1, -1, -3)/4 of the target 1/2
    ],
)
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_closed_forms(method: str, logits: list[float], tau: float) -> None:
    found = closed_form(method, tau)
    assert found is not None
    expected = torch.tensor(logits, dtype=torch.float64) / tau
    assert torch.allclose(found - found.mean(), expected - expected.mean())

    pairs = np.zeros((6, 4))
    for row, (first, second) in enumerate([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]):
        pairs[row, first], pairs[row, second] = 1, -1
    solved = np.linalg.lstsq(pairs, np.array(TARGETS[method]) / tau, rcond=None)[0]
    assert np.allclose(found - found.mean(), solved)


def test_dpo_has_no_closed_form() -> None:
    assert closed_form("dpo", 0.1) is None


def test_every_run_ends_in_the_order_of_the_closed_form(curves: list[Curve]) -> None:
    assert [(curve.tau, curve.method) for curve in curves] == [
        (tau, method) for tau in (0.4, 1.0) for method in METHODS
    ]
    for curve in curves:
        assert curve.orders == [ORDERS[curve.method]] * 3
        assert curve.order == curve.expected_order == ORDERS[curve.method]


def test_what_is_learned_is_the_closed_form(curves: list[Curve]) -> None:
    for curve in curves:
        if curve.method == "dpo":
            assert curve.distance is None
        else:
            assert curve.distance is not None
            assert curve.distance < 0.03


def test_dpo_runs_away(curves: list[Curve]) -> None:
    for curve in curves:
        if curve.method == "dpo":
            spread = curve.log_policy[:, :, 0] - curve.log_policy[:, :, 3]
            assert (spread[1:] > spread[:-1]).all()
            assert (spread[-1] > 5).all()


def test_records(curves: list[Curve]) -> None:
    assert curves[0].steps == tuple(range(0, 501, 10))
    assert curves[0].log_policy.shape == (51, 3, 4)
    assert torch.allclose(curves[0].log_policy[0].exp(), torch.tensor(0.25, dtype=torch.float64))
    assert learn([1.0], seed=0, steps=13, repeats=1)[0].steps == (0, 10, 13)


def test_runs_side_by_side_are_runs_one_by_one() -> None:
    together = learn([0.2, 1.0], seed=5, steps=30, repeats=2)
    alone = learn([1.0], seed=6, steps=30, repeats=1)  # the second repeat of the second τ
    for one, other in zip(together[4:], alone, strict=True):
        assert torch.equal(one.log_policy[:, 1:], other.log_policy)


def test_ranking() -> None:
    assert ranking(torch.tensor([0.1, -3.0, 0.7, 0.2])) == "y3 > y4 > y1 > y2"


def test_files(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    found = example.illustrate(folder, [1.0, 0.01, 1.0], seed=1, steps=25, repeats=2)
    assert [curve.tau for curve in found] == [0.01] * 4 + [1.0] * 4

    with (folder / "illustration.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 2 * 4  # τ × methods × repeats × records at 0, 10, 20, 25
    for row in rows:
        assert sum(float(row[f"y{index}"]) for index in range(1, 5)) == pytest.approx(1, abs=1e-5)
    last = rows[-1]
    assert (last["method"], last["tau"], last["repeat"], last["step"]) == ("ipo", "1.0", "1", "25")
    assert float(last["y1"]) == pytest.approx(found[-1].log_policy[-1, 1, 0].exp().item(), rel=1e-5)

    summary = json.loads((folder / "illustration.json").read_text(encoding="utf-8"))
    assert (summary["seed"], summary["steps"], summary["repeats"]) == (1, 25, 2)
    assert summary["taus"] == [0.01, 1.0]
    assert summary["results"][0]["closed_form_order"] == summary["desired_order"]
    assert summary["results"][2]["closed_form"] is None

    assert (folder / "illustration.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "illustration.svg").read_bytes()
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    example.illustrate(folder, [0.01, 1.0], seed=1, steps=25, repeats=2)
    assert (folder / "illustration.svg").read_bytes() == svg


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"taus": [0.1, 0.0]}, "tau must be a number above 0"),
        ({"taus": [float("nan")]}, "tau must be a number above 0, not nan"),
        ({"taus": []}, "tau must be a number above 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"repeats": -1}, "repeats must be at least 1, not -1"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_bad_values(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        example.illustrate(tmp_path, **changes)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match=r"cannot write .*file \(it is a file\); choose another"):
        example.illustrate(tmp_path / "file", [1.0], steps=1)
    (tmp_path / "illustration.csv").mkdir()
    with pytest.raises(BadInput, match=r"illustration.csv \(it is a folder\); choose another"):
        example.illustrate(tmp_path, [1.0], steps=1)


def test_the_command(tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path), "--tau", "1", "--steps", "400", "--repeats", "2"]
    done = CliRunner().invoke(app, ["illustrate", *arguments], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    lines = {
        cells[1].strip(): [cell.strip() for cell in cells[2:5]]
        for line in done.output.splitlines()
        if len(cells := line.strip("│").split("│")) == 6
    }
    assert lines["BFPO"] == ["y1 > y3 > y4 > y2 ✓", "2 of 2", "y1 > y3 > y4 > y2"]
    assert lines["DPO"] == ["y1 > y2 > y3 > y4", "2 of 2", "y1 > y2 > y3 > y4 (limit)"]
    assert f"Files: {tmp_path}/illustration.png" in done.output


def test_the_command_has_the_defaults_of_the_function() -> None:
    """They are written down twice, because help must not load torch."""
    mine = inspect.signature(command.illustrate).parameters
    theirs = inspect.signature(example.illustrate).parameters
    assert tuple(mine["tau"].default) == theirs["taus"].default
    for name in ("seed", "steps", "repeats"):
        assert mine[name].default == theirs[name].default
