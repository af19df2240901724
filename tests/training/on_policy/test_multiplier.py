"""Multipliers against steps computed by hand."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from bfpo_bench.training.on_policy.multiplier import (
    Multiplier,
    ProjectedMultiplier,
    RectifiedMultiplier,
)
from bfpo_bench.training.pairwise.dual import best_multiplier, gather_samples


def test_the_multiplier_follows_its_constraint() -> None:
    multiplier = Multiplier(threshold=0.9, rate=0.5, value=2.0)
    multiplier.update(multiplier.shortfall(torch.tensor([0.2, 0.6])).item())
    assert multiplier.value == pytest.approx(2.0 * math.exp(0.5 * 2.0 * 0.5))
    risen = multiplier.value
    multiplier.update(-0.1)
    assert multiplier.value == pytest.approx(risen * math.exp(-0.5 * risen * 0.1))


def test_the_rectified_one_never_falls() -> None:
    """One lacks 0.7, the other has 0.1 too much: 0.35 and not 0.3 on average."""
    multiplier = RectifiedMultiplier(threshold=0.9, rate=0.5)
    multiplier.update(multiplier.shortfall(torch.tensor([0.2, 1.0])).item())
    assert multiplier.value == pytest.approx(1 + 0.5 * 0.35)
    multiplier.update(multiplier.shortfall(torch.tensor([0.9, 1.0])).item())
    assert multiplier.value == pytest.approx(1 + 0.5 * 0.35)


def test_projected_steps_go_down_the_dual() -> None:
    """C-DPO's: where policies are exactly π_λ, the steps end in the λ* of one-shot dualization."""
    prompts = ["a", "a", "a", "b", "b", "c", "c"]
    samples = gather_samples(
        prompts, [1.0, 0.4, 0.0, 0.9, 0.1, 0.3, 0.8], [0.0, 0.5, 1.0, 0.2, 1.0, 0.9, 0.7]
    )
    multiplier = ProjectedMultiplier(threshold=0.8, rate=2.0)
    for _ in range(200):
        multiplier.update(multiplier.threshold - samples.under(multiplier.value, 0.5, samples.safe))
    assert multiplier.value == pytest.approx(best_multiplier(samples, 0.5, 0.8), abs=1e-9)
    multiplier.update(-10.0)
    assert multiplier.value == 0
    multiplier.update(0.25)
    assert multiplier.value == 0.5


@pytest.mark.parametrize("kind", [Multiplier, RectifiedMultiplier])
def test_one_that_runs_away_is_held_and_told_once(
    kind: type[Multiplier], caplog: pytest.LogCaptureFixture
) -> None:
    multiplier = kind(threshold=0.9, largest=3.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            multiplier.update(1e5)  # e to 10,000 would be no number
    assert multiplier.value == 3.0
    assert len(caplog.messages) == 1
    assert "has reached its largest value, 3, and the constraint is still not met" in caplog.text
