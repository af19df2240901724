"""What rewards say of known responses: both of every pair, or those that a model has sampled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from bfpo_bench.common.json_file import read_json
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.clock import DATE
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.on_policy.rewards import ChosenReward, Rate, choose_reward, opened_rewards
from bfpo_bench.training.output import write_json
from bfpo_bench.training.recipe_parts import RewardRecipe

PROMPTS_AT_ONCE = 64
"""Of one process, between two meetings."""

Answered = tuple[Messages, tuple[str, ...]]
"""A prompt and responses to it."""

Rated = dict[str, list[tuple[float, ...]]]
"""By reward: that of each response to each prompt."""


@dataclass(frozen=True)
class Ratings:
    """Rewards that were found, by name.

    Attributes:
        unit: what a prompt with its responses is called.
    """

    recipes: Mapping[str, RewardRecipe]
    rewards: Mapping[str, ChosenReward]
    unit: str

    def rate(
        self, answered: Sequence[Answered], path: Path, state: PartialState, progress: Progress
    ) -> Rated:
        """Rates as many responses to each prompt as to any other.

        All processes share the work and meet after every round of it. The main process keeps what
        is rated in a file, which no other has to see; an interrupted rating goes on from there.

        Raises:
            BadInput, RunFailed: the reward gives no number.
        """
        wanted = {"rewards": list(self.rewards), "of": self._digest(answered)}
        width = len(answered[0][1]) if answered else 0
        rows: list[list[float]]
        kept = _kept(path, wanted, width) if state.is_main_process else None
        [rows] = broadcast_object_list([kept])
        if len(rows) < len(answered):
            with (
                opened_rewards(self.rewards, self.recipes, progress, state.device) as rates,
                progress.stage(f"rate {self.unit}", len(answered), len(rows), unit=self.unit),
            ):
                while len(rows) < len(answered):
                    first = len(rows) + state.process_index * PROMPTS_AT_ONCE
                    mine = answered[first : first + PROMPTS_AT_ONCE]
                    found: list[list[float]] = gather_object(_rows(rates, mine, width))
                    rows += found
                    if state.is_main_process:
                        write_json(path, {**wanted, "ratings": rows})
                    progress.advance(len(found))
        return {
            name: [tuple(row[n * width : (n + 1) * width]) for row in rows]
            for n, name in enumerate(self.rewards)
        }

    def identity(self) -> dict[str, Any]:
        """All that the ratings depend on besides the responses."""
        return {name: reward.identity() for name, reward in self.rewards.items()}

    def _digest(self, answered: Sequence[Answered]) -> str:
        scales = {name: (one.scale, one.shift) for name, one in self.recipes.items()}
        content = json.dumps([self.identity(), scales, answered], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def _kept(path: Path, wanted: Mapping[str, Any], width: int) -> list[list[float]]:
    """The ratings of the first prompts, as far as they were made before."""
    try:
        kept = read_json(path)
        rows = [[float(one) for one in row] for row in kept["ratings"]]
        # Until 2026-11-29 nothing said of what they were; their folder was of one training.
        same = all(kept.get(key, value) == value for key, value in wanted.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return rows if same and all(len(r) == width * len(wanted["rewards"]) for r in rows) else []


def _rows(rates: Mapping[str, Rate], answered: Sequence[Answered], width: int) -> list[list[float]]:
    """Of each prompt: every response by the first reward, by the second, …"""
    prompts = [prompt for prompt, _ in answered]
    columns = [
        rate(prompts, [responses[n] for _, responses in answered])
        for rate in (rates.values() if answered else ())
        for n in range(width)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def choose_ratings(
    recipes: Mapping[str, RewardRecipe],
    prompts: Sequence[Messages],
    unit: str,
    trust_remote_code: bool = False,
    date: str = DATE,
) -> Ratings:
    """Finds the rewards that are to rate responses to these prompts.

    Raises:
        BadInput: one cannot be had, or cannot rate them.
    """
    rewards = {name: choose_reward(one, trust_remote_code, date) for name, one in recipes.items()}
    for reward in rewards.values():
        reward.try_on(prompts)
    return Ratings(recipes, rewards, unit)
