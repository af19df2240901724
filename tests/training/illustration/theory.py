"""Closed forms on a finite set of actions: where BFPO's two objectives agree, and by how much not.

One prompt, finitely many responses ("actions"), everything known: the reference policy, how likely
each action is preferred to each other, how likely it is safe. Then both sides of Theorems 3.1 and
3.2 of Zhang et al. 2024 (arXiv 2408.15313) can be written down and compared: the solution of the
reinforcement-learning problem with the global reward, and the minimiser of the supervised loss. All
tensors are float64. The derivation is in docs/losses.md.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, bfpo_label


@dataclass(frozen=True)
class Actions:
    """Everything there is to know about the responses to one prompt.

    Attributes:
        reference: [actions], π_ref, positive and of sum 1; both responses of a pair come from it.
        helpful: [actions, actions], ``p_help(row ≻ column)``; transposed entries add up to 1.
        safe: [actions], p_safe.

    Raises:
        BadInput: not of that form.
    """

    reference: Tensor
    helpful: Tensor
    safe: Tensor

    def __post_init__(self) -> None:
        count = len(self.reference)
        if self.helpful.shape != (count, count) or self.safe.shape != (count,):
            raise BadInput(
                f"for {count} actions the preferences must have the shape [{count}, {count}] and "
                f"the safety [{count}], not {list(self.helpful.shape)} and {list(self.safe.shape)}."
            )
        if not (self.reference > 0).all() or abs(self.reference.sum().item() - 1) > 1e-9:
            raise BadInput("the reference policy must be positive everywhere and sum to 1.")
        if not torch.allclose(self.helpful + self.helpful.T, torch.ones_like(self.helpful)):
            raise BadInput("the preferences p(a over b) and p(b over a) must add up to 1.")
        for name, values in (("preferences", self.helpful), ("safety", self.safe)):
            if values.min() < 0 or values.max() > 1:
                raise BadInput(f"the {name} must be probabilities, from 0 to 1.")

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

    Args:
        actions: what there is to choose from.
        alpha, b1, b2: of the label, with B3 = 1/(B1 - 1). Theorem 3.2 is for α = 0.
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
        weight = _bernoulli(safe, row_safe)[:, None] * _bernoulli(safe, column_safe)[None, :]
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

    Args:
        actions: what there is to choose from.
        log_policy: [actions], log-probabilities; a constant added to all of them does not matter.
        tau, alpha, b1, b2: of the loss.
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
            * _bernoulli(actions.safe[first], first_safe)
            * _bernoulli(actions.safe[second], second_safe)
        )
        total = total + probability @ loss
    return total


def _bernoulli(probability: Tensor, outcome: float) -> Tensor:
    return probability if outcome else 1 - probability
