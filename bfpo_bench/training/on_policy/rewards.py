"""Rewards of responses, as a recipe names them: a reward model's, a judge's, one's own function's.

A reward is chosen (found and checked; no weights) before anything is claimed or loaded, and opened
when it is needed.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.imports import check_parameters, import_function, own_code
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.options import Loading
from bfpo_bench.engines.reward_model import (
    RewardModel,
    RewardModelFiles,
    check_prompts,
    find_reward_model,
)
from bfpo_bench.judges import Exchange, Judge
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.models.clock import DATE, told_date
from bfpo_bench.models.fingerprint import checkpoint_digest
from bfpo_bench.models.number_format import choose_format
from bfpo_bench.models.template_files import read_chat_template
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.recipe_parts import RewardRecipe

Rate = Callable[[Sequence[Messages], Sequence[str]], list[float]]
"""A reward at work: one number for each prompt and response."""

LARGEST = torch.finfo(torch.float32).max
"""Of a reward, which is trained on in that format."""


class ChosenReward(ABC):
    """A reward that was found."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that it depends on, as plain JSON values."""

    @abstractmethod
    def opened(self, progress: Progress, device: torch.device, models: Models) -> Rate:
        """The reward, ready to rate."""

    def try_on(self, prompts: Sequence[Messages]) -> None:  # noqa: B027
        """Tries what can be tried before anything is loaded.

        Raises:
            BadInput: answers to one of these prompts cannot be rated.
        """


class Models:
    """What the rewards of a recipe hold open, each thing once, until the stack is closed."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self._loaded: dict[str, RewardModel] = {}

    def reward_model(self, found: RewardModelFiles, device: torch.device, date: str) -> RewardModel:
        """A reward model, loaded when it is asked for the first time."""
        key = str(found.files.folder)
        if key not in self._loaded:
            self._loaded[key] = RewardModel(found, device, date=date)
        return self._loaded[key]


@dataclass(frozen=True)
class ModelReward(ChosenReward):
    """An objective of a reward model."""

    found: RewardModelFiles
    column: int
    date: str = DATE

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenReward`."""
        files = self.found.files
        return {
            "model": checkpoint_digest(files),
            "dtype": choose_format(files, device=str(_own_device())).dtype,
            "objective": self.column,
            **told_date(read_chat_template(files.folder), self.date),
        }

    def opened(self, progress: Progress, device: torch.device, models: Models) -> Rate:
        """See :class:`ChosenReward`."""
        with progress.stage(f"loading reward model {self.found.files.name}"):
            model = models.reward_model(self.found, device, self.date)
        return lambda prompts, responses: model.rate(prompts, responses)[:, self.column].tolist()

    def try_on(self, prompts: Sequence[Messages]) -> None:
        """See :class:`ChosenReward`."""
        check_prompts(self.found, prompts, self.date)


@dataclass(frozen=True)
class JudgeReward(ChosenReward):
    """How safe a judge finds a response: from 0 to 1."""

    judge: ChosenJudge
    verdict: bool

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenReward`."""
        return {"judge": self.judge.identity(), "verdict": self.verdict}

    def opened(self, progress: Progress, device: torch.device, models: Models) -> Rate:
        """See :class:`ChosenReward`."""
        judge = models.stack.enter_context(self.judge.opened(progress))
        return lambda prompts, responses: _judged(judge, self.verdict, prompts, responses)


def _judged(
    judge: Judge, verdict: bool, prompts: Sequence[Messages], responses: Sequence[str]
) -> list[float]:
    exchanges = [Exchange(_as_text(p), r) for p, r in zip(prompts, responses, strict=True)]
    found = []
    for one in judge.judge(exchanges):
        if one.harmful is None:
            # As in the tables: what the judge could not tell does not count as harmless.
            found.append(0.0)
        elif verdict or one.p_harmful is None:
            found.append(float(not one.harmful))
        else:
            found.append(1 - one.p_harmful)
    return found


def _as_text(prompt: Messages) -> str:
    """What a judge reads as the prompt: the user's words alone where there is nothing else."""
    if len(prompt) == 1:
        return prompt[0][1]
    return "\n\n".join(f"{role}: {content}" for role, content in prompt)


@dataclass(frozen=True)
class FunctionReward(ChosenReward):
    """A function of one's own: ``def reward(prompts, responses, *, parameter=default)``.

    ``prompts`` are conversations (lists of ``{"role": …, "content": …}``), ``responses`` texts; it
    returns one number for each.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenReward`."""
        return {"function": self.name, "parameters": dict(self.parameters)}

    def opened(self, progress: Progress, device: torch.device, models: Models) -> Rate:
        """See :class:`ChosenReward`."""
        return self.rate

    def try_on(self, prompts: Sequence[Messages]) -> None:
        """See :class:`ChosenReward`."""
        self.rate(list(prompts[:1]) * 2, ["Certainly.", "No."])

    def rate(self, prompts: Sequence[Messages], responses: Sequence[str]) -> list[float]:
        """Calls the function and checks what it returns.

        Raises:
            BadInput: it fails, or does not return one number for each response.
        """
        said = [
            [{"role": role, "content": content} for role, content in prompt] for prompt in prompts
        ]
        with own_code(f"the reward {self.name} breaks while rating {len(responses)} responses"):
            found = self.function(said, list(responses), **self.parameters)
        # What texts, mappings and sets are made of are no rewards in the order of the responses.
        ordered = not isinstance(found, str | bytes | Mapping | Set)
        try:
            values = [float(value) for value in found] if ordered else None
        except (TypeError, ValueError):
            values = None
        if values is None:
            raise BadInput(
                f"the reward {self.name} must return a list of numbers, one for each response; it "
                f"returned {type(found).__name__}."
            )
        if len(values) != len(responses):
            raise BadInput(
                f"the reward {self.name} returned {len(values)} numbers for {len(responses)} "
                "responses; it must return one for each."
            )
        return values


def choose_reward(
    recipe: RewardRecipe, trust_remote_code: bool = False, date: str = DATE
) -> ChosenReward:
    """Finds what a recipe asks for. Loads no weights.

    Args:
        date: what the clock of a model's chat template says.

    Raises:
        BadInput: it cannot be had, or has no such objective or parameter.
    """
    if recipe.model is not None:
        found = find_reward_model(recipe.model, recipe.revision)
        return ModelReward(found, found.column(recipe.objective), date)
    if recipe.judge is not None:
        options = JudgeOptions(
            judge=recipe.judge,
            judge_model=recipe.judge_model,
            judge_url=recipe.judge_url,
            loading=Loading(
                # In this process, beside the policy: vLLM would take most of the GPU for itself.
                backend="hf",
                device=str(_own_device()),
                trust_remote_code=trust_remote_code,
                date=date,
            ),
        )
        return JudgeReward(choose_judge(options), recipe.verdict)
    name = recipe.function or ""
    function = import_function("reward", name) if ":" in name else None
    if function is None:
        raise BadInput(f"the reward function {name!r} is not of the form package.module:function.")
    signature = list(inspect.signature(function).parameters.values())
    if len(signature) < 2 or any(
        item.kind not in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        for item in signature[:2]
    ):
        raise BadInput(
            f"the reward {name} must take prompts and responses as its first arguments: "
            "def reward(prompts, responses, *, parameter=default) -> list[float]."
        )
    check_parameters("reward", name, signature[2:], recipe.parameters)
    return FunctionReward(name, function, recipe.parameters)


def _own_device() -> torch.device:
    from accelerate import PartialState

    device: torch.device = PartialState().device
    return device


@contextmanager
def opened_rewards(
    chosen: Mapping[str, ChosenReward],
    recipes: Mapping[str, RewardRecipe],
    progress: Progress,
    device: torch.device,
) -> Iterator[dict[str, Rate]]:
    """The rewards by name, scaled and shifted as the recipe says, while the body runs."""
    with ExitStack() as stack:
        models = Models(stack)
        yield {
            name: _scaled(name, reward.opened(progress, device, models), recipes[name])
            for name, reward in chosen.items()
        }
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _scaled(name: str, rate: Rate, recipe: RewardRecipe) -> Rate:
    def scaled(prompts: Sequence[Messages], responses: Sequence[str]) -> list[float]:
        found, values = rate(prompts, responses), list[float]()
        for value, response in zip(found, responses, strict=True):
            # Infinity times a scale of 0, and what is too large for float32, are no numbers either.
            if not abs(scaled := recipe.scale * value + recipe.shift) <= LARGEST:
                start = response[:60] + ("…" if len(response) > 60 else "")
                raise RunFailed(
                    f"the reward {name!r} of the response {start!r} is {scaled}, not a number to "
                    "train on; mend what gives it, or its scale and shift."
                )
            values.append(scaled)
        return values

    return scaled
