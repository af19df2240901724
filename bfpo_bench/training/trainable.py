"""The model that is trained: found, loaded, its layers selected, and nothing in it left to chance.

A loss of log-ratios compares the policy with the reference, and a clipped objective compares it
with itself when it sampled. What a model leaves out at random while it trains (dropout, whole
layers) or adds (a router's jitter) would stand in those ratios: the first DPO loss of a GPT-2 with
its usual dropout of 0.1 would not be log 2. TRL's trainers switch off modules of dropout; many
architectures keep the probability as a number of a module or of the config instead.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.hf.load import load_causal_model, outline
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.config import find_causal_model
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import LoraRecipe

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}

RANDOM = re.compile(r"drop|jitter")
"""In the name of a number that says how much of something is left to chance."""

TOLERANCE = 1e-3
"""Difference of log-probabilities, relative to the largest, that is still none (16-bit weights)."""

PROBE = 24
"""Tokens that are computed both ways."""


def find_base(recipe: Recipe, trust_remote_code: bool = False) -> ModelFiles:
    """The model that training starts from."""
    if recipe.base is None:
        raise BadInput("no base model is given; name one with --model, or 'base' in the recipe.")
    return find_causal_model(recipe.base, None, "hf", trust_remote_code)


def trained_outline(recipe: Recipe, base: ModelFiles, trust_remote_code: bool = False) -> Any:
    """The base model without its weights, with what the recipe does not train frozen.

    Raises:
        BadInput: a pattern of the recipe selects no layer.
    """
    return choose_weights(outline(base.folder, trust_remote_code), recipe)


def load_model(
    base: ModelFiles, precision: str, trust_remote_code: bool = False, generation: Any = None
) -> Any:
    """The base model on the CPU, its weights in the recipe's precision.

    Args:
        generation: its generation config meanwhile; None for that of its folder.

    Raises:
        BadInput: its folder holds no whole checkpoint of a causal language model.
    """
    return load_causal_model(
        base.folder, DTYPES[precision], torch.device("cpu"), trust_remote_code, generation
    )


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


def leave_nothing_to_chance(model: Any) -> None:
    """Switches off dropout and its like, so that policy and reference compute alike.

    Raises:
        BadInput: the model computes otherwise in training even so.
    """
    without_chance(model)
    if (fault := chance_fault(model)) is not None:
        raise BadInput(
            f"{type(model).__name__} cannot be trained against a reference: {fault}; take a base "
            "model of another architecture, or SFT."
        )


def without_chance(model: nn.Module) -> None:
    """Switches off whatever a model does at random while it trains.

    Its config is changed as well, since some modules look there in every step; a config to be saved
    must be copied before.
    """
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _silence(vars(module))
    for config in {id(c): c for m in model.modules() if (c := getattr(m, "config", None))}.values():
        for one in (config, *(c for c in vars(config).values() if hasattr(c, "to_dict"))):
            _silence(vars(one))


def _silence(values: dict[str, Any]) -> None:
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value and RANDOM.search(name):
            values[name] = 0.0


@torch.no_grad()
def chance_fault(model: Any) -> str | None:
    """Why a model cannot be compared with itself while it trains; None when it can.

    Returns:
        the reason, as the end of a sentence.
    """
    size = int(model.get_input_embeddings().weight.shape[0])
    ids = (torch.arange(PROBE, device=model.device) * 7 % size)[None]
    was = model.training
    try:
        right, found = (
            torch.log_softmax(model.train(mode)(ids).logits.float(), dim=-1)
            for mode in (False, True)
        )
    finally:
        model.train(was)
    if not torch.isfinite(right).all():
        return None  # nothing to compare; the reference pass says what such weights are
    if float((found - right).abs().max() / right.abs().max()) <= TOLERANCE:
        return None
    return "it computes otherwise while it trains than it does in evaluation"
