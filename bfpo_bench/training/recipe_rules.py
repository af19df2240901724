"""What a recipe's types do not say: ranges, and what goes with what."""

from __future__ import annotations

import math

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.models.chat import DATE, is_date
from bfpo_bench.training.data.formats import FORMATS
from bfpo_bench.training.data.preferences import PAIRINGS
from bfpo_bench.training.recipe import Recipe, RolloutRecipe

SMALLEST_FLOAT32 = 2.0**-149
"""Trained weights and their updates are float32: what is less moves nothing."""

PAIRS = {
    "preference": [*PAIRINGS],
    "sft": [*PAIRINGS, "chat", "attributes"],
    "reward": ["prompts", "chat"],
}
"""What each kind of recipe can make of a set."""


def check_sets(recipe: Recipe) -> None:
    """Every set can be read as it is to be: told before the first one is, which can take long.

    Raises:
        BadInput: unknown pairs or format, no file and no hub id, or both.
    """
    for one in recipe.data:
        if one.pairs not in PAIRS[recipe.kind]:
            raise unknown_name(
                f"value of 'pairs' in set {one.name!r}:", one.pairs, PAIRS[recipe.kind]
            )
        if one.format is not None and one.format not in FORMATS:
            raise unknown_name("format of preference data", one.format, FORMATS)
        if bool(one.files) == bool(one.hub):
            raise BadInput(
                f"set {one.name!r} needs either files or a data set on the hub, not both."
            )


def broken_rule(recipe: Recipe) -> str | None:
    """A clause for the first thing that is not right in a recipe; None where all is."""
    o, t = recipe.optimization, recipe.tokens
    rules = [
        (bool(recipe.data), "'data' must name at least one set"),
        (
            SMALLEST_FLOAT32 <= o.learning_rate < math.inf,
            "'learning_rate' must be above 0, also in float32",
        ),
        (0 <= o.warmup < 1, "'warmup' is a share from 0 to below 1"),
        (o.weight_decay >= 0, "'weight_decay' must be 0 or more"),
        (o.max_grad_norm > 0, "'max_grad_norm' must be above 0"),
        (o.pairs_per_update >= 1, "'pairs_per_update' must be at least 1"),
        (o.pairs_at_once >= 1, "'pairs_at_once' must be at least 1"),
        (0 < o.epochs < math.inf, "'epochs' must be above 0"),
        (o.updates is None or o.updates >= 1, "'updates' must be at least 1"),
        (t.max_length > t.max_prompt >= 1, "'max_prompt' must be from 1 to below 'max_length'"),
        (recipe.lora is None or recipe.lora.rank >= 1, "'rank' must be at least 1"),
        (recipe.lora is None or recipe.lora.alpha > 0, "'alpha' of lora must be above 0"),
        (
            recipe.lora is None or 0 <= recipe.lora.dropout < 1,
            "'dropout' of lora is a share from 0 to below 1",
        ),
        (all(d.limit is None or d.limit >= 1 for d in recipe.data), "'limit' must be at least 1"),
        (is_date(t.date), f"'date' of tokens is written YYYY-MM-DD, such as {DATE}"),
        (recipe.seed >= 0, "'seed' must be 0 or more"),
        (recipe.save_every is None or recipe.save_every >= 1, "'save_every' must be at least 1"),
        (
            recipe.save_minutes is None or 0 < recipe.save_minutes < math.inf,
            "'save_minutes' must be above 0 (null keeps no checkpoints by the clock)",
        ),
        *_kind_rules(recipe),
        (
            len({d.name for d in recipe.data}) == len(recipe.data),
            "two sets have the same 'name'",
        ),
        (
            recipe.mixing != "buffered" or o.pairs_per_update % max(1, len(recipe.data)) == 0,
            f"'buffered' takes as many pairs from each of {len(recipe.data)} sets: "
            "'pairs_per_update' must be a multiple",
        ),
    ]
    return next((sentence for right, sentence in rules if not right), None)


def _kind_rules(recipe: Recipe) -> list[tuple[bool, str]]:
    """What belongs to which kind of recipe."""
    kind, r, o = recipe.kind, recipe.rollout, recipe.optimization
    pairwise, on_policy = kind == "preference", kind == "reward"
    named = {d.pairs for d in recipe.data}
    every = [*recipe.rewards.values(), *([recipe.margin] if recipe.margin else [])]
    sources = [(m.model, m.judge, m.function, m.label) for m in every]
    return [
        (not pairwise or recipe.loss is not None, "a preference recipe needs a 'loss'"),
        (pairwise or recipe.loss is None, f"a recipe of kind {kind} has no 'loss'"),
        (recipe.margin is None or pairwise, "a 'margin' belongs to a preference recipe"),
        (on_policy == bool(recipe.rewards), "'rewards' and kind: reward go together"),
        (on_policy == bool(recipe.combination), "'combination' and kind: reward go together"),
        (
            (kind == "sft" and "attributes" in named) == bool(recipe.attributes),
            "'attributes' and SFT sets with pairs: attributes go together",
        ),
        (
            all(sum(one is not None for one in source) == 1 for source in sources),
            "a reward comes from one of 'model', 'judge', 'function' and 'label'",
        ),
        (
            all(m.label is None for m in recipe.rewards.values()),
            "new responses have no 'label'; only a 'margin' can come from it",
        ),
        (
            not on_policy or recipe.lora is None or not recipe.lora.dropout,
            "on-policy, 'dropout' of lora would part the policy from its own samples; leave it out",
        ),
        (r.responses >= 2, "'responses' must be at least 2: each is compared with the others"),
        (r.max_response >= 1, "'max_response' must be at least 1"),
        (0 < r.temperature < math.inf, "'temperature' must be above 0"),
        (0 < r.top_p <= 1, "'top_p' is a share above 0"),
        (0 <= r.kl < math.inf, "'kl' must be 0 or more"),
        (0 < r.clip < 1, "'clip' is a share between 0 and 1"),
        (
            not on_policy or o.pairs_per_update % max(1, r.responses) == 0,
            "'pairs_per_update' counts responses, so it must be a multiple of 'responses'",
        ),
        (not on_policy or recipe.mixing == "shuffled", "prompts are always 'shuffled'"),
        (kind != "sft" or recipe.mixing == "shuffled", "conversations are always 'shuffled'"),
        (pairwise or not recipe.loss_parameters, "'loss_parameters' belong to kind: preference"),
        (on_policy or r == RolloutRecipe(), "'rollout' belongs to kind: reward"),
        (
            on_policy or not recipe.combination_parameters,
            "'combination_parameters' belong to kind: reward",
        ),
        (
            on_policy or not any(d.unsafe_prompts for d in recipe.data),
            "'unsafe_prompts' belongs to kind: reward",
        ),
    ]
