"""What a training is of: it is gone on with, or read, only where all of this is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.imports import import_function, source_digest
from bfpo_bench.common.validate import validated
from bfpo_bench.models.chat import AS_WRITTEN, Chat
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.run.identity import formatless
from bfpo_bench.training.recipe import Recipe, renamed

BASE = ("settings", "tokens", "templates", "generation", "code")
"""Parts of the base model besides its weights, from ``checkpoint_identity``."""

SPECIAL = "special tokens"
"""The part that is there only where the tokenizer would add some to what the template writes;
version 0.1 let it."""

STEERED = "SteerLM prompt"
"""The part that is there only where responses are told apart by attributes; until 2026-11-29 the
attributes that are wanted in the end stood above each response's own."""

SOMETIMES = (SPECIAL, STEERED)
"""Where one of these is missing it does differ."""

LATER = ("chat template", "source", *(f"base {part}" for part in BASE))
"""Parts that version 0.1 did not write; where they are missing they cannot differ."""


def training_identity(
    recipe: Recipe,
    provenance: Mapping[str, str],
    data: Mapping[str, str],
    template: str | None,
    tokenizer: Any,
    rewards: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that a training depends on, by content and not by where it lies.

    Args:
        provenance: the base model, from :func:`base_identity`.
        data: digest of each set, by name.
        template: text of the recipe's chat template; None for the tokenizer's own.
        tokenizer: the base model's.
        rewards: identity (weights, objective, parameters) of each reward that is trained on.
    """
    digest = None if template is None else hashlib.sha256(template.encode()).hexdigest()[:16]
    return {
        "recipe": recipe.as_dict(),
        "base weights": provenance["weights"],
        **{f"base {part}": provenance.get(part) for part in BASE},
        "data": dict(data),
        "rewards": dict(rewards or {}),
        "chat template": digest,
        "source": _sources(recipe),
        **({SPECIAL: AS_WRITTEN} if Chat(tokenizer, template).adds_tokens() else {}),
        **({STEERED: "own attributes alone"} if recipe.attributes else {}),
    }


def base_identity(recipe: Recipe, base: ModelFiles, trust_remote_code: bool) -> dict[str, str]:
    """All that a training takes from its base model; its generation config is saved again."""
    return checkpoint_identity(
        base,
        templates=recipe.tokens.chat_template is None,
        generation=True,
        code=trust_remote_code,
    )


def _sources(recipe: Recipe) -> dict[str, str]:
    """Hash of the source of each function of one's own, by its name in the recipe."""
    rewards = [*recipe.rewards.values(), *([recipe.margin] if recipe.margin else [])]
    rewards += recipe.relabel.rewards.values() if recipe.relabel else []
    named = [recipe.loss, recipe.combination, *(reward.function for reward in rewards)]
    return {
        name: source_digest(import_function("function", name))
        for name in named
        if name is not None and ":" in name
    }


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The parts of a training's identity that are not the same: ``recipe``, ``data``, …

    Where base model, files, reward models, judges and chat template lie does not count: what they
    hold does, so that all of them may be moved.

    Args:
        earlier: as it was written.
        now: what a part of the same keys depends on now.
    """
    now = json.loads(json.dumps(now))  # lists for tuples, as they were written
    there = [key for key in now if key in earlier or key not in LATER]
    before, after = _placeless(earlier, there), _placeless(now, there)
    # Where version 0.1 had nothing to say, an SFT's rewards, it left the part out.
    different = [key for key in there if (before.get(key) or None) != (after[key] or None)]
    if "source" in different:
        old, new = earlier["source"], now["source"]
        edited = [name for name in new if old.get(name) != new[name]]
        different[different.index("source")] = f"source of {', '.join(edited)}"
    return different


def _placeless(identity: Mapping[str, Any], there: list[str]) -> Mapping[str, Any]:
    recipe = _whole(identity.get("recipe"))
    if not isinstance(recipe, dict):
        return identity
    # What the first stage was stands in its own record, and what came of it in the base weights.
    changed: dict[str, Any] = {
        "base": None,
        "first": None,
        "data": _fileless(recipe.get("data")),
    }
    if looked_at := recipe.get("eval"):
        changed["eval"] = {**looked_at, "data": _fileless(looked_at.get("data")), "steps": None}
    # What is kept and told meanwhile changes nothing of the model.
    changed |= dict.fromkeys(("save_minutes", "save_steps", "report_to"))
    if "rewards" in there:
        changed["rewards"] = _placeless_rewards(recipe.get("rewards"))
        changed["margin"] = _without(recipe.get("margin") or {}, PLACES)
        relabel = recipe.get("relabel") or {}
        placeless = _placeless_rewards(relabel.get("rewards"))
        changed["relabel"] = {**relabel, "rewards": placeless, "models": None}
    if "chat template" in there:
        changed["tokens"] = _without(recipe.get("tokens") or {}, ("chat_template",))
    # Nobody chooses a reward's number format: it follows from checkpoint and machine.
    rewards = formatless(identity.get("rewards") or {})
    return {**identity, "recipe": {**recipe, **changed}, "rewards": rewards}


def _placeless_rewards(rewards: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _without(one, PLACES) for name, one in (rewards or {}).items()}


def _whole(recipe: Any) -> Any:
    """A recipe as an older version wrote it: with today's keys, and the defaults of what it did not
    know yet.
    """
    try:
        return json.loads(json.dumps(validated(Recipe, renamed(recipe), "recipe").as_dict()))
    except (BadInput, AttributeError):
        return recipe


PLACES = ("model", "revision", "judge", "judge_model")
"""Where a reward comes from; what is found there stands in its own identity."""


def _fileless(sets: Any) -> list[dict[str, Any]]:
    return [_without(one, ("files",)) for one in sets or ()]


def _without(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in names}
