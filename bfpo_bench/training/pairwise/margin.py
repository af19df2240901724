"""MODPO's margins: how much the reward of another objective prefers the chosen response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.chat import DATE
from bfpo_bench.training.data.preferences import Pair
from bfpo_bench.training.on_policy.rewards import ChosenReward, Rate, choose_reward, opened_rewards
from bfpo_bench.training.output import MARGINS, write_json
from bfpo_bench.training.recipe import RewardRecipe

PAIRS_AT_ONCE = 64
"""Of one process, between two meetings."""


@dataclass(frozen=True)
class MarginReward:
    """A reward that was found, and the pairs that it is to rate."""

    recipe: RewardRecipe
    reward: ChosenReward
    pairs: list[Pair]

    def rate(self, output: Path, state: PartialState, progress: Progress) -> list[float]:
        """Margin of each pair. All processes share the work and meet after every round of it.

        The main process keeps what is rated in the output folder, which no other has to see; an
        interrupted rating goes on from there.

        Raises:
            BadInput, RunFailed: the reward gives no number.
        """
        path = output / MARGINS
        margins: list[float]
        [margins] = broadcast_object_list([_kept(path) if state.is_main_process else None])
        if len(margins) == len(self.pairs):
            return margins
        chosen, recipes = {"margin": self.reward}, {"margin": self.recipe}
        with (
            opened_rewards(chosen, recipes, progress, state.device) as rates,
            progress.stage("rate margins", len(self.pairs), len(margins), unit="pairs"),
        ):
            while len(margins) < len(self.pairs):
                first = len(margins) + state.process_index * PAIRS_AT_ONCE
                mine = self.pairs[first : first + PAIRS_AT_ONCE]
                found: list[float] = gather_object(_margins(rates["margin"], mine))
                margins += found
                if state.is_main_process:
                    write_json(path, {"margins": margins})
                progress.advance(len(found))
        return margins

    def identity(self) -> dict[str, Any]:
        """All that the margins depend on besides the pairs."""
        return self.reward.identity()


def _margins(rate: Rate, pairs: Sequence[Pair]) -> list[float]:
    if not pairs:
        return []
    prompts = [pair.prompt for pair in pairs]
    winners = rate(prompts, [pair.chosen for pair in pairs])
    losers = rate(prompts, [pair.rejected for pair in pairs])
    return [winner - loser for winner, loser in zip(winners, losers, strict=True)]


def _kept(path: Path) -> list[float]:
    """The margins of the first pairs, as far as they were rated before."""
    try:
        return [float(one) for one in json.loads(path.read_text(encoding="utf-8"))["margins"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def choose_margin(
    recipe: RewardRecipe,
    pairs: Sequence[Pair],
    trust_remote_code: bool = False,
    date: str = DATE,
) -> MarginReward | None:
    """Finds the reward that a recipe's margin comes from; None for the pairs' own labels.

    Raises:
        BadInput: it cannot be had, or cannot rate these pairs.
    """
    if recipe.label is not None:
        return None
    reward = choose_reward(recipe, trust_remote_code, date)
    reward.try_on([pair.prompt for pair in pairs])
    return MarginReward(recipe, reward, list(pairs))


def label_margins(recipe: RewardRecipe, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with margins from their own safety labels: scale · (safe or not, of each).

    Raises:
        BadInput: a pair without labels.
    """
    found = []
    for pair in pairs:
        if pair.chosen_safe is None or pair.rejected_safe is None:
            place = f" ({pair.where})" if pair.where else ""
            raise BadInput(
                f"the margin is to come from safety labels, which a pair of set {pair.source!r} "
                f"does not have{place}; take another margin, or a set with labels (all_safe: true)."
            )
        margin = recipe.scale * (int(pair.chosen_safe) - int(pair.rejected_safe))
        found.append(replace(pair, margin=margin))
    return found
