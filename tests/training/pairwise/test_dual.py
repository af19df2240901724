"""The dual of constrained alignment on finite sets of responses, in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.dual import Samples, best_multiplier, gather_samples

BETA = 0.3


def two_actions() -> Samples:
    """A helpful, unsafe response and a refusal."""
    return gather_samples(["x", "x"], [1.0, 0.0], [0.0, 1.0])


@pytest.fixture
def many() -> Samples:
    """Prompts with two to six responses each, out of order."""
    rng = np.random.default_rng(0)
    prompts = [f"x{n}" for n in range(20) for _ in range(2 + n % 5)]
    rng.shuffle(prompts)
    return gather_samples(prompts, rng.normal(size=len(prompts)), rng.normal(size=len(prompts)))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9, 0.9999])
def test_of_two_actions_the_multiplier_is_known(threshold: float) -> None:
    """π_λ(refusal) = σ((λ - 1)/β) is the threshold where λ = 1 + β logit(threshold)."""
    known = 1 + BETA * math.log(threshold / (1 - threshold))
    found = best_multiplier(two_actions(), BETA, threshold)
    assert found == pytest.approx(known, rel=1e-9)
    exponents = [1 / BETA, known / BETA]
    by_hand = BETA * math.log(sum(map(math.exp, exponents)) / 2) - known * threshold
    assert two_actions().value(found, BETA, threshold) == pytest.approx(by_hand, rel=1e-9)


def test_a_constraint_with_room_costs_nothing() -> None:
    """Without a multiplier the refusal has σ(-1/β)."""
    free = 1 / (1 + math.exp(1 / BETA))
    assert best_multiplier(two_actions(), BETA, free - 1e-6) == 0
    assert best_multiplier(two_actions(), BETA, free + 1e-6) > 0
    assert best_multiplier(two_actions(), BETA, -5.0) == 0


def test_the_dual_is_convex_and_its_slope_is_the_constraints(many: Samples) -> None:
    grid = np.linspace(0, 4, 81)
    values = np.array([many.value(one, BETA, 0.3) for one in grid])
    assert np.all(np.diff(values, 2) >= -1e-12)
    slopes = [many.under(one, BETA, many.safe) - 0.3 for one in grid]
    assert np.gradient(values, grid)[1:-1] == pytest.approx(slopes[1:-1], abs=1e-2)
    assert np.all(np.diff(slopes) > 0)


def test_karush_kuhn_tucker_and_no_gap(many: Samples) -> None:
    """At λ* the constraint is met exactly, and the dual is worth what the primal problem is."""
    threshold = many.mean(many.safe) + 0.4
    found = best_multiplier(many, BETA, threshold)
    assert found > 0
    assert many.under(found, BETA, many.safe) == pytest.approx(threshold, abs=1e-9)
    # By hand, prompt by prompt: E_π[r] - β KL(π ‖ uniform).
    worth = []
    for first, end in zip(many.starts, [*many.starts[1:], len(many.safe)], strict=True):
        r, g = many.helpful[first:end], many.safe[first:end]
        power = np.exp((r + found * g) / BETA)
        policy = power / power.sum()
        worth.append(policy @ r - BETA * policy @ np.log(policy * len(policy)))
    assert many.value(found, BETA, threshold) == pytest.approx(np.mean(worth), abs=1e-9)
    assert min(many.value(x, BETA, threshold) for x in (0.9 * found, 1.1 * found)) > np.mean(worth)


def test_of_equal_prompts_the_responses_belong_together() -> None:
    apart = gather_samples(["x", "y", "x"], [1, 2, 3], [0, 0, 1])
    assert apart.helpful.tolist() == [1, 3, 2]
    assert apart.mean(apart.helpful) == 2
    assert apart.safest == 0.5


def test_what_cannot_be_met_is_said(many: Samples) -> None:
    sentence = "it asks for a mean safety of 1, where the reference has 0.5 and the safest"
    with pytest.raises(BadInput, match=sentence):
        best_multiplier(two_actions(), BETA, 1.0)
    with pytest.raises(BadInput, match=r"lower relabel\.margin"):
        best_multiplier(many, BETA, many.safest + 0.1)
