"""Answers that the start model gives itself and rewards choose: the data of RAFT's fine-tuning.

RAFT (Dong et al. 2023, arXiv 2304.06767; for safety in Amballa et al. 2024, arXiv 2412.00074):
``num_generations`` responses to each prompt are sampled from the model, the one of the highest
reward is taken, and the model is fine-tuned on it; over again where a recipe has ``rounds``. Read
were both papers' abstracts, summaries of the first and the second's beginning, no equation numbers.
The second takes a reward for helpfulness and one for safety; how it weighs them could not be had,
so a recipe says it by its ``combination``.

Ours where the sources are silent: a blank response is never taken, a prompt that gets no other is
left out, and of equal rewards the first response is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.data.chat import PromptSet
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.on_policy.global_reward import Combination, load_combination
from bfpo_bench.training.on_policy.ratings import Rated, Ratings, choose_ratings
from bfpo_bench.training.on_policy.samples import (
    Sampler,
    Samples,
    add_rewards,
    answered,
    sampler_of,
)
from bfpo_bench.training.prepared import Run
from bfpo_bench.training.recipe import Recipe

SAMPLES = "samples.jsonl"
"""What the start model answered and which answers were trained on, in the output folder."""


@dataclass(frozen=True)
class BestOf:
    """What answers prompts by the start model, and says which answer is the best."""

    sampler: Sampler
    ratings: Ratings
    combination: Combination

    def __str__(self) -> str:
        count = self.sampler.rollout.num_generations
        rewards = ", ".join(self.ratings.rewards)
        return (
            f"prompts will be answered {count} times each by the start model before training; the "
            f"best answer by {self.combination.name} of {rewards} is trained on"
        )

    def answers(
        self, files: ModelFiles, sets: Sequence[PromptSet], run: Run
    ) -> tuple[list[list[Messages]], dict[str, Any]]:
        """Conversations of each set, and what ``training.json`` says of them all.

        Raises:
            RunFailed: every response is blank.
        """
        prompts = [prompt for one in sets for prompt in one.prompts]
        unsafe = [one.unsafe for one in sets for _ in one.prompts]
        path = run.output / SAMPLES
        samples = self.sampler.sample(files, prompts, path, run.state, run.progress)
        asked = answered(prompts, samples)
        rated = self.ratings.rate(asked, run.ratings, run.state, run.progress)
        reward = self._combined(rated, unsafe)
        best = [best_of(one.responses, values) for one, values in zip(samples, reward, strict=True)]
        if all(one is None for one in best):
            raise RunFailed(
                "every response that the start model has given is blank; take a model that answers "
                "in this chat template."
            )
        if run.state.is_main_process:
            add_rewards(path, rated, best)
        run.state.wait_for_everyone()
        said = [
            None if number is None else (*prompt, ("assistant", responses[number]))
            for (prompt, responses), number in zip(asked, best, strict=True)
        ]
        told = summary(samples, {**rated, "reward": reward}, best)
        run.progress.say(
            f"Of {len(prompts):,} prompts, the mean reward of a response is "
            f"{told['sampled']['reward']:.4g} and of the one taken {told['taken']['reward']:.4g}."
        )
        conversations, start = [], 0
        for one in sets:
            some, start = said[start : start + len(one.prompts)], start + len(one.prompts)
            conversations.append([talk for talk in some if talk is not None])
        return conversations, told

    def _combined(self, rated: Rated, unsafe: Sequence[bool]) -> list[tuple[float, ...]]:
        rewards = {name: torch.tensor(values) for name, values in rated.items()}
        shape = next(iter(rewards.values()))
        combined = self.combination.finite(rewards, torch.tensor(unsafe)[:, None].expand_as(shape))
        return [tuple(row) for row in combined.tolist()]


def best_of(responses: Sequence[str], rewards: Sequence[float]) -> int | None:
    """Number of the response of the highest reward; None where all are blank."""
    said = [number for number, response in enumerate(responses) if response.strip()]
    return max(said, key=lambda number: rewards[number], default=None)


def summary(
    samples: Sequence[Samples], rewards: Mapping[str, Any], best: Sequence[int | None]
) -> dict[str, Any]:
    """Mean rewards of all responses and of those that are taken, and how many of these were cut."""
    taken = [(row, number) for row, number in enumerate(best) if number is not None]
    return {
        "prompts": len(samples),
        "left_out": len(samples) - len(taken),
        "responses": sum(len(one.responses) for one in samples),
        "cut": sum(samples[row].cut[number] for row, number in taken),
        "sampled": {
            name: fmean(value for row in values for value in row)
            for name, values in rewards.items()
        },
        "taken": {
            name: fmean(values[row][number] for row, number in taken)
            for name, values in rewards.items()
        },
    }


def choose_best_of(
    recipe: Recipe,
    prompts: Sequence[Messages],
    chat: ChatTemplate,
    trust_remote_code: bool = False,
) -> BestOf:
    """Finds rewards and combination; loads no weights.

    Raises:
        BadInput: one of them cannot be had, or they do not go together.
    """
    ratings = choose_ratings(
        recipe.rewards, prompts, "prompts", trust_remote_code, recipe.tokens.date
    )
    combination = load_combination(
        recipe.combination or "", recipe.combination_parameters, list(recipe.rewards)
    )
    if combination.multiplier is not None:
        raise BadInput(
            f"the multiplier of the combination {combination.name} follows a policy under way, and "
            "the best of given responses is chosen here before any; take linear, or minimum."
        )
    if combination.name == "cvar":
        raise BadInput(
            "the combination cvar makes all but the worst responses to a prompt worth the same, so "
            "that it does not say which is the best; take linear, or minimum."
        )
    return BestOf(sampler_of(recipe, chat, trust_remote_code), ratings, combination)
