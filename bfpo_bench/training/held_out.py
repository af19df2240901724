"""What is held out of a training: which of the data, and when it is looked at."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from transformers import TrainerCallback

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import DataRecipe

LOOKS = 10
"""At what is held out, where a recipe does not say how often."""

T = TypeVar("T")


class HeldOut(TrainerCallback):  # type: ignore[misc]
    """Items that are not trained on, and when they are looked at.

    Args:
        items: their numbers among all.
        size: most that go through one device together.
        steps: updates between two looks; the last update is always followed by one.
        rank, world: this process among all.

    Attributes:
        batches: of this process, and whether each counts. Every process has as many, because they
            meet in a model that is split over them; what fills up was counted elsewhere.
    """

    def __init__(
        self, items: Sequence[int], size: int, steps: int, rank: int = 0, world: int = 1
    ) -> None:
        every = [list(items[start : start + size]) for start in range(0, len(items), size)]
        rounds = -(-len(every) // world)
        self.batches = [
            (every[i % len(every)], i < len(every)) for i in range(rank, rounds * world, world)
        ]
        self._steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decides whether it is time for a look."""
        step = state.global_step
        control.should_evaluate = step % self._steps == 0 or step >= state.max_steps


def which_held_out(
    recipe: Recipe, wanted: DataRecipe, prompts: Sequence[object], unit: str
) -> list[bool]:
    """Which items of a set are only looked at. All of a prompt are, in any set, or none.

    Args:
        prompts: of each item.
        unit: what items are called.

    Raises:
        BadInput: nothing is left to train on.
    """
    if recipe.eval is None or recipe.eval.share is None:
        return [wanted.name not in {one.name for one in recipe.data}] * len(prompts)
    share = recipe.eval.share
    held = [random.Random(f"{recipe.seed} {prompt}").random() < share for prompt in prompts]
    if all(held):
        raise BadInput(
            f"eval.share {share} leaves none of the {len(held)} {unit} of set {wanted.name!r} to "
            "train on; lower it, or name sets of their own with eval.data."
        )
    return held


def trained_on_too(
    recipe: Recipe,
    held_out: Mapping[str, Sequence[Hashable]],
    trained: Collection[Hashable],
    unit: str,
) -> list[str]:
    """A sentence for each set of ``eval.data`` that has prompts which are trained on as well.

    Args:
        held_out: the prompts of each set's items that are only looked at.
        trained: all prompts that are trained on.
        unit: what items are called.
    """
    found = []
    for name in (one.name for one in (recipe.eval.data if recipe.eval else ())):
        prompts = held_out.get(name, ())
        if both := sum(prompt in trained for prompt in prompts):
            found.append(
                f"{both} of the {len(prompts)} held-out {unit} of set {name!r} answer prompts that "
                "are trained on as well, so that their eval says less of new ones; for one without "
                "them take them out of the file, or hold out a share."
            )
    return found


def check_some(recipe: Recipe, held_out: int, count: int, unit: str) -> None:
    """Refuses a share that holds nothing out.

    Args:
        held_out: how many are.
        count: how many are not.
    """
    if recipe.eval is not None and not held_out:
        raise BadInput(
            f"eval.share {recipe.eval.share} holds out none of {count} {unit}; raise it, or name "
            "sets of their own with eval.data."
        )


def where(held: Sequence[bool], wanted: bool, items: Sequence[T]) -> list[T]:
    """The items that are held out, or those that are not."""
    return [item for item, out in zip(items, held, strict=True) if out is wanted]
