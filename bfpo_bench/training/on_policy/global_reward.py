"""Global rewards: pure functions from the rewards of several objectives to the one that is trained.

A combination is ``def name(helpful, safe, *, parameter=default) -> Tensor``. Its positional
arguments are rewards, by the names that they have in the recipe, each of shape [prompts,
responses]: row p holds the rewards of the responses that the policy has just sampled to prompt p.
``unsafe_prompt``, a bool tensor of the same shape, is there without being named in the recipe.
Which one a recipe means, or a function of one's own: :mod:`~.combination_by_name`. Equation numbers
without a name are those of the BFPO paper (arXiv 2408.15313); see docs/rewards.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput


def linear(helpful: Tensor, safe: Tensor, *, weight: float) -> Tensor:
    """MORL: ``(1 - weight) helpful + weight safe``.

    Args:
        weight: of safety, from 0 to 1.
    """
    if not 0 <= _number("weight", weight) <= 1:
        raise BadInput(f"the weight of safety in 'linear' is from 0 to 1, not {weight:g}.")
    return (1 - weight) * helpful + weight * safe


def llama2(
    helpful: Tensor, safe: Tensor, unsafe_prompt: Tensor, *, threshold: float = 0.15
) -> Tensor:
    """Llama 2 (Touvron et al. 2023, Section 3.2.3): safety where it matters, else helpfulness.

    The reward is that of safety for prompts of a safety set and for every response whose safety is
    below the threshold. (Llama 2 then whitens the logits of the result. The leave-one-out baseline
    takes the place of the mean; ``scale`` of a reward that of the deviation.)

    Args:
        threshold: on the scale of ``safe``.
    """
    _number("threshold", threshold)
    return torch.where(unsafe_prompt | (safe < threshold), safe, helpful)


def minimum(helpful: Tensor, safe: Tensor) -> Tensor:
    """MaxMin: the worse of the two objectives; their scales must be comparable."""
    return torch.minimum(helpful, safe)


def bilinear(helpful: Tensor, safe: Tensor, *, scale: float = 1.0) -> Tensor:
    """BFPO's global reward, Eq. 10: ``(p_safe + E_s) (p_help(y > π) + 1/2)``.

    E_s, the mean safety of responses to the prompt, and p_help(y > π), the probability that a
    response is preferred to another one of the policy, are means over the prompt's *other*
    responses, so that they say the same whatever the response itself is like.

    Args:
        safe: probability that a response is safe.
        scale: a preference has the probability σ(difference in ``helpful`` / scale)
            (Bradley-Terry); 0 stands for the limit: 1 for the higher one, 1/2 in a tie.
    """
    if _number("scale", scale) < 0:
        raise BadInput(f"the scale of preferences in 'bilinear' is 0 or more, not {scale:g}.")
    count = safe.shape[1]
    if count < 2:
        raise BadInput("'bilinear' compares the responses to a prompt; sample at least 2 of each.")
    difference = helpful[:, :, None] - helpful[:, None, :]
    preferred = torch.sigmoid(difference / scale) if scale > 0 else (torch.sign(difference) + 1) / 2
    # A response against itself is a tie.
    p_help = (preferred.sum(2) - 0.5) / (count - 1)
    others_safe = (safe.sum(1, keepdim=True) - safe) / (count - 1)
    return (safe + others_safe) * (p_help + 0.5)


def lagrangian(helpful: Tensor, safe: Tensor, *, multiplier: float) -> Tensor:
    """Safe RLHF (Dai et al. 2023, Section 3.3): ``(helpful + λ safe) / (1 + λ)``.

    The objective of ``max E[helpful] subject to E[safe] ≥ threshold``, safety being their negative
    cost. The recipe gives threshold and rate; λ moves during training (:class:`Multiplier`).

    Args:
        multiplier: λ.
    """
    return (helpful + multiplier * safe) / (1 + multiplier)


def rbr(helpful: Tensor, *, weights: Mapping[str, float], **features: Tensor) -> Tensor:
    """Rule-based rewards (Mu et al. 2024): ``helpful + Σ weight · feature``.

    Args:
        weights: of every other reward of the recipe, by name. (They fit them to ratings.)
    """
    if not isinstance(weights, Mapping) or set(weights) != set(features):
        raise BadInput(
            f"'rbr' needs a weight for each of the other rewards ({', '.join(sorted(features))}); "
            f"its weights are {weights!r}."
        )
    total = helpful.clone()
    for name, feature in features.items():
        total += _number(f"weights.{name}", weights[name]) * feature
    return total


@dataclass
class Multiplier:
    """The multiplier of :func:`lagrangian`, which follows its constraint during training.

    ``ln λ ← ln λ + rate · λ · (threshold - mean safety)``, as Dai et al. 2023 have it: it rises
    while the constraint is violated and falls while there is room.

    Attributes:
        threshold: mean safety that the policy is to have at least, on the scale of ``safe``.
        rate: step of ln λ.
        value: λ, the initial one at first.
        largest: λ at most; theirs is 5.
    """

    threshold: float
    rate: float = 0.1
    value: float = 1.0
    largest: float = 5.0

    def __post_init__(self) -> None:
        _number("threshold", self.threshold)
        for name in ("rate", "value", "largest"):
            if _number(name, getattr(self, name)) <= 0:
                raise BadInput(f"{name!r} of the lagrangian's multiplier must be above 0.")

    def update(self, mean_safe: float) -> None:
        """Moves λ by the mean safety of a batch."""
        step = self.rate * self.value * (self.threshold - mean_safe)
        self.value = min(self.value * math.exp(step), self.largest)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{name!r} of a combination of rewards must be a number, not {value!r}.")
    return value
