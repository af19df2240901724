"""What the study compares: the methods, and controls that differ from one of them in one thing."""

from __future__ import annotations

from dataclasses import dataclass

from bfpo_bench.toy_world.methods import METHODS
from bfpo_bench.toy_world.preferences import REGIMES, SHUFFLED
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe


@dataclass(frozen=True)
class Arm:
    """One thing to train.

    Attributes:
        name: in tables.
        recipe: a toy recipe.
        changes: of it, as ``key=value``.
        meaning: what it is, of a control.
        regimes: where it is run.
    """

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    meaning: str = ""
    regimes: tuple[str, ...] = tuple(REGIMES)

    def at(self, setting: float) -> Recipe:
        """Its recipe with a setting."""
        rate = f"optimization.learning_rate={setting}"
        return load_recipe(self.recipe, [*self.changes, rate])


SETTINGS = (2.5e-3, 5e-3)
"""Highest learning rates that each arm may choose from. How far a training goes is decided by the
learning rate far more than by τ or β, for AdamW divides the gradient's size away."""

_WEIGHTED = ("mixing=buffered", "loss=bfpo_bench.toy_world.study.losses:weighted_ipo")
_CONFLICT = ("conflicting",)

METHOD_ARMS = tuple(
    # On-policy training takes a minute where the others take seconds, and its prompts hardly differ
    # between the regimes.
    Arm(name, f"toy/{name}", regimes=_CONFLICT if name == "morl" else tuple(REGIMES))
    for name in METHODS
)

CONTROLS = (
    Arm("dpo-buffered", "toy/dpo", ("mixing=buffered",), "DPO with equal batches of both sets"),
    Arm("ipo-buffered", "toy/ipo", ("mixing=buffered",), "IPO with equal batches of both sets"),
    Arm(
        "ipo-weighted",
        "toy/ipo",
        _WEIGHTED,
        "buffered IPO with targets as large as BFPO's, on the naive pairs",
    ),
    Arm("bfpo-no-buffer", "toy/bfpo", ("mixing=shuffled",), "BFPO without equal batches"),
    Arm("bfpo-no-shift", "toy/bfpo", ("loss_parameters.alpha=0",), "BFPO with α = 0"),
    Arm(
        "bfpo-alpha-0.25",
        "toy/bfpo",
        ("loss_parameters.alpha=0.25",),
        "BFPO with half the shift",
        _CONFLICT,
    ),
    Arm(
        "bfpo-alpha-0.75",
        "toy/bfpo",
        ("loss_parameters.alpha=0.75",),
        "BFPO with half as much shift again",
        _CONFLICT,
    ),
    Arm(
        "bfpo-shuffled-labels",
        "toy/bfpo",
        (f"data.1.files=[{SHUFFLED}.jsonl]",),
        "BFPO whose safety labels belong to other pairs of the set",
        _CONFLICT,
    ),
)

ARMS = METHOD_ARMS + CONTROLS
