"""Nothing is left out at random: the policy computes as the reference did.

A loss of log-ratios compares the policy with the reference, and a clipped objective compares it
with itself when it sampled. What a model leaves out at random while it trains (dropout, whole
layers) or adds (a router's jitter) would stand in those ratios: the first DPO loss of a GPT-2 with
its usual dropout of 0.1 would not be log 2. TRL's trainers switch off modules of dropout; many
architectures keep the probability as a number of a module or of the config instead.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

RANDOM = re.compile(r"drop|jitter")
"""In the name of a number that says how much of something is left to chance."""

TOLERANCE = 1e-3
"""Difference of log-probabilities, relative to the largest, that is still none (16-bit weights)."""

PROBE = 24
"""Tokens that are computed both ways."""


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
