"""Theorems 3.1 and 3.2 on finite action sets: exact where they hold, and by how much they fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput
from tests.training.illustration import theory
from tests.training.illustration.theory import Actions

TAU = 0.3
EXACT = 1e-10
SETTINGS = [{}, {"alpha": 0.5}, {"b1": 2.0, "b2": -0.4}, {"b1": 5.0, "b2": 1.0, "alpha": 0.2}]


def random_product(seed: int, helpfulness_levels: int = 4, safety_levels: int = 3) -> Actions:
    random = torch.Generator().manual_seed(seed)
    return theory.product(
        levels=simplex(helpfulness_levels, random),
        preference=preferences(helpfulness_levels, random),
        safety_levels=simplex(safety_levels, random),
        safe=torch.rand(safety_levels, generator=random, dtype=torch.float64),
    )


def random_actions(seed: int, count: int = 7) -> Actions:
    random = torch.Generator().manual_seed(seed)
    return Actions(
        reference=simplex(count, random),
        helpful=preferences(count, random),
        safe=torch.rand(count, generator=random, dtype=torch.float64),
    )


def simplex(count: int, random: torch.Generator) -> Tensor:
    return torch.randn(count, generator=random, dtype=torch.float64).softmax(0)


def preferences(count: int, random: torch.Generator) -> Tensor:
    upper = torch.rand(count, count, generator=random, dtype=torch.float64).triu(1)
    return upper + (1 - upper.T).tril(-1) + torch.eye(count, dtype=torch.float64) / 2


def centred(values: Tensor, actions: Actions) -> Tensor:
    """What is left of logits or rewards when a constant does not matter."""
    return values - values @ actions.reference


def gap(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


@pytest.mark.parametrize("seed", range(5))
def test_theorem_3_1_the_closed_form_solves_the_rl_problem(seed: int) -> None:
    """A policy falls short of the optimum by τ KL(policy‖optimum), so there is one optimum only."""
    actions = random_actions(seed)
    reward = theory.global_reward(actions)
    best = theory.optimal_policy(actions, reward, TAU)
    most = theory.objective(actions, best, reward, TAU)
    random = torch.Generator().manual_seed(100 + seed)
    for _ in range(20):
        other = simplex(len(best), random)
        less = theory.objective(actions, other, reward, TAU)
        divergence = (other @ (other / best).log()).item()
        assert divergence > 0
        assert (most - less).item() == pytest.approx(TAU * divergence, abs=EXACT)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_theorem_3_2_both_problems_have_one_solution_on_a_product_space(
    seed: int, settings: dict[str, float]
) -> None:
    actions = random_product(seed)
    reward = theory.global_reward(actions, **settings)
    best = theory.optimal_policy(actions, reward, TAU)
    assert gap(theory.supervised_minimiser(actions, TAU, **settings), best) < EXACT
    assert gap(normal_equations(actions, **settings), best) < EXACT
    # At that policy the loss itself, enumerated through losses.bfpo, has no slope.
    logits = best.log().requires_grad_()
    (slope,) = torch.autograd.grad(theory.expected_loss(actions, logits, TAU, **settings), [logits])
    assert slope.abs().max() < EXACT


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_off_a_product_space_the_difference_is_the_covariance(
    seed: int, settings: dict[str, float]
) -> None:
    actions = random_actions(seed)
    reward = theory.global_reward(actions, **settings)
    best = theory.optimal_policy(actions, reward, TAU)
    found = normal_equations(actions, **settings)
    assert gap(theory.supervised_minimiser(actions, TAU, **settings), found) < EXACT

    draws = actions.reference
    covariance = torch.stack(
        [  # from the definition: mean of the product of the deviations
            draws @ ((row - draws @ row) * (actions.safe - draws @ actions.safe))
            for row in actions.helpful
        ]
    )
    assert gap(actions.covariance, covariance) < EXACT
    difference = TAU * (found.log() - best.log())
    assert gap(centred(difference, actions), centred(covariance, actions)) < EXACT
    assert gap(found, best) > 1e-3  # and it is not nothing


def test_uncorrelated_is_enough() -> None:
    """No product, yet no covariance: all actions equally safe, or all equally helpful."""
    some = random_actions(0)
    same_safety = Actions(some.reference, some.helpful, torch.full_like(some.safe, 0.3))
    same_help = Actions(some.reference, torch.full_like(some.helpful, 0.5), some.safe)
    for actions in (same_safety, same_help):
        best = theory.optimal_policy(actions, theory.global_reward(actions), TAU)
        assert gap(theory.supervised_minimiser(actions, TAU), best) < EXACT


def test_a_covariance_that_all_actions_share_does_no_harm() -> None:
    """The four actions of Section 3.4 are no product space, and yet the theorem is exact there.

    Against a uniform y', the covariance of y1 is mean(1/2·1, 1·0, 1·1, 1·0) - 7/8·1/2 = -1/16, and
    so are the other three.
    """
    strict = torch.ones(4, 4, dtype=torch.float64).triu(1)
    actions = Actions(
        reference=torch.full((4,), 0.25, dtype=torch.float64),
        helpful=strict + torch.eye(4, dtype=torch.float64) / 2,
        safe=torch.tensor([1, 0, 1, 0], dtype=torch.float64),
    )
    assert actions.covariance.tolist() == [-1 / 16] * 4
    reward = theory.global_reward(actions, alpha=0.5)
    # (1 + 1/2 - 1)(7/8 + 1/2), (0 - 1/2)(5/8 + 1/2), (1/2)(3/8 + 1/2), (-1/2)(1/8 + 1/2)
    assert reward.tolist() == [0.6875, -0.5625, 0.4375, -0.3125]
    best = theory.optimal_policy(actions, reward, TAU)
    assert gap(theory.supervised_minimiser(actions, TAU, alpha=0.5), best) < EXACT


def test_the_global_reward_by_hand() -> None:
    """Two actions, drawn 1:3; the first preferred with 0.8, safe with 0.5; the second with 0.9."""
    actions = Actions(
        reference=torch.tensor([0.25, 0.75], dtype=torch.float64),
        helpful=torch.tensor([[0.5, 0.8], [0.2, 0.5]], dtype=torch.float64),
        safe=torch.tensor([0.5, 0.9], dtype=torch.float64),
    )
    # win rates 0.125 + 0.6 = 0.725 and 0.05 + 0.375 = 0.425; E_s = 0.125 + 0.675 = 0.8
    assert actions.win_rate.tolist() == pytest.approx([0.725, 0.425])
    assert actions.mean_safety.item() == pytest.approx(0.8)
    # (0.5 + 0.8)(0.725 + 0.5) and (0.9 + 0.8)(0.425 + 0.5)
    assert theory.global_reward(actions).tolist() == pytest.approx([1.5925, 1.5725])
    # with the shift of 1/2 one is taken from the first factor
    shifted = theory.global_reward(actions, alpha=0.5)
    assert shifted.tolist() == pytest.approx([0.3 * 1.225, 0.7 * 0.925])


def test_the_mean_label_is_skew_symmetric() -> None:
    label = theory.mean_label(random_actions(3), alpha=0.5)
    assert gap(label, -label.T) < EXACT


def test_the_loss_is_strictly_convex_but_for_a_constant() -> None:
    """The Hessian has one direction without curvature, a constant on all logits: one minimiser."""
    actions = random_actions(1)
    logits = torch.zeros(7, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(
        lambda value: theory.expected_loss(actions, value, TAU), logits
    )
    curvature = torch.linalg.eigvalsh(hessian)
    assert curvature[0].abs() < EXACT
    assert curvature[1] > 1e-3
    assert gap(hessian @ torch.ones_like(logits), torch.zeros_like(logits)) < EXACT


def test_the_minimiser_cannot_be_improved() -> None:
    actions = random_actions(2)
    best = theory.supervised_minimiser(actions, TAU, alpha=0.5)
    least = theory.expected_loss(actions, best.log(), TAU, alpha=0.5)
    random = torch.Generator().manual_seed(0)
    for _ in range(10):
        moved = best.log() + 0.1 * torch.randn(7, generator=random, dtype=torch.float64)
        assert theory.expected_loss(actions, moved, TAU, alpha=0.5) > least


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reference": torch.tensor([0.5, 0.6])}, "sum to 1"),
        ({"reference": torch.tensor([0.0, 1.0])}, "positive everywhere"),
        ({"helpful": torch.tensor([[0.5, 0.9], [0.9, 0.5]])}, "must add up to 1"),
        ({"helpful": torch.tensor([[0.5, 1.2], [-0.2, 0.5]])}, "preferences must be probabilities"),
        ({"safe": torch.tensor([0.5, -1.0])}, "safety must be probabilities"),
        ({"safe": torch.tensor([0.5])}, "for 2 actions .* the shape"),
    ],
)
def test_bad_action_sets(change: dict[str, Tensor], sentence: str) -> None:
    good = {
        "reference": torch.tensor([0.5, 0.5]),
        "helpful": torch.tensor([[0.5, 0.7], [0.3, 0.5]]),
        "safe": torch.tensor([0.5, 1.0]),
    }
    with pytest.raises(BadInput, match=sentence):
        Actions(**{**good, **change})


def normal_equations(
    actions: Actions, *, alpha: float = 0.0, b1: float = 3.0, b2: float = 0.0
) -> Tensor:
    """The loss's minimiser by least squares over all pairs, labels by Eq. 9 written out."""
    draws, helpful, safe = (
        value.numpy() for value in (actions.reference, actions.helpful, actions.safe)
    )
    count = len(draws)
    rows, targets = [], []
    for one in range(count):
        for other in range(count):
            won = (b1 * safe[one] - safe[other] + b2) / (b1 - 1) - alpha
            lost = (b1 * safe[other] - safe[one] + b2) / (b1 - 1) - alpha
            label = helpful[one, other] * won - helpful[other, one] * lost
            weight = np.sqrt(draws[one] * draws[other])
            row = np.zeros(count)
            row[one] += weight
            row[other] -= weight
            rows.append(row)
            targets.append(weight * label / TAU)
    logits = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    return torch.softmax(actions.reference.log() + torch.from_numpy(logits), dim=0)
