"""MODPO's margins: what the other objective says of a pair, by a reward or by the pair's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.preferences import Pair
from bfpo_bench.training.on_policy.ratings import Answered
from bfpo_bench.training.recipe_parts import RewardRecipe


def both_answers(pairs: Sequence[Pair]) -> list[Answered]:
    """Winner and loser of each pair, to be rated."""
    return [(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]


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
