"""Which combination of rewards a recipe means, checked before any work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput, BenchError, unknown_name
from bfpo_bench.common.imports import check_parameters, import_function
from bfpo_bench.training.on_policy.global_reward import (
    Multiplier,
    bilinear,
    lagrangian,
    linear,
    llama2,
    minimum,
    rbr,
)

BUILT_IN: dict[str, Callable[..., Tensor]] = {
    "bilinear": bilinear,
    "lagrangian": lagrangian,
    "linear": linear,
    "llama2": llama2,
    "minimum": minimum,
    "rbr": rbr,
}

UNSAFE_PROMPT = "unsafe_prompt"
"""The argument that is no reward: whether a prompt is of a set with ``unsafe_prompts: true``."""


@dataclass(frozen=True)
class Combination:
    """A combination with its parameters filled in.

    Attributes:
        name: as in the recipe.
        function: of the rewards it takes, by name.
        takes: those names.
        multiplier: of ``lagrangian``; None for all others.
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


def load_combination(
    name: str, parameters: Mapping[str, Any], rewards: Sequence[str]
) -> Combination:
    """The combination that a recipe asks for, tried on made-up rewards.

    Args:
        name: a built-in one, or ``package.module:function``.
        parameters: its keyword arguments; for ``lagrangian`` those of :class:`Multiplier`.
        rewards: names of the recipe's rewards.

    Raises:
        BadInput: no such combination or parameter, a reward that it takes and the recipe lacks or
            the other way round, or a function that does not return one value per response.
    """
    function = import_function("combination", name) if ":" in name else BUILT_IN.get(name)
    if function is None:
        raise unknown_name("combination of rewards", name, BUILT_IN)
    signature = list(inspect.signature(function).parameters.values())
    takes = _rewards_taken(name, signature, rewards)
    multiplier = None
    if function is lagrangian:
        multiplier = _multiplier(name, parameters)
    else:
        rest = [item for item in signature if item.kind is item.KEYWORD_ONLY]
        check_parameters("combination", name, rest, parameters)
        function = functools.partial(function, **parameters)
    combination = Combination(name, function, takes, multiplier)
    _try(combination)
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


def _multiplier(name: str, parameters: Mapping[str, Any]) -> Multiplier:
    # What a recipe sets is called `initial`, since it is only that.
    given = {"value" if key == "initial" else key: value for key, value in parameters.items()}
    accepted = [
        inspect.Parameter(
            "initial" if field.name == "value" else field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.name == "threshold" else field.default,
        )
        for field in fields(Multiplier)
    ]
    check_parameters("combination", name, accepted, parameters)
    return Multiplier(**given)


def _try(combination: Combination) -> None:
    made_up = {name: torch.tensor([[0.2, 0.9], [0.5, 0.1]]) for name in combination.takes}
    made_up.pop(UNSAFE_PROMPT, None)
    try:
        result = combination(made_up, torch.tensor([[True, True], [False, False]]))
    except BenchError:
        raise
    except Exception as error:  # whatever somebody's own function can raise
        raise BadInput(
            f"the combination {combination.name} fails on made-up rewards: "
            f"{type(error).__name__}: {error}."
        ) from error
    shape = list(getattr(result, "shape", ()))
    if not isinstance(result, Tensor) or shape != [2, 2]:
        raise BadInput(
            f"the combination {combination.name} must return one value per response, a tensor of "
            f"shape [prompts, responses]; for [2, 2] it returned a {type(result).__name__} of "
            f"shape {shape}."
        )
