"""Theorems 3.1 and 3.2 on finite action sets: exact where they hold, and by how much they fail.

One prompt, finitely many responses ("actions"), everything known: the reference policy, how likely
each action is preferred to each other, how likely it is safe. Then both sides of Theorems 3.1 and
3.2 of Zhang et al. 2024 (arXiv 2408.15313) can be written down and compared: the solution of the
reinforcement-learning problem with the global reward, and the minimiser of the supervised loss. All
tensors are float64. The derivation is in docs/losses.md.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, bfpo_label


@dataclass(frozen=True)
class Actions:
    """Everything there is to know about the responses to one prompt.

    Attributes:
        reference: [actions], π_ref, positive and of sum 1; both responses of a pair come from it.
        helpful: [actions, actions], ``p_help(row ≻ column)``; transposed entries add up to 1.
        safe: [actions], p_safe.
    """

    reference: Tensor
    helpful: Tensor
    safe: Tensor

    @property
    def win_rate(self) -> Tensor:
        """[actions], ``p_help(y ≻ π_ref)``: how often an action beats a reference draw."""
        return self.helpful @ self.reference

    @property
    def mean_safety(self) -> Tensor:
        """E_s, a scalar: how often a reference draw is safe."""
        return self.reference @ self.safe

    @property
    def covariance(self) -> Tensor:
        """[actions], ``Cov(p_help(y ≻ y'), p_safe(y'))`` over reference draws y'.

        Zero for every action where helpfulness and safety are uncorrelated under π_ref, as on a
        product space. Theorem 3.2 holds exactly where it is the same for all actions.
        """
        return self.helpful @ (self.reference * self.safe) - self.win_rate * self.mean_safety


def product(levels: Tensor, preference: Tensor, safety_levels: Tensor, safe: Tensor) -> Actions:
    """Actions made of a helpfulness level and a safety level, drawn independently.

    Args:
        levels: [helpfulness levels], their reference probabilities.
        preference: [helpfulness levels, helpfulness levels], ``p_help(row ≻ column)``.
        safety_levels: [safety levels], their reference probabilities.
        safe: [safety levels], p_safe of each.

    Returns:
        helpfulness levels × safety levels actions, the safety level running fastest.
    """
    ones = torch.ones(len(safe), len(safe), dtype=torch.float64)
    return Actions(
        reference=torch.kron(levels, safety_levels),
        helpful=torch.kron(preference, ones),
        safe=safe.repeat(len(levels)),
    )


def global_reward(
    actions: Actions, *, alpha: float = 0.0, b1: float = 3.0, b2: float = 0.0
) -> Tensor:
    """The reward that combines both objectives, [actions]: Eq. 10 and 11.

    ``g(y) = (p_safe(y) + E_s + A) (p_help(y ≻ π_ref) + 1/(B1 - 1))``. With the paper's constants
    A = 0 and the last term is 1/2. In general ``A = 2 (B2/(B1 - 1) - α)``: the shift of the label
    is the same thing as a smaller B2, and with α = 1/2 an action less safe than 1 - E_s is worth
    the less the more helpful it is.

    B3 of the label is 1/(B1 - 1). Theorem 3.2 is for α = 0.
    """
    b3 = 1 / (b1 - 1)
    offset = 2 * (b2 * b3 - alpha)
    return (actions.safe + actions.mean_safety + offset) * (actions.win_rate + b3)


def optimal_policy(actions: Actions, reward: Tensor, tau: float) -> Tensor:
    """[actions], what maximises ``E_π[reward] - τ KL(π‖π_ref)``: π_ref exp(reward/τ), normalised.

    Theorem 3.1, known from Rafailov et al. 2023, Eq. 4.
    """
    return torch.softmax(actions.reference.log() + reward / tau, dim=0)


def objective(actions: Actions, policy: Tensor, reward: Tensor, tau: float) -> Tensor:
    """``E_π[reward] - τ KL(π‖π_ref)``, a scalar: what the theorem's policy maximises."""
    divergence = policy @ (policy.log() - actions.reference.log())
    return policy @ reward - tau * divergence


def mean_label(actions: Actions, *, alpha: float = 0.0, b1: float = 3.0, b2: float = 0.0) -> Tensor:
    """[actions, actions], the expected label of (row, column): skew-symmetric.

    The expectation over what the labellers say: which of the two is more helpful, whether each is
    safe, all Bernoulli and independent given the pair.
    """
    safe = actions.safe
    total = torch.zeros_like(actions.helpful)
    for row_safe, column_safe in itertools.product((0.0, 1.0), repeat=2):
        weight = bernoulli(safe, row_safe)[:, None] * bernoulli(safe, column_safe)[None, :]
        labels = [
            bfpo_label(torch.tensor(first), torch.tensor(second), alpha=alpha, b1=b1, b2=b2)
            for first, second in ((row_safe, column_safe), (column_safe, row_safe))
        ]
        total += weight * (actions.helpful * labels[0] - actions.helpful.T * labels[1])
    return total


def supervised_minimiser(
    actions: Actions, tau: float, *, alpha: float = 0.0, b1: float = 3.0, b2: float = 0.0
) -> Tensor:
    """[actions], the policy that minimises the expected BFPO loss; there is one only.

    The loss is a weighted least-squares problem in the logits relative to π_ref, on a complete
    graph of pairs with weights π_ref(y) π_ref(y'). Its solution is the mean label of an action
    against all reference draws, over τ.
    """
    against_all = mean_label(actions, alpha=alpha, b1=b1, b2=b2) @ actions.reference
    return torch.softmax(actions.reference.log() + against_all / tau, dim=0)


def expected_loss(
    actions: Actions,
    log_policy: Tensor,
    tau: float,
    *,
    alpha: float = 0.0,
    b1: float = 3.0,
    b2: float = 0.0,
) -> Tensor:
    """The BFPO loss over all pairs of reference draws and all labels, a scalar; differentiable.

    Every case is enumerated with its probability and put through :func:`losses.bfpo` itself, the
    more helpful response as the chosen one.
    A constant added to all of ``log_policy`` does not matter.
    """
    count = len(actions.reference)
    first, second = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    first, second = first.flatten(), second.flatten()
    log_reference = actions.reference.log()
    total = torch.zeros((), dtype=torch.float64)
    for helpful, first_safe, second_safe in itertools.product((True, False), repeat=3):
        won, lost = (first, second) if helpful else (second, first)
        won_safe, lost_safe = (first_safe, second_safe) if helpful else (second_safe, first_safe)
        loss = bfpo(
            PairLogps(
                chosen=log_policy[won],
                rejected=log_policy[lost],
                ref_chosen=log_reference[won],
                ref_rejected=log_reference[lost],
                chosen_tokens=torch.ones_like(won),
                rejected_tokens=torch.ones_like(lost),
                chosen_safe=torch.full_like(won, won_safe, dtype=torch.bool),
                rejected_safe=torch.full_like(lost, lost_safe, dtype=torch.bool),
            ),
            tau=tau,
            alpha=alpha,
            b1=b1,
            b2=b2,
        )
        probability = (
            actions.reference[first]
            * actions.reference[second]
            * actions.helpful[won, lost]
            * bernoulli(actions.safe[first], first_safe)
            * bernoulli(actions.safe[second], second_safe)
        )
        total = total + probability @ loss
    return total


def bernoulli(probability: Tensor, outcome: float) -> Tensor:
    return probability if outcome else 1 - probability


TAU = 0.3
EXACT = 1e-10
SETTINGS = [{}, {"alpha": 0.5}, {"b1": 2.0, "b2": -0.4}, {"b1": 5.0, "b2": 1.0, "alpha": 0.2}]


def random_product(seed: int, helpfulness_levels: int = 4, safety_levels: int = 3) -> Actions:
    random = torch.Generator().manual_seed(seed)
    return product(
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
    reward = global_reward(actions)
    best = optimal_policy(actions, reward, TAU)
    most = objective(actions, best, reward, TAU)
    random = torch.Generator().manual_seed(100 + seed)
    for _ in range(20):
        other = simplex(len(best), random)
        less = objective(actions, other, reward, TAU)
        divergence = (other @ (other / best).log()).item()
        assert divergence > 0
        assert (most - less).item() == pytest.approx(TAU * divergence, abs=EXACT)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_theorem_3_2_both_problems_have_one_solution_on_a_product_space(
    seed: int, settings: dict[str, float]
) -> None:
    actions = random_product(seed)
    reward = global_reward(actions, **settings)
    best = optimal_policy(actions, reward, TAU)
    assert gap(supervised_minimiser(actions, TAU, **settings), best) < EXACT
    assert gap(normal_equations(actions, **settings), best) < EXACT
    # At that policy the loss itself, enumerated through losses.bfpo, has no slope.
    logits = best.log().requires_grad_()
    (slope,) = torch.autograd.grad(expected_loss(actions, logits, TAU, **settings), [logits])
    assert slope.abs().max() < EXACT


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_off_a_product_space_the_difference_is_the_covariance(
    seed: int, settings: dict[str, float]
) -> None:
    actions = random_actions(seed)
    reward = global_reward(actions, **settings)
    best = optimal_policy(actions, reward, TAU)
    found = normal_equations(actions, **settings)
    assert gap(supervised_minimiser(actions, TAU, **settings), found) < EXACT

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
        best = optimal_policy(actions, global_reward(actions), TAU)
        assert gap(supervised_minimiser(actions, TAU), best) < EXACT


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
    reward = global_reward(actions, alpha=0.5)
    # (1 + 1/2 - 1)(7/8 + 1/2), (0 - 1/2)(5/8 + 1/2), (1/2)(3/8 + 1/2), (-1/2)(1/8 + 1/2)
    assert reward.tolist() == [0.6875, -0.5625, 0.4375, -0.3125]
    best = optimal_policy(actions, reward, TAU)
    assert gap(supervised_minimiser(actions, TAU, alpha=0.5), best) < EXACT


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
    assert global_reward(actions).tolist() == pytest.approx([1.5925, 1.5725])
    # with the shift of 1/2 one is taken from the first factor
    shifted = global_reward(actions, alpha=0.5)
    assert shifted.tolist() == pytest.approx([0.3 * 1.225, 0.7 * 0.925])


def test_the_mean_label_is_skew_symmetric() -> None:
    label = mean_label(random_actions(3), alpha=0.5)
    assert gap(label, -label.T) < EXACT


def test_the_loss_is_strictly_convex_but_for_a_constant() -> None:
    """The Hessian has one direction without curvature, a constant on all logits: one minimiser."""
    actions = random_actions(1)
    logits = torch.zeros(7, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(
        lambda value: expected_loss(actions, value, TAU), logits
    )
    curvature = torch.linalg.eigvalsh(hessian)
    assert curvature[0].abs() < EXACT
    assert curvature[1] > 1e-3
    assert gap(hessian @ torch.ones_like(logits), torch.zeros_like(logits)) < EXACT


def test_the_minimiser_cannot_be_improved() -> None:
    actions = random_actions(2)
    best = supervised_minimiser(actions, TAU, alpha=0.5)
    least = expected_loss(actions, best.log(), TAU, alpha=0.5)
    random = torch.Generator().manual_seed(0)
    for _ in range(10):
        moved = best.log() + 0.1 * torch.randn(7, generator=random, dtype=torch.float64)
        assert expected_loss(actions, moved, TAU, alpha=0.5) > least


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
