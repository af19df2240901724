"""What rewards say of both responses of every pair: MODPO's margins, and what relabels pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import read_json
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.chat import DATE
from bfpo_bench.training.data.preferences import Pair
from bfpo_bench.training.on_policy.rewards import ChosenReward, Rate, choose_reward, opened_rewards
from bfpo_bench.training.output import RATINGS, write_json
from bfpo_bench.training.recipe import RewardRecipe

PAIRS_AT_ONCE = 64
"""Of one process, between two meetings."""


Rated = dict[str, list[tuple[float, float]]]
"""By reward: that of the chosen and of the rejected response of each pair."""


@dataclass(frozen=True)
class PairRatings:
    """Rewards that were found, by name, and the pairs that they are to rate."""

    recipes: Mapping[str, RewardRecipe]
    rewards: Mapping[str, ChosenReward]
    pairs: list[Pair]

    def rate(self, output: Path, state: PartialState, progress: Progress) -> Rated:
        """Rates each pair. All processes share the work and meet after every round of it.

        The main process keeps what is rated in the output folder, which no other has to see; an
        interrupted rating goes on from there.

        Raises:
            BadInput, RunFailed: the reward gives no number.
        """
        path = output / RATINGS
        rows: list[list[float]]
        [rows] = broadcast_object_list([self._kept(path) if state.is_main_process else None])
        if len(rows) < len(self.pairs):
            with (
                opened_rewards(self.rewards, self.recipes, progress, state.device) as rates,
                progress.stage("rate pairs", len(self.pairs), len(rows), unit="pairs"),
            ):
                while len(rows) < len(self.pairs):
                    first = len(rows) + state.process_index * PAIRS_AT_ONCE
                    mine = self.pairs[first : first + PAIRS_AT_ONCE]
                    found: list[list[float]] = gather_object(_rows(rates, mine))
                    rows += found
                    if state.is_main_process:
                        write_json(path, {"rewards": list(self.rewards), "ratings": rows})
                    progress.advance(len(found))
        return {
            name: [(row[2 * n], row[2 * n + 1]) for row in rows]
            for n, name in enumerate(self.rewards)
        }

    def _kept(self, path: Path) -> list[list[float]]:
        """The ratings of the first pairs, as far as they were made before."""
        try:
            kept = read_json(path)
            names, rows = kept["rewards"], [[float(one) for one in row] for row in kept["ratings"]]
        except (OSError, ValueError, TypeError, KeyError):
            return []
        same = names == list(self.rewards) and all(len(row) == 2 * len(names) for row in rows)
        return rows if same else []

    def identity(self) -> dict[str, Any]:
        """All that the ratings depend on besides the pairs."""
        return {name: reward.identity() for name, reward in self.rewards.items()}


def _rows(rates: Mapping[str, Rate], pairs: Sequence[Pair]) -> list[list[float]]:
    """Of each pair: chosen and rejected by the first reward, by the second, …"""
    if not pairs:
        return []
    prompts = [pair.prompt for pair in pairs]
    columns = []
    for rate in rates.values():
        columns += [rate(prompts, [p.chosen for p in pairs])]
        columns += [rate(prompts, [p.rejected for p in pairs])]
    return [list(row) for row in zip(*columns, strict=True)]


def choose_ratings(
    recipes: Mapping[str, RewardRecipe],
    pairs: Sequence[Pair],
    trust_remote_code: bool = False,
    date: str = DATE,
) -> PairRatings:
    """Finds the rewards that are to rate pairs.

    Raises:
        BadInput: one cannot be had, or cannot rate these pairs.
    """
    rewards = {name: choose_reward(one, trust_remote_code, date) for name, one in recipes.items()}
    for reward in rewards.values():
        reward.try_on([pair.prompt for pair in pairs])
    return PairRatings(recipes, rewards, list(pairs))


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
