"""What a training would be: recipe, pairs, tokens, memory, without loading weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.progress import Progress
from bfpo_bench.models.number_format import training_advice
from bfpo_bench.training.output import FIRST
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import as_yaml
from bfpo_bench.training.tracked import check_report_to
from bfpo_bench.training.train import prepare

ADAM_BYTES = 8
"""Two float32 moments of each trained parameter."""

GRADIENT_BYTES = MASTER_BYTES = 4


def dry_run(
    recipe: Recipe,
    output: Path,
    progress: Progress,
    trust_remote_code: bool = False,
    device: str = "auto",
) -> str:
    """Text with the resolved recipe, pair and token counts, trained parameters and memory.

    Raises:
        BadInput: something asked for cannot be had.
    """
    if recipe.first is not None:
        first = dry_run(recipe.first, output / FIRST, progress, trust_remote_code, device)
        second = replace(recipe, base=recipe.stages[0].base, first=None, merge=None)
        q = recipe.merge
        mixed = [] if q is None else [f"the result is mixed of both, q = {q:g}"]
        return "\n".join(
            [
                *("First stage:", first, ""),
                *(f"Second stage, from the model in {output / FIRST}:",),
                dry_run(second, output, progress, trust_remote_code, device),
                *mixed,
            ]
        )
    check_report_to(recipe)
    prepared = prepare(recipe, progress, trust_remote_code)
    total, group = recipe.optimization.pairs_per_update, prepared.group
    groups = f", {group} to each of {total // group} prompts" if group > 1 else ""
    advice = training_advice(recipe.precision, device)
    lines = [
        f"recipe, with every default ({output}):",
        "",
        as_yaml(recipe.as_dict()),
        *prepared.base.beside.notes,
        *prepared.describe(),
        f"{prepared.updates:,} updates of {total} {prepared.unit}{groups}, "
        f"{prepared.batches()[0]} at once",
        *_rounds(recipe),
        *([advice] if advice else []),
        *_weights(recipe, prepared.base.outline),
    ]
    return "\n".join(lines)


def _rounds(recipe: Recipe) -> list[str]:
    """How often all of this is done."""
    if recipe.rounds is None:
        return []
    begin = "the model of the round before"
    if recipe.relabel is not None:
        begin = "the base model; after each the policy answers prompts, for the next λ"
    return [f"all of this in each of {recipe.rounds.number} rounds, from {begin}"]


def _weights(recipe: Recipe, model: Any) -> list[str]:
    """Trained parameters, and what weights, gradients and optimizer take."""
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    # Adapters are merged into the model in the end; they are none of its parameters.
    every = frozen if recipe.lora is not None else frozen + trained
    width = 2 if recipe.precision == "bf16" else 4
    fixed = frozen * width + trained * (MASTER_BYTES + GRADIENT_BYTES + ADAM_BYTES)
    return [
        f"{trained:,} of {every:,} parameters are trained",
        f"memory for weights, gradients and optimizer: about {_size(fixed)} on one device, "
        "and activations of the pairs at once on top",
    ]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
