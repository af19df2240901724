"""Recipes: everything that a training run is made of; :mod:`~.recipe_file` reads them.

Keys that transformers and TRL have are called as they call them. What breaks a rule is refused when
a recipe is made, by pydantic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.validate import STRICT, Text, Texts
from bfpo_bench.training.recipe_parts import (
    VLLM,
    Count,
    DataRecipe,
    EvalRecipe,
    LoraRecipe,
    OptimizationRecipe,
    Positive,
    RelabelRecipe,
    RewardRecipe,
    RolloutRecipe,
    RoundsRecipe,
    TokenRecipe,
)

RENAMED: Mapping[str, Mapping[str, str]] = {
    "": {"save_every": "save_steps"},
    "optimization": {
        "lr": "learning_rate",
        "schedule": "lr_scheduler_type",
        "warmup": "warmup_ratio",
        "pairs_at_once": "per_device_train_batch_size",
        "epochs": "num_train_epochs",
        "updates": "max_steps",
    },
    "rollout": {
        "responses": "num_generations",
        "max_response": "max_completion_length",
        "kl": "beta",
        "clip": "epsilon",
    },
}
"""What keys of version 0.1 are called now, by the part of a recipe that they stand in."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A training run.

    Attributes:
        method: the row's name in tables: ``bfpo``, ``dpo-h``, …
        kind: ``preference`` (pairwise losses), ``sft`` or ``reward`` (on-policy).
        base: folder or hub id of the model that training starts from and that is the reference.
        data: the sets.
        loss: a built-in loss, or ``package.module:function``.
        loss_parameters: its parameters.
        margin: reward whose difference between the two responses is the margin of MODPO.
        relabel: winners are drawn anew, by what responses are worth.
        rewards: on-policy, and for the best of own answers: rewards by name; the built-in
            combinations call theirs ``helpful`` and ``safe``.
        combination: of these, the global reward: a built-in one or ``package.module:function``.
        combination_parameters: its parameters.
        rollout: how responses are sampled, where they are.
        rounds: how often all of it is done, and what moves between; None trains once.
        attributes: SteerLM: what is asked of the model in evaluation, e.g. ``{helpfulness: 1}``.
        mixing: ``buffered`` or ``shuffled``.
        eval: what is held out, and when it is looked at; None holds nothing out.
        layers: name patterns of the layers that are trained; empty trains all.
        precision: ``bf16`` (frozen weights and products in bfloat16, trained weights in float32)
            or ``fp32``.
        report_to: where else to report: ``wandb``, ``mlflow``, ``tensorboard``, ``trackio``.
        save_minutes: minutes of training between checkpoints to resume from; None keeps none.
        save_steps: updates between checkpoints, besides.
        first: a training that comes before: this one starts from its model, which is also its
            reference. In a file, what it does not say it shares with this one.
        merge: share q of this stage's model in the result, the rest being the first one's; None
            leaves this stage's model as it is.
    """

    method: Text
    data: tuple[DataRecipe, ...]
    base: str | None = None
    kind: Literal["preference", "sft", "reward"] = "preference"
    loss: str | None = None
    loss_parameters: dict[str, Any] = field(default_factory=dict)
    margin: RewardRecipe | None = None
    relabel: RelabelRecipe | None = None
    rewards: dict[str, RewardRecipe] = field(default_factory=dict)
    combination: str | None = None
    combination_parameters: dict[str, Any] = field(default_factory=dict)
    rollout: RolloutRecipe = RolloutRecipe()
    rounds: RoundsRecipe | None = None
    attributes: dict[str, int] = field(default_factory=dict)
    mixing: Literal["buffered", "shuffled"] = "shuffled"
    eval: EvalRecipe | None = None
    tokens: TokenRecipe = TokenRecipe()
    layers: Texts = ()
    lora: LoraRecipe | None = None
    optimization: OptimizationRecipe = OptimizationRecipe()
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    seed: Annotated[int, Field(ge=0)] = 42
    report_to: Texts = ()
    save_minutes: Positive | None = 15.0
    save_steps: Count | None = None
    first: Recipe | None = None
    merge: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def stages(self) -> list[Recipe]:
        """The trainings that a recipe is made of, in their order; the last is itself."""
        return [*(self.first.stages if self.first else []), self]

    def reported_to(self, names: Texts) -> Recipe:
        """The same, with all its stages reported there."""
        first = self.first.reported_to(names) if self.first else None
        return dataclasses.replace(self, report_to=names, first=first)

    def __post_init__(self) -> None:
        for right, rule in _rules(self):
            if not right:
                raise ValueError(f"{rule}.")

    @property
    def every_set(self) -> tuple[DataRecipe, ...]:
        """The sets that are trained on, and then those that are only looked at."""
        return self.data + (self.eval.data if self.eval else ())

    def as_dict(self) -> dict[str, Any]:
        """The whole recipe with every default written out."""
        return dataclasses.asdict(self)


def _rules(recipe: Recipe) -> list[tuple[bool, str]]:
    """What must be right together, and a clause to say so."""
    kind, r, o = recipe.kind, recipe.rollout, recipe.optimization
    pairwise, on_policy = kind == "preference", kind == "reward"
    named, looked_at = {d.pairs for d in recipe.data}, recipe.every_set[len(recipe.data) :]
    best_of = kind == "sft" and "prompts" in named
    rewarded = on_policy or best_of
    sampled = best_of or recipe.rounds is not None
    return [
        (bool(recipe.data), "'data' must name at least one set"),
        (recipe.merge is None or recipe.first is not None, "'merge' mixes with a 'first' stage"),
        (not pairwise or recipe.loss is not None, "a preference recipe needs a 'loss'"),
        (pairwise or recipe.loss is None, f"a recipe of kind {kind} has no 'loss'"),
        (recipe.margin is None or pairwise, "a 'margin' belongs to a preference recipe"),
        (
            recipe.eval is None or not on_policy,
            "a recipe of kind reward has no 'eval', for its 'reward' is always that of responses "
            "that it was not trained on yet; for other prompts, evaluate the model",
        ),
        (
            kind != "sft" or "prompts" not in {d.pairs for d in looked_at},
            "'eval.data' of an SFT are conversations, not prompts",
        ),
        (
            all(d.share is None for d in recipe.data)
            or (
                kind == "sft"
                and sum(d.share or 0.0 for d in recipe.data) < 1
                and any(d.share is None for d in recipe.data)
            ),
            "a 'share' belongs to an SFT set that has others without one beside it, and all shares "
            "together are below 1",
        ),
        (
            all(d.share is None for d in looked_at),
            "sets of 'eval' have a 'limit', and no 'share'",
        ),
        (recipe.relabel is None or pairwise, "'relabel' belongs to a preference recipe"),
        (
            recipe.relabel is None or recipe.margin is None,
            "'margin' is of the pairs as they are and 'relabel' makes others; leave one out",
        ),
        (
            rewarded == bool(recipe.rewards),
            "'rewards' go together with kind: reward, or with SFT sets with pairs: prompts",
        ),
        (
            rewarded == bool(recipe.combination),
            "'combination' goes together with kind: reward, or with SFT sets with pairs: prompts",
        ),
        *_round_rules(recipe, best_of),
        (
            (kind == "sft" and "attributes" in named) == bool(recipe.attributes),
            "'attributes' and SFT sets with pairs: attributes go together",
        ),
        (
            all(m.label is None for m in recipe.rewards.values()),
            "new responses have no 'label'; only a 'margin' can come from it",
        ),
        (
            not on_policy or recipe.lora is None or not recipe.lora.dropout,
            "on-policy, 'dropout' of lora would part the policy from its own samples; leave it out",
        ),
        (
            not on_policy or o.pairs_per_update % r.num_generations == 0,
            "'pairs_per_update' counts responses, so it must be a multiple of 'num_generations'",
        ),
        (not on_policy or recipe.mixing == "shuffled", "prompts are always 'shuffled'"),
        (kind != "sft" or recipe.mixing == "shuffled", "conversations are always 'shuffled'"),
        (pairwise or not recipe.loss_parameters, "'loss_parameters' belong to kind: preference"),
        (
            on_policy or sampled or r == RolloutRecipe(),
            "'rollout' belongs to kind: reward, to SFT sets with pairs: prompts, and to 'rounds'",
        ),
        (
            not sampled or (r.beta, r.epsilon) == (RolloutRecipe.beta, RolloutRecipe.epsilon),
            "'beta' and 'epsilon' of 'rollout' belong to kind: reward",
        ),
        (
            not sampled or not set(r.vllm) - set(VLLM),
            f"where a finished model is sampled from, 'vllm' takes {', '.join(VLLM)} alone",
        ),
        (
            rewarded or not recipe.combination_parameters,
            "'combination_parameters' belong to a 'combination'",
        ),
        (
            rewarded or not any(d.unsafe_prompts for d in recipe.data),
            "'unsafe_prompts' belongs to kind: reward, or to SFT sets with pairs: prompts",
        ),
        (
            all(d.emphasis is None or not (on_policy or d.pairs == "prompts") for d in recipe.data),
            "an 'emphasis' weighs responses that are there, and prompts have none",
        ),
        (
            len({d.name for d in recipe.every_set}) == len(recipe.every_set),
            "two sets have the same 'name'",
        ),
        (
            recipe.mixing != "buffered" or o.pairs_per_update % max(1, len(recipe.data)) == 0,
            f"'buffered' takes as many pairs from each of {len(recipe.data)} sets: "
            "'pairs_per_update' must be a multiple",
        ),
    ]


def _round_rules(recipe: Recipe, best_of: bool) -> list[tuple[bool, str]]:
    rounds, relabel = recipe.rounds, recipe.relabel
    if rounds is None:
        return []
    return [
        (
            best_of or relabel is not None,
            "'rounds' belong to 'relabel' (C-DPO), or to SFT sets with pairs: prompts (RAFT)",
        ),
        (
            relabel is None or bool(relabel.rewards),
            "'rounds' ask what new responses are worth: 'relabel' needs 'rewards', not 'models'",
        ),
        (
            relabel is None or relabel.multiplier is None,
            "'rounds' move the multiplier: give 'relabel' a 'threshold' or a 'margin' instead, and "
            "'initial' to 'rounds'",
        ),
        (
            not best_of or rounds == RoundsRecipe(rounds.number),
            "of 'rounds', an SFT takes 'number' alone",
        ),
        (rounds.initial < rounds.largest, "of 'rounds', 'initial' must be below 'largest'"),
        (recipe.merge is None, "'merge' mixes two stages, and 'rounds' are of one"),
    ]


def renamed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as version 0.1 wrote it, with today's keys."""
    found: dict[str, Any] = {RENAMED[""].get(key, key): value for key, value in content.items()}
    for part, names in RENAMED.items():
        if isinstance(found.get(part), Mapping):
            found[part] = {names.get(key, key): value for key, value in found[part].items()}
    return found
