"""Which weights are trained: layers selected by name pattern, everything else frozen."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.recipe import LoraRecipe, Recipe


def select_layers(model: Any, patterns: Sequence[str]) -> list[str]:
    """Freezes all parameters but those of the layers that match a pattern.

    A frozen parameter gets no gradient and no optimizer state. Selected ones become float32:
    steps of a learning rate like 5e-7 would vanish in the rounding of 16-bit weights.

    Args:
        model: a transformers model.
        patterns: parts of parameter names, with ``*`` for any text: ``mlp.down_proj`` is that
            matrix of every block, ``layers.1?.mlp`` the MLPs of blocks 10 to 19. Empty: all
            parameters are trained.

    Returns:
        names of the parameters that are trained.

    Raises:
        BadInput: a pattern selects nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    selected: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, f"*{pattern}*")]
        if not found:
            raise BadInput(
                f"the pattern {pattern!r} selects none of the layers; {_suggestion(names, pattern)}"
            )
        selected.update(found)
    trained = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not patterns or name in selected)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            trained.append(name)
    return trained


def add_adapters(model: Any, lora: LoraRecipe, patterns: Sequence[str]) -> Any:
    """Puts low-rank adapters (LoRA) beside the selected linear layers and freezes everything else.

    Args:
        model: a transformers model.
        patterns: as in :func:`select_layers`; empty: all linear layers but the output embedding.

    Returns:
        the PEFT model.

    Raises:
        BadInput: a pattern selects no linear layer.
    """
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not model.get_output_embeddings()
    }
    targets: set[str] = set(linear if not patterns else ())
    for pattern in patterns:
        found = [name for name in linear if fnmatchcase(name, f"*{pattern}*")]
        if not found:
            weights = [f"{name}.weight" for name in linear]
            raise BadInput(
                f"the pattern {pattern!r} selects no linear layer; {_suggestion(weights, pattern)}"
            )
        targets.update(found)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(targets),
        # PEFT finds out which layers have their weights the other way round (GPT-2's), and warns.
        fan_in_fan_out=any(isinstance(linear[name], Conv1D) for name in targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        return get_peft_model(model, config)


def choose_weights(model: Any, recipe: Recipe) -> Any:
    """The model with what a recipe does not train frozen, or with adapters, which its seed decides.

    Raises:
        BadInput: a pattern selects nothing.
    """
    import torch

    if recipe.lora is None:
        select_layers(model, recipe.layers)
        return model
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return add_adapters(model, recipe.lora, recipe.layers)


def _suggestion(names: Sequence[str], pattern: str) -> str:
    """The layers of a block, nearest name first."""
    ends = {
        ".".join(part for part in name.split(".")[-3:-1] if not part.isdigit()) for name in names
    }
    kinds = sorted(ends - {""})
    near = difflib.get_close_matches(pattern, kinds, n=1, cutoff=0.4)
    listed = ", ".join(kinds[:12])
    return f"did you mean {near[0]!r}? It has {listed}." if near else f"it has {listed}."
