"""On-policy training on a global reward, by TRL's RLOOTrainer.

RLOO (Ahmadian et al. 2024) is PPO's clipped objective with a leave-one-out baseline in the place of
a value network: several responses are sampled to each prompt, and the advantage of one is its
reward less the mean of the others'. The reward is the recipe's combination less
``beta · log(π / π_ref)``. TRL no longer has the PPO that the paper's MORL row was trained with.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from accelerate import PartialState
from accelerate.utils import gather

from bfpo_bench.common.errors import BadInput, RunFailed, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.data.chat import PromptSet, load_prompts
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.generation_config import end_ids
from bfpo_bench.training.on_policy.global_reward_by_name import Combination, load_combination
from bfpo_bench.training.on_policy.rewards import ChosenReward, Rate, choose_reward
from bfpo_bench.training.pairwise.prepare import find_base, read_template, trained_outline
from bfpo_bench.training.rates import OwnRates
from bfpo_bench.training.recipe import Recipe, RolloutRecipe
from bfpo_bench.training.saving import Beside, beside, check_ids, embedding_rows, padded

NOTE = (
    "On-policy training by RLOO, PPO's clipped objective with a leave-one-out baseline; the paper "
    "used PPO, which TRL no longer has."
)


@dataclass(frozen=True)
class PreparedOnPolicy:
    """An on-policy training ready to run.

    Attributes:
        tokenizer: as it is saved with the result.
        template: chat template of the recipe, or None for the tokenizer's own.
        sampling_tokenizer: of the training: its template's clock stands still, and it pads on the
            left.
        beside: what is saved with the weights.
    """

    recipe: Recipe
    base: ModelFiles
    tokenizer: Any
    template: str | None
    sampling_tokenizer: Any
    sets: list[PromptSet]
    rewards: dict[str, ChosenReward]
    combination: Combination
    beside: Beside

    @property
    def updates(self) -> int:
        """Number of updates."""
        o = self.recipe.optimization
        responses = sum(len(one.prompts) for one in self.sets) * self.recipe.rollout.num_generations
        return o.max_steps or max(1, round(o.num_train_epochs * responses / o.pairs_per_update))

    def batches(self, processes: int = 1) -> tuple[int, int]:
        """Responses that go through one device at a time, and such batches in an update.

        Raises:
            BadInput: an update cannot be split into whole groups of responses to one prompt.
        """
        o, group = self.recipe.optimization, self.recipe.rollout.num_generations
        share, rest = divmod(o.pairs_per_update, processes)
        if rest or share % group:
            raise BadInput(
                f"an update of {o.pairs_per_update} responses cannot be split over {processes} "
                f"processes into whole groups of {group} responses to a prompt; make "
                "optimization.pairs_per_update a multiple of their product."
            )
        most = o.per_device_train_batch_size
        at_once = max(n for n in range(1, share + 1) if share % n == 0 and n <= most)
        return at_once, share // at_once


def prepare_on_policy(
    recipe: Recipe, progress: Progress, trust_remote_code: bool = False
) -> PreparedOnPolicy:
    """Finds base model and rewards, tries the combination and one's own functions, reads prompts.

    Raises:
        BadInput: something of it cannot be had or does not go together.
    """
    date = recipe.tokens.date
    rewards = {
        name: choose_reward(one, trust_remote_code, date) for name, one in recipe.rewards.items()
    }
    combination = load_combination(
        recipe.combination or "", recipe.combination_parameters, list(rewards)
    )
    rollout_settings(recipe.rollout)
    base = find_base(recipe, trust_remote_code)
    model = trained_outline(recipe, base, trust_remote_code)
    template = read_template(recipe)
    tokenizer = load_tokenizer(base.folder, trust_remote_code)
    chat = ChatTemplate(tokenizer, template, date)
    kept = beside(base, model, tokenizer, template, chat.ends, trust_remote_code)
    sampling = _sampling_tokenizer(padded(tokenizer, embedding_rows(model)), chat)
    sets = []
    for wanted in recipe.data:
        with progress.stage(f"read {wanted.name}", 1, unit=""):
            one = load_prompts(wanted, recipe.seed, sampling, recipe.tokens.max_prompt)
        for sentence in one.bad[:5]:
            progress.say(f"left out: {sentence}")
        if len(sampling) > embedding_rows(model):
            texts = [chat.write(prompt, True) for prompt in one.prompts]
            ids = sampling(texts, add_special_tokens=False)["input_ids"]
            check_ids(model, sampling, ids, one.name)
        sets.append(one)
    prepared = PreparedOnPolicy(
        recipe, base, tokenizer, template, sampling, sets, rewards, combination, kept
    )
    prepared.batches()
    for reward in rewards.values():
        reward.try_on([prompt for one in sets for prompt in one.prompts])
    return prepared


def _sampling_tokenizer(sampling: Any, chat: ChatTemplate) -> Any:
    sampling.padding_side = "left"
    # It renders the prompts of the training alone: the one that is saved keeps its clock.
    sampling.chat_template = chat.for_texts()
    return sampling


def rollout_settings(rollout: RolloutRecipe) -> dict[str, Any]:
    """What a recipe says of sampling, as arguments of TRL's RLOOConfig.

    Raises:
        BadInput: an option of vLLM that TRL does not know.
    """
    from trl import RLOOConfig

    # But for where it samples, they are called as TRL calls them.
    settings = dataclasses.asdict(rollout)
    options, engine = settings.pop("vllm"), settings.pop("engine")
    settings["use_vllm"] = engine == "vllm"
    known = [f.name for f in dataclasses.fields(RLOOConfig) if f.name.startswith("vllm_")]
    for name, option in options.items():
        if f"vllm_{name}" not in known:
            names = [one.removeprefix("vllm_") for one in known]
            raise unknown_name("option of TRL's vLLM:", name, names)
        settings[f"vllm_{name}"] = option
    return settings


def _rloo_trainer(vllm: bool) -> Any:
    """TRL's RLOOTrainer, with or without vLLM behind it.

    Raises:
        BadInput: TRL was loaded without vLLM in this process, where it now is to use it.
    """
    if vllm:
        from trl import RLOOTrainer
        from trl.generation import vllm_generation

        if not hasattr(vllm_generation, "LLM"):
            raise BadInput(
                "TRL was loaded without vLLM for an earlier training of this process; train with "
                "rollout.engine: vllm in a process of its own."
            )
        return RLOOTrainer
    # TRL imports vLLM wherever it is installed: twenty seconds and a CUDA context for nothing.
    utils = importlib.import_module("trl.import_utils")
    with mock.patch.object(utils, "is_vllm_available", return_value=False):
        from trl import RLOOTrainer
    return RLOOTrainer


class GlobalReward:
    """The reward that TRL sees: all rewards of the recipe, combined.

    Each process rates its own responses, which are whole groups.

    Args:
        rates: the rewards at work, by name.
        combination: makes one of them; its multiplier moves here, by the responses of all
            processes.
        responses: to each prompt.
    """

    def __init__(self, rates: Mapping[str, Rate], combination: Combination, responses: int) -> None:
        self._rates = rates
        self._combination = combination
        self._responses = responses
        self.__name__ = combination.name  # TRL's logs call it so

    def __call__(
        self,
        prompts: Sequence[Sequence[Mapping[str, str]]],
        completions: Sequence[Sequence[Mapping[str, str]]],
        unsafe_prompt: Sequence[bool],
        log_metric: Callable[[str, float], None],
        **rest: Any,
    ) -> list[float]:
        """The global reward of each response; ``log_metric`` gets the mean of every part."""
        asked = [tuple((m["role"], m["content"]) for m in prompt) for prompt in prompts]
        texts = [completion[-1]["content"] for completion in completions]

        def grouped(values: Sequence[Any]) -> torch.Tensor:
            return torch.tensor(values).view(-1, self._responses)

        rewards = {name: grouped(rate(asked, texts)) for name, rate in self._rates.items()}
        for name, values in rewards.items():
            log_metric(f"objectives/{name}", values.mean().item())
        multiplier = self._combination.multiplier
        if multiplier is not None:
            mine = rewards["safe"].mean().to(PartialState().device)
            multiplier.update(gather(mine).mean().item())
            log_metric("multiplier", multiplier.value)
        combined = self._combination(rewards, grouped(unsafe_prompt))
        if not torch.isfinite(combined).all():
            raise RunFailed(
                f"the combination {self._combination.name} makes rewards that are not numbers of "
                "ones that are; mend it, or its parameters."
            )
        one_each: list[float] = combined.flatten().tolist()
        return one_each


def rloo_trainer(
    prepared: PreparedOnPolicy,
    model: Any,
    settings: dict[str, Any],
    reward: GlobalReward,
    callbacks: list[Any],
) -> Any:
    """TRL's trainer over the prompts of all sets, shuffled.

    Args:
        model: the base model, its layers selected.
        settings: what the recipe says of loop and batches, as arguments of transformers'
            TrainingArguments.

    """
    import datasets
    from trl import RLOOConfig

    trainer_kind: Any = _rloo_trainer(prepared.recipe.rollout.engine == "vllm")
    rows = [
        {
            "prompt": [{"role": role, "content": content} for role, content in prompt],
            "unsafe_prompt": one.unsafe,
        }
        for one in prepared.sets
        for prompt in one.prompts
    ]
    vllm = prepared.recipe.rollout.engine == "vllm"
    config = RLOOConfig(
        **settings,
        # The other engine goes by the model's generation config.
        generation_kwargs={"stop_token_ids": end_ids(prepared.beside.generation)} if vllm else None,
        **rollout_settings(prepared.recipe.rollout),
        disable_dropout=True,
    )

    class OnPolicyTrainer(OwnRates, trainer_kind):  # type: ignore[misc]
        pass

    return OnPolicyTrainer(
        model=model,
        args=config,
        reward_funcs=[reward],
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=prepared.sampling_tokenizer,
        callbacks=callbacks,
    )
