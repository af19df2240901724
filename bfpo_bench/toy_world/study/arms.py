"""What the study trains: methods, controls, and the settings from which each may choose.

A recipe in ``training/recipes/toy`` is an arm by being there. Controls differ from a method in one
thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.toy_world.datasets import SHUFFLED
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe, recipe_names

START = "sft"
"""What the start model is called among the arms."""

NO_RIVALS = ("sft", "steerlm", "bilinear", "lagrangian", "llama2", "maxmin", "rbr")
"""Toy recipes that are no arms: the start, and what nobody proposes against BFPO."""

FIRST = ("dpo-h", "dpo-s", "dpo", "ipo", "bfpo", "morl")
"""The paper's own rows, which stand on top."""

RATES = (1.0, 2.0, 0.5, 4.0)
"""Highest learning rates that are tried, in this order, as multiples of the recipe's. How far a
training goes is decided by the learning rate far more than by τ or β, for AdamW divides the
gradient's size away."""

FEWER: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("morl", "repo", "cvar", "multiplicative"), ("optimization.max_steps=15",)),
    "raft": ("data.0.limit=60", "data.1.limit=60"),
    "c-dpo": ("rounds.number=3", "rounds.prompts=160"),
    "safety-tuning": ("data.0.limit=400",),
}
"""What a method is cut down to, by toy recipe. Those that sample their own responses: to about a
thousand of them; as many as the recipes want take ten times as long as pairs that are there. Safety
tuning: to as much as leaves the small safety set of a regime its share."""


@dataclass(frozen=True)
class Knob:
    """What trades harm for help in a method.

    Attributes:
        symbol: in tables and pictures.
        key: what of the recipe it is.
        values: for the front; the second is tried beside the recipe's own, which is the first.
        fixed: other changes that keep it apart from the rest of the recipe.
    """

    symbol: str
    key: str
    values: tuple[float, ...]
    fixed: tuple[str, ...] = ()


_SACPO = ("first.loss_parameters={beta: 0.25}",)

KNOBS: Mapping[str, Knob] = {
    "bfpo": Knob("α", "loss_parameters.alpha", (0.5, 0.75, 0.25, 0.0)),
    "safedpo": Knob("Δ", "loss_parameters.delta", (0.5, 2.0, 1.0, 0.0)),
    "bso": Knob("C", "loss_parameters.penalty", (0.5, 2.0, 1.0, 0.0)),
    "modpo": Knob("w", "loss_parameters.weight", (0.5, 0.25, 0.1)),
    "sacpo": Knob("β", "loss_parameters.beta", (0.25, 0.1, 0.025), _SACPO),
    "p-sacpo": Knob("q", "merge", (0.5, 0.75, 0.25)),
    "mocan": Knob("b", "relabel.margin", (0.4, 0.2, 0.1)),
    "pecan": Knob("b", "relabel.margin", (0.1, 0.05, 0.2)),
    "equilibrate": Knob("w", "data.1.emphasis.weight", (3.0, 1.0, 9.0)),
    "morl": Knob("w", "combination_parameters.weight", (0.6, 0.5, 0.4, 0.8)),
    "cvar": Knob("w", "combination_parameters.weight", (0.6, 0.5, 0.4, 0.8)),
}
"""By toy recipe."""


@dataclass(frozen=True)
class Setting:
    """What an arm may choose.

    Attributes:
        rate: multiple of the recipe's learning rate.
        value: of its knob; None where it has none.
    """

    rate: float
    value: float | None = None


@dataclass(frozen=True)
class Arm:
    """One thing to train.

    Attributes:
        name: in tables.
        recipe: a toy recipe.
        changes: of it, as ``key=value``.
        meaning: what it is, of a control.
        knob: what it may turn.
    """

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    meaning: str = ""
    knob: Knob | None = None

    def at(self, setting: Setting) -> Recipe:
        """Its recipe with a setting."""
        changes = [*self.changes]
        if self.knob is not None:
            changes += [*self.knob.fixed, f"{self.knob.key}={setting.value}"]
        rate = load_recipe(self.recipe).optimization.learning_rate * setting.rate
        return load_recipe(self.recipe, [*changes, f"optimization.learning_rate={rate}"])

    def trials(self, count: int) -> list[Setting]:
        """As many settings as every other arm may choose from, the recipe's own first."""
        if self.knob is None:
            return [Setting(rate) for rate in RATES[:count]]
        values = self.knob.values[:2]
        return [Setting(rate, value) for value in values for rate in RATES[:2]][:count]

    def front(self, rate: float) -> list[Setting]:
        """Every value of its knob, at one learning rate."""
        return [Setting(rate, value) for value in sorted(self.knob.values)] if self.knob else []

    def turned(self, value: float | None) -> str:
        """What its knob is turned to."""
        return f"{self.knob.symbol} = {value:g}" if self.knob else ""

    @property
    def truth(self) -> bool:
        """Whether the world's truth is its reward or its margin; others see labelled pairs."""
        return "toy_world.rewards" in repr(load_recipe(self.recipe, self.changes))


def _methods() -> tuple[Arm, ...]:
    names = [name.removeprefix("toy/") for name in recipe_names() if name.startswith("toy/")]
    rivals = [name for name in names if name not in (*NO_RIVALS, *FIRST)]
    return tuple(
        Arm(name, f"toy/{name}", FEWER.get(name, ()), knob=KNOBS.get(name))
        for name in (*FIRST, *rivals)
    )


METHODS = _methods()

_WEIGHTED = ("mixing=buffered", "loss=bfpo_bench.toy_world.study.trainer:weighted_ipo")

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
    Arm("bfpo-no-shift", "toy/bfpo", ("loss_parameters.alpha=0.0",), "BFPO with α = 0"),
    Arm(
        "bfpo-shuffled-labels",
        "toy/bfpo",
        (f"data.1.files=[{SHUFFLED}.jsonl]",),
        "BFPO whose safety labels belong to other pairs of the set",
    ),
)

ARMS = METHODS + CONTROLS


def arms_named(names: Sequence[str] | None) -> tuple[Arm, ...]:
    """These arms, or all.

    Raises:
        BadInput: there is no such arm.
    """
    known = {arm.name: arm for arm in ARMS}
    for name in names or ():
        if name not in known:
            raise unknown_name("method", name, known)
    return ARMS if not names else tuple(known[name] for name in names)
