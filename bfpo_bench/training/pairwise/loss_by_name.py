"""The loss that a recipe names, with its parameters, tried out before long work."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import Any, get_type_hints

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.imports import check_parameters, import_function, own_code
from bfpo_bench.training.pairwise import losses, safety_losses, trl_losses
from bfpo_bench.training.pairwise.losses import Loss, PairLogps


def _losses_of(module: ModuleType) -> dict[str, Callable[..., Tensor]]:
    """The public functions of a module that make a tensor of a batch."""
    found: dict[str, Callable[..., Tensor]] = {}
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            hints = list(get_type_hints(function).values())
            if (hints[0], hints[-1]) == (PairLogps, Tensor):
                found[name] = function
    return found


BUILT_IN = _losses_of(losses) | _losses_of(safety_losses) | _losses_of(trl_losses)


def load_loss(name: str, parameters: Mapping[str, Any] | None = None) -> Loss:
    """The loss that a recipe asks for, with its parameters filled in and tried out.

    Args:
        name: one of :data:`BUILT_IN`, or ``package.module:function``.
        parameters: its keyword arguments.

    Returns:
        The function of a batch; a ``functools.partial`` of the loss.

    Raises:
        BadInput: no such loss or parameter, a value out of range, or a function that does not
            return one differentiable value per pair.
    """
    function = import_function("loss", name) if ":" in name else BUILT_IN.get(name)
    if function is None:
        raise unknown_name("loss", name, BUILT_IN)
    parameters = dict(parameters or {})
    _check_parameters(name, function, parameters)
    loss = functools.partial(function, **parameters)
    check_loss(name, loss)
    if name in BUILT_IN:
        _check_values(name, loss, parameters)
    return loss


def _check_values(name: str, loss: Loss, parameters: Mapping[str, Any]) -> None:
    """Tries whether one of our losses teaches anything; of others nobody knows on which pairs.

    Raises:
        BadInput: a value or slope is no number, or all slopes are 0, on pairs like any.
    """
    batch = _made_up()
    values = loss(batch)
    [slope] = torch.autograd.grad(values.sum(), batch.chosen)
    if not (torch.isfinite(values).all() and torch.isfinite(slope).all() and slope.any()):
        said = ", ".join(f"{key} {value!r}" for key, value in parameters.items())
        raise BadInput(
            f"the loss {name} with {said} makes no numbers in float32, or none that move anything, "
            "of ordinary pairs; take values nearer to its defaults (docs/losses.md)."
        )


def strength(loss: Loss) -> float:
    """What scales log-ratios to implicit rewards: the loss's own β, or its τ."""
    given = inspect.signature(loss).parameters
    values = [given[name].default for name in ("beta", "tau") if name in given]
    return next((float(one) for one in values if isinstance(one, int | float)), 0.01)


def check_loss(name: str, loss: Loss, *, safety: bool = True, margin: bool = True) -> None:
    """Tries a loss on four made-up pairs, so that what it lacks is known before long work.

    Args:
        name: of the loss, for messages.
        loss: from :func:`load_loss`.
        safety: whether every pair of the data has safety labels.
        margin: whether every pair has a margin.

    Raises:
        BadInput: the loss cannot work with such data.
    """
    batch = _made_up(safety, margin)
    missing = ("" if safety else " without safety labels") + ("" if margin else " without margin")
    with own_code(f"the loss {name} fails on pairs{missing}"):
        result = loss(batch)
    shape = list(getattr(result, "shape", ()))
    if not isinstance(result, Tensor) or shape != [4]:
        raise BadInput(
            f"the loss {name} must return one value per pair, a tensor of shape [pairs] without "
            f"reduction; for 4 pairs it returned a {type(result).__name__} of shape {shape}."
        )
    if not result.requires_grad:
        raise BadInput(
            f"what the loss {name} returns has no gradient with respect to logps.chosen; it must "
            "depend on the policy's log-probabilities."
        )


def reads(loss: Loss, *names: str) -> bool:
    """Whether a loss reads one of these fields of the batch, whatever labels there are."""
    seen = set()

    class Watched(PairLogps):
        def __getattribute__(self, field: str) -> Any:
            seen.add(field)
            return super().__getattribute__(field)

    for safety, margin in itertools.product((True, False), repeat=2):
        with suppress(Exception):  # what it cannot do without is said elsewhere
            loss(Watched(**vars(_made_up(safety, margin))))
    return not seen.isdisjoint(names)


def needs_reference(loss: Loss) -> bool:
    """Whether a loss reads what the reference model thinks of the pairs."""
    return reads(loss, "ref_chosen", "ref_rejected", "divergence")


def takes_unpaired(loss: Loss) -> bool:
    """Whether a loss leaves alone what is not there: a response without tokens moves nothing."""
    batch = _made_up()
    for side in ("chosen", "rejected"):
        nothing = torch.zeros(4, requires_grad=True)
        none = {side: nothing, f"ref_{side}": torch.zeros(4), f"{side}_tokens": torch.zeros(4)}
        value = loss(replace(batch, **none)).sum()
        [slope] = torch.autograd.grad(value, nothing, allow_unused=True, materialize_grads=True)
        if slope.count_nonzero():
            return False
    return True


def _made_up(safety: bool = True, margin: bool = True) -> PairLogps:
    """Four pairs."""
    values = torch.linspace(-3.0, -1.0, 4, requires_grad=True)
    constant, length = torch.full((4,), -2.0), torch.full((4,), 2)
    safe = torch.tensor([True, True, False, False])
    return PairLogps(
        chosen=values,
        rejected=-5 - values,
        ref_chosen=constant,
        ref_rejected=constant,
        chosen_tokens=length,
        rejected_tokens=length,
        chosen_safe=safe if safety else None,
        rejected_safe=safe.flip(0) if safety else None,
        margin=torch.zeros(4) if margin else None,
        divergence=torch.zeros(4),
    )


def _check_parameters(
    name: str, function: Callable[..., Tensor], parameters: Mapping[str, Any]
) -> None:
    """Every key must be one that the function takes, and none that it needs be left out."""
    first, *rest = inspect.signature(function).parameters.values() or (None,)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise BadInput(
            f"the loss {name} must take the batch as its first argument: "
            "def loss(logps: PairLogps, *, parameter=default) -> Tensor."
        )
    check_parameters("loss", name, rest, parameters)
