"""On-policy training on a global reward, by TRL's RLOOTrainer.

RLOO (Ahmadian et al. 2024) is PPO's clipped objective with a leave-one-out baseline in the place of
a value network: several responses are sampled to each prompt, and the advantage of one is its
reward less the mean of the others'. The reward is the recipe's combination less
``beta · log(π / π_ref)``. TRL no longer has the PPO that the paper's MORL row was trained with.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import PartialState
from accelerate.utils import gather
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.chat import PromptSet
from bfpo_bench.training.loop import OwnLoop
from bfpo_bench.training.on_policy.global_reward import Combination, load_combination
from bfpo_bench.training.on_policy.multiplier import Multiplier
from bfpo_bench.training.on_policy.prompts import (
    prompt_entry,
    prompt_line,
    read_prompts,
    sampling_tokenizer,
)
from bfpo_bench.training.on_policy.rewards import (
    ChosenReward,
    JudgeReward,
    ModelReward,
    Rate,
    choose_reward,
    opened_rewards,
)
from bfpo_bench.training.prepared import Prepared, Run, open_base
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import RolloutRecipe
from bfpo_bench.training.saving import embedding_rows, end_ids, padded

NOTE = (
    "On-policy training by RLOO, PPO's clipped objective with a leave-one-out baseline; the paper "
    "used PPO, which TRL no longer has."
)


@dataclass(frozen=True)
class PreparedOnPolicy(Prepared):
    """An on-policy training ready to run.

    Attributes:
        sampling_tokenizer: of the training: its template's clock stands still, and it pads on the
            left.
    """

    sampling_tokenizer: Any
    sets: list[PromptSet]
    rewards: dict[str, ChosenReward]
    combination: Combination

    unit = "responses"
    memory_advice = (
        "lower optimization.pairs_per_update (sampled together), "
        "optimization.per_device_train_batch_size or rollout.max_completion_length, or set "
        "gradient_checkpointing: true"
    )

    @property
    def notes(self) -> Sequence[str]:
        """See :class:`Prepared`."""
        return (NOTE,)

    @property
    def sizes(self) -> list[int]:
        """See :class:`Prepared`; prompts."""
        return [len(one.prompts) for one in self.sets]

    @property
    def updates(self) -> int:
        """See :class:`Prepared`; TRL draws the prompts."""
        o = self.recipe.optimization
        responses = sum(self.sizes) * self.group
        return o.max_steps or max(1, round(o.num_train_epochs * responses / o.pairs_per_update))

    @property
    def group(self) -> int:
        """Responses to one prompt."""
        return self.recipe.rollout.num_generations

    def reward_identities(self) -> dict[str, Any]:
        """See :class:`Prepared`."""
        return {name: reward.identity() for name, reward in self.rewards.items()}

    def entries(self) -> list[dict[str, Any]]:
        """See :class:`Prepared`."""
        return [prompt_entry(one) for one in self.sets]

    def describe(self) -> list[str]:
        """See :class:`Prepared`."""
        lines = [prompt_line(one) for one in self.sets]
        beside = {}
        for reward in self.rewards.values():
            if isinstance(reward, ModelReward):
                beside[reward.found.files.folder] = reward.found.files
            elif isinstance(reward, JudgeReward) and reward.judge.model is not None:
                beside[reward.judge.model.folder] = reward.judge.model
        models = list(beside.values())
        if self.recipe.rollout.beta > 0 and self.recipe.lora is None:
            models.append(self.base.files)
        if models:
            size = sum(path.stat().st_size for model in models for path in model.weights)
            lines.append(
                "reward models, judges and reference beside the policy: "
                f"{len(models)}, about {size / 1e9:.3g} GB on every device"
            )
        return lines

    @contextmanager
    def trainer(
        self, model: Any, settings: dict[str, Any], callbacks: list[Any], run: Run
    ) -> Iterator[Any]:
        """See :class:`Prepared`: TRL's trainer over the prompts of all sets, shuffled."""
        import datasets
        from trl import RLOOConfig

        vllm = self.recipe.rollout.engine == "vllm"
        trainer_kind: Any = _rloo_trainer(vllm)
        rows = [
            {
                "prompt": [{"role": role, "content": content} for role, content in prompt],
                "unsafe_prompt": one.unsafe,
            }
            for one in self.sets
            for prompt in one.prompts
        ]
        at_once, _ = self.batches(run.state.num_processes)
        # The other engine goes by the model's generation config.
        stops = {"stop_token_ids": end_ids(self.base.beside.generation)} if vllm else None
        config = RLOOConfig(
            **settings,
            per_device_train_batch_size=at_once,
            max_steps=self.updates,
            generation_kwargs=stops,
            **rollout_settings(self.recipe.rollout),
            disable_dropout=True,
        )

        class OnPolicyTrainer(OwnLoop, trainer_kind):  # type: ignore[misc]
            pass

        if (multiplier := self.combination.multiplier) is not None:
            callbacks = [*callbacks, KeptMultiplier(multiplier)]
            if run.checkpoint is not None:
                multiplier.value = KeptMultiplier.read(run.checkpoint)
        chosen, recipes = self.rewards, self.recipe.rewards
        with opened_rewards(chosen, recipes, run.progress, run.state.device) as rates:
            yield OnPolicyTrainer(
                model=model,
                args=config,
                reward_funcs=[GlobalReward(rates, self.combination, self.group)],
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=self.sampling_tokenizer,
                callbacks=callbacks,
            )


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
        recipe.combination or "",
        recipe.combination_parameters,
        list(rewards),
        recipe.rollout.num_generations,
    )
    rollout_settings(recipe.rollout)
    base = open_base(recipe, trust_remote_code)
    sampling = sampling_tokenizer(padded(base.tokenizer, embedding_rows(base.outline)), base.chat)
    sets = [read_prompts(recipe, wanted, base, progress) for wanted in recipe.data]
    prepared = PreparedOnPolicy(recipe, base, sampling, sets, rewards, combination)
    prepared.batches()
    for reward in rewards.values():
        reward.try_on([prompt for one in sets for prompt in one.prompts])
    return prepared


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
            mine = multiplier.shortfall(rewards["safe"]).to(PartialState().device)
            multiplier.update(gather(mine).mean().item())
            log_metric("multiplier", multiplier.value)
        combined = self._combination.finite(rewards, grouped(unsafe_prompt))
        one_each: list[float] = combined.flatten().tolist()
        return one_each


class KeptMultiplier(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Lets Trainer write the multiplier into its checkpoints."""

    def __init__(self, multiplier: Multiplier) -> None:
        self._multiplier = multiplier

    def state(self) -> dict[str, Any]:
        """What Trainer writes into ``trainer_state.json``."""
        return {"args": {}, "attributes": {"value": self._multiplier.value}}

    @classmethod
    def read(cls, checkpoint: Path) -> float:
        """The multiplier at a checkpoint."""
        content = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        return float(content["stateful_callbacks"][cls.__name__]["attributes"]["value"])
