"""How a model was trained, as ``training.json`` and the model's card say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bfpo_bench.common.text import markdown_text
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.run import small_table
from bfpo_bench.run.session import describe_environment, package_versions
from bfpo_bench.training.identity import LATER, SOMETIMES
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import as_yaml

SCHEMA_VERSION = 1
"""Of the record."""

NAMED = 100
"""Bad rows of a set that are named in the record; the others are counted."""


def set_entry(
    name: str, pairs: int, rows: int, bad: list[str], tokens: int, digest: str, **counts: int
) -> dict[str, Any]:
    """What the record says of a set.

    Args:
        pairs: what is trained on: pairs, conversations or prompts.
        rows: those found.
        bad: a sentence for each row that was left out.
        digest: of what is trained on.
        counts: what else happened to them: ``cut``, ``too_long``, ``swapped``, ``dropped``.
    """
    return {
        "name": name,
        "pairs": pairs,
        "rows": rows,
        "left_out": len(bad),
        "bad_rows": bad[:NAMED],
        **counts,
        "tokens": tokens,
        "digest": digest,
    }


def training_record(
    recipe: Recipe,
    base: ModelFiles,
    identity: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    trainer: Any,
    seconds: Mapping[str, float],
    started: datetime,
    notes: Sequence[str] = (),
    found: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``training.json`` of a finished training.

    Args:
        identity: from :func:`~bfpo_bench.training.identity.training_identity`.
        data: from :func:`set_entry`, for each set.
        trainer: the transformers Trainer that has run.
        seconds: spent, by stage.
        started: when the training began, with its time zone.
        notes: what a reader of the row should know.
        found: what was found before the training, by name.
    """
    parameters = trainer.model.parameters()
    return {
        "schema": SCHEMA_VERSION,
        "method": recipe.method,
        **identity_entries(recipe, base, identity),
        "notes": list(notes),
        "data": [dict(one) for one in data],
        **(found or {}),
        "updates": trainer.state.max_steps,
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "processes": trainer.args.world_size,
        "started": started.isoformat(timespec="seconds"),
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        "curves": trainer.state.log_history,
        "versions": package_versions(),
        "environment": describe_environment(),
    }


def identity_entries(
    recipe: Recipe, base: ModelFiles, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Of ``training.json`` what a training is known again by, besides its data.

    Args:
        identity: from :func:`~bfpo_bench.training.identity.training_identity`.
    """
    return {
        "recipe": recipe.as_dict(),
        "base": {"name": base.name, "revision": base.revision, "weights": identity["base weights"]},
        "rewards": identity["rewards"],
        **{part: identity[part] for part in (*LATER, *SOMETIMES) if part in identity},
    }


def model_card(record: dict[str, Any]) -> str:
    """Markdown for the ``README.md`` beside the weights.

    Args:
        record: content of ``training.json``.
    """
    sets = [
        [one["name"], f"{one['pairs']:,}", *(str(one.get(part, "")) for part in ("tokens", "cut"))]
        for one in record["data"]
    ]
    table = "\n".join(small_table.markdown(("set", "items", "tokens", "cut to fit"), sets))
    losses = [entry["loss"] for entry in record["curves"] if "loss" in entry]
    ends = f"The last logged loss is {losses[-1]:.4f}." if losses else ""
    notes = "".join(f"\n{markdown_text(note)}\n" for note in record["notes"])
    method, base = record["method"], record["base"]["name"]
    about = {"base_model": base, "library_name": "transformers", "tags": ["bfpo-bench", method]}
    return f"""---
{as_yaml(about)}---

# {markdown_text(f"{method} on {base}")}

Trained by bfpo-bench: {record["updates"]:,} updates of {record["trained_parameters"]:,} parameters
in {record["seconds"]["training"]:.0f} s. {ends}
`training.json` holds the recipe, digests of data and weights, versions and learning curves.
{notes}{table}

## Recipe

```yaml
{as_yaml(record["recipe"])}```
"""
