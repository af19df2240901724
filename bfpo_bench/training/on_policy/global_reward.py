"""Global rewards: pure functions from the rewards of several objectives to the one that is trained.

A combination is ``def name(helpful, safe, *, parameter=default) -> Tensor``. Its positional
arguments are rewards, by the names that they have in the recipe, each of shape [prompts,
responses]: row p holds the rewards of the responses that the policy has just sampled to prompt p.
``unsafe_prompt``, a bool tensor of the same shape, is there without being named in the recipe.
Which one a recipe means, or a function of one's own: :func:`load_combination`. Equation numbers
without a name are those of the BFPO paper (arXiv 2408.15313); see docs/rewards.md.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput, RunFailed, unknown_name
from bfpo_bench.common.imports import check_parameters, import_function, own_code
from bfpo_bench.training.on_policy.multiplier import Multiplier, RectifiedMultiplier, number

ROUNDING = 1e-9
"""Of a share of responses: 0.6 of 5 are 3, not 3.0000000000000004."""


def linear(helpful: Tensor, safe: Tensor, *, weight: float) -> Tensor:
    """MORL: ``(1 - weight) helpful + weight safe``.

    Args:
        weight: of safety, from 0 to 1.
    """
    if not 0 <= number("weight", weight) <= 1:
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
    number("threshold", threshold)
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
    if number("scale", scale) < 0:
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
        total += number(f"weights.{name}", weights[name]) * feature
    return total


def repo(helpful: Tensor, safe: Tensor, *, multiplier: float, threshold: float) -> Tensor:
    """RePO (Peng et al. 2024, arXiv 2410.19933): ``helpful - λ {threshold - safe}⁺``.

    The objective of ``max E[helpful] subject to safe ≥ threshold`` in every response: what one
    lacks of it is a loss, what another has beyond it is no gain, so none makes up for another. The
    cost is ``c = threshold - safe`` (of a cost model: ``scale: -1``, threshold 0). That the
    constraint is ``C(x, y) ≤ 0`` and the penalty ``{C(x, y)}⁺`` is known from the abstract and a
    summary; the paper's equations could not be had.

    Args:
        multiplier: λ, which moves during training (:class:`RectifiedMultiplier`).
        threshold: on the scale of ``safe``.
    """
    return helpful - multiplier * (threshold - safe).relu()


def cvar(helpful: Tensor, safe: Tensor, *, weight: float, alpha: float) -> Tensor:
    """The mean of the worst share α of a prompt's responses, of MORL's reward g.

    The conditional value at risk as Rockafellar and Uryasev 2000 write it: with v the α-quantile
    of the prompt's responses, ``v - {v - g}⁺ / α``. Its mean over them is the mean of the worst
    share, counting a part of one response where α is no whole number of them; its gradient is that
    of CVaR (Tamar et al. 2015), since only responses below v differ. Iterated CVaR (Chen et al.,
    "Provably efficient iterated CVaR reinforcement learning", ICLR 2024) takes it at each step of
    an episode; here the whole response is one step. Its algorithms are for linear models and not
    what this is.

    Args:
        weight: of safety in g, as in :func:`linear`.
        alpha: α, above 0 and at most 1, where this is :func:`linear`. Where it is one response or
            less, all are worth v.
    """
    if not 0 < number("alpha", alpha) <= 1:
        raise BadInput(f"the share 'alpha' in 'cvar' is above 0 and at most 1, not {alpha:g}.")
    total = linear(helpful, safe, weight=weight)
    count = total.shape[1]
    place = max(1, math.ceil(alpha * count - ROUNDING))
    quantile = total.sort(dim=1).values[:, place - 1, None]
    return quantile - (quantile - total).relu() / alpha


def multiplicative(helpful: Tensor, safe: Tensor) -> Tensor:
    """Helpfulness as far as it is safe: ``helpful · P(safe)``.

    In the spirit of Bührer et al. 2023 (arXiv 2303.04118), whose reward critic is discounted by a
    safety critic's probability of a violation; theirs are values of states, these are rewards of
    responses. An unsafe response is worth 0, and so is one of negative helpfulness: otherwise it
    would gain by being unsafe.

    Args:
        helpful: below 0 it counts as 0; ``shift`` of the reward moves it.
        safe: probability that a response is safe; beyond 0 and 1 it counts as these.
    """
    return helpful.clamp(min=0) * safe.clamp(0, 1)


BUILT_IN: dict[str, Callable[..., Tensor]] = {
    "bilinear": bilinear,
    "cvar": cvar,
    "lagrangian": lagrangian,
    "linear": linear,
    "llama2": llama2,
    "minimum": minimum,
    "multiplicative": multiplicative,
    "rbr": rbr,
    "repo": repo,
}

MULTIPLIERS = {"lagrangian": Multiplier, "repo": RectifiedMultiplier}
"""Those of the combinations that have one."""

UNSAFE_PROMPT = "unsafe_prompt"
"""The argument that is no reward: whether a prompt is of a set with ``unsafe_prompts: true``."""


@dataclass(frozen=True)
class Combination:
    """A combination with its parameters filled in.

    Attributes:
        name: as in the recipe.
        function: of the rewards it takes, by name.
        takes: those names.
        multiplier: of ``lagrangian`` and ``repo``; None for all others.
    """

    name: str
    function: Callable[..., Tensor]
    takes: tuple[str, ...]
    multiplier: Multiplier | None = None

    def __call__(self, rewards: Mapping[str, Tensor], unsafe_prompt: Tensor) -> Tensor:
        """The global reward, [prompts, responses].

        Args:
            rewards: each [prompts, responses].
            unsafe_prompt: bool, [prompts, responses].
        """
        every = {**rewards, UNSAFE_PROMPT: unsafe_prompt}
        inputs: dict[str, Any] = {name: every[name] for name in self.takes}
        if self.multiplier is not None:
            inputs["multiplier"] = self.multiplier.value
        return self.function(**inputs)

    def finite(self, rewards: Mapping[str, Tensor], unsafe_prompt: Tensor) -> Tensor:
        """The global reward, of which every one is a number.

        Raises:
            RunFailed: one is not.
        """
        combined = self(rewards, unsafe_prompt)
        if not torch.isfinite(combined).all():
            raise RunFailed(
                f"the combination {self.name} makes rewards that are not numbers of ones that are; "
                "mend it, or its parameters."
            )
        return combined


def load_combination(
    name: str, parameters: Mapping[str, Any], rewards: Sequence[str], responses: int | None = None
) -> Combination:
    """The combination that a recipe asks for, tried on made-up rewards.

    Args:
        name: a built-in one, or ``package.module:function``.
        parameters: its keyword arguments; for ``lagrangian`` and ``repo`` those of their
            :class:`Multiplier`.
        rewards: names of the recipe's rewards.
        responses: to each prompt; None where that is not known.

    Raises:
        BadInput: no such combination or parameter, a reward that it takes and the recipe lacks or
            the other way round, a function that does not return one value per response, or one
            that cannot tell so few responses apart.
    """
    function = import_function("combination", name) if ":" in name else BUILT_IN.get(name)
    if function is None:
        raise unknown_name("combination of rewards", name, BUILT_IN)
    signature = list(inspect.signature(function).parameters.values())
    takes = _rewards_taken(name, signature, rewards)
    rest = [item for item in signature if item.kind is item.KEYWORD_ONLY]
    multiplier = None
    if name in MULTIPLIERS:
        multiplier = _multiplier(MULTIPLIERS[name], name, parameters)
        names = [item.name for item in rest]
        parameters = {key: value for key, value in parameters.items() if key in names}
    else:
        check_parameters("combination", name, rest, parameters)
    combination = Combination(name, functools.partial(function, **parameters), takes, multiplier)
    _try(combination)
    if name == "cvar" and responses is not None and parameters["alpha"] * responses <= 1 + ROUNDING:
        raise BadInput(
            f"of {responses} responses to a prompt the worst share 'alpha' = "
            f"{parameters['alpha']:g} is one at most, so that 'cvar' makes all worth the same and "
            f"nothing is learnt; take an alpha above {1 / responses:.3g}, or a larger "
            "rollout.num_generations."
        )
    return combination


def _rewards_taken(
    name: str, signature: Sequence[inspect.Parameter], rewards: Sequence[str]
) -> tuple[str, ...]:
    positional = [item.name for item in signature if item.kind is item.POSITIONAL_OR_KEYWORD]
    wanted = [item for item in positional if item != UNSAFE_PROMPT]
    if any(item.kind is item.VAR_KEYWORD for item in signature):
        positional += [reward for reward in rewards if reward not in positional]
    missing = [item for item in wanted if item not in rewards]
    unused = [reward for reward in rewards if reward not in positional]
    if missing or not positional:
        raise BadInput(
            f"the combination {name} takes the rewards {', '.join(wanted) or '(none)'}, and the "
            f"recipe has {', '.join(rewards)}; name them so under 'rewards'."
        )
    if unused:
        raise BadInput(
            f"the combination {name} makes no use of the reward {unused[0]!r}; it takes "
            f"{', '.join(wanted)}. Leave the reward out, or take another combination."
        )
    return tuple(positional)


def _multiplier(kind: type[Multiplier], name: str, parameters: Mapping[str, Any]) -> Multiplier:
    # What a recipe sets is called `initial`, since it is only that.
    given = {"value" if key == "initial" else key: value for key, value in parameters.items()}
    accepted = [
        inspect.Parameter(
            "initial" if field.name == "value" else field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.name == "threshold" else field.default,
        )
        for field in fields(kind)
    ]
    check_parameters("combination", name, accepted, parameters)
    return kind(**given)


def _try(combination: Combination) -> None:
    made_up = {name: torch.tensor([[0.2, 0.9], [0.5, 0.1]]) for name in combination.takes}
    made_up.pop(UNSAFE_PROMPT, None)
    with own_code(f"the combination {combination.name} fails on made-up rewards"):
        result = combination(made_up, torch.tensor([[True, True], [False, False]]))
    shape = list(getattr(result, "shape", ()))
    if not isinstance(result, Tensor) or shape != [2, 2]:
        raise BadInput(
            f"the combination {combination.name} must return one value per response, a tensor of "
            f"shape [prompts, responses]; for [2, 2] it returned a {type(result).__name__} of "
            f"shape {shape}."
        )
