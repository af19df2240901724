"""What a training would be: recipe, pairs, tokens, memory, without loading weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bfpo_bench.common.progress import Progress
from bfpo_bench.models.number_format import training_advice
from bfpo_bench.training.on_policy.rewards import JudgeReward, ModelReward
from bfpo_bench.training.on_policy.rloo import PreparedOnPolicy, prepare_on_policy
from bfpo_bench.training.pairwise.prepare import find_base, prepare, trained_outline
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.reports import check_reports
from bfpo_bench.training.sft import prepare_sft

ADAM_BYTES = 8
"""Two float32 moments of each trained parameter."""

GRADIENT_BYTES = MASTER_BYTES = 4


def look(
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
    check_reports(recipe.report_to)
    lines = [
        f"recipe, with every default ({output}):",
        "",
        yaml.safe_dump(_plain(recipe.as_dict()), sort_keys=False, allow_unicode=True),
    ]
    if recipe.kind == "sft":
        fine = prepare_sft(recipe, progress, trust_remote_code)
        lines += fine.beside.notes
        for one in fine.sets:
            left_out = f", {len(one.bad)} rows left out" if one.bad else ""
            lines.append(
                f"{one.name}: {len(one.conversations):,} conversations, "
                f"{sum(map(len, one.tokens)):,} tokens; cut: {one.cut:,} at the end{left_out}"
            )
        lines.append(
            f"{fine.updates:,} updates of {recipe.optimization.pairs_per_update} conversations, "
            f"{fine.batches()[0]} at once"
        )
    elif recipe.kind == "reward":
        lines += _on_policy(prepare_on_policy(recipe, progress, trust_remote_code))
    else:
        prepared = prepare(recipe, progress, trust_remote_code)
        lines += prepared.beside.notes
        for pairs in prepared.sets:
            left_out = f", {len(pairs.loaded.bad)} rows left out" if pairs.loaded.bad else ""
            lines.append(f"{pairs.loaded.name}: {pairs.counts}{left_out}")
        schedule = prepared.schedule()
        lines.append(
            f"{schedule.updates:,} updates of {recipe.optimization.pairs_per_update} pairs, "
            f"{schedule.batch_size} at once"
        )
        if prepared.margin is not None:
            lines.append("margins will be rated before training")
    if advice := training_advice(recipe.precision, device):
        lines.append(advice)
    lines += _weights(
        recipe, trained_outline(recipe, find_base(recipe, trust_remote_code), trust_remote_code)
    )
    return "\n".join(lines)


def _on_policy(prepared: PreparedOnPolicy) -> list[str]:
    """Prompts, rewards and updates."""
    recipe = prepared.recipe
    lines = [*prepared.beside.notes]
    for one in prepared.sets:
        left_out = f", {len(one.bad)} rows left out" if one.bad else ""
        too_long = f", {one.too_long} longer than max_prompt left out" if one.too_long else ""
        lines.append(
            f"{one.name}: {len(one.prompts):,} prompts, {one.tokens:,} tokens{left_out}{too_long}"
        )
    o, group = recipe.optimization, recipe.rollout.num_generations
    at_once, _ = prepared.batches()
    lines.append(
        f"{prepared.updates:,} updates of {o.pairs_per_update} responses, {group} to each of "
        f"{o.pairs_per_update // group} prompts, {at_once} at once"
    )
    sizes = {
        str(reward.found.files.folder): sum(p.stat().st_size for p in reward.found.files.weights)
        for reward in prepared.rewards.values()
        if isinstance(reward, ModelReward)
    }
    sizes |= {
        str(reward.judge.model.folder): sum(p.stat().st_size for p in reward.judge.model.weights)
        for reward in prepared.rewards.values()
        if isinstance(reward, JudgeReward) and reward.judge.model is not None
    }
    if recipe.rollout.beta > 0 and recipe.lora is None:
        folder = str(prepared.base.folder)
        sizes[f"reference {folder}"] = sum(p.stat().st_size for p in prepared.base.weights)
    if sizes:
        lines.append(
            f"reward models, judges and reference beside the policy: {len(sizes)}, about "
            f"{_size(sum(sizes.values()))} on every device"
        )
    return lines


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


def _plain(content: object) -> object:
    """Lists for tuples, which YAML would write as tagged ones."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
