"""Multipliers of constrained objectives, which follow their constraint during training."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bfpo_bench.common.errors import BadInput

log = logging.getLogger(__name__)

LARGEST_STEP = 700.0
"""Of ln λ: e to a little more than that is no number."""


@dataclass
class Multiplier:
    """λ of Safe RLHF (Dai et al. 2023), for ``max E[helpful] subject to E[safe] ≥ threshold``.

    ``ln λ ← ln λ + rate · λ · shortfall``: it rises while the constraint is violated and falls
    while there is room.

    Attributes:
        threshold: of the constraint, on the scale of ``safe``.
        rate: how fast λ moves.
        value: λ, the initial one at first.
        largest: λ at most, theirs is 5; a training in which it comes to stand there is told.
    """

    threshold: float
    rate: float = 0.1
    value: float = 1.0
    largest: float = 5.0

    any_sign: ClassVar[tuple[str, ...]] = ("threshold",)

    def __post_init__(self) -> None:
        for name in ("threshold", "rate", "value", "largest"):
            if number(name, getattr(self, name)) <= 0 and name not in self.any_sign:
                raise BadInput(f"{name!r} of a combination's multiplier must be above 0.")

    def shortfall(self, safe: Tensor) -> Tensor:
        """What responses lack of the constraint on average, a scalar; negative where it holds."""
        return self.threshold - safe.mean()

    def update(self, shortfall: float) -> None:
        """Moves λ by the shortfall of a batch."""
        moved = self.moved(shortfall)
        if moved >= self.largest > self.value:
            log.warning(
                "The multiplier has reached its largest value, %g, and the constraint is still not "
                "met (safety lacks %.3g of %g): training goes on with it held there; where it "
                "should not be, lower 'rate' or 'threshold', or raise 'largest'.",
                *(self.largest, shortfall, self.threshold),
            )
        self.value = min(moved, self.largest)

    def moved(self, shortfall: float) -> float:
        """λ after a step, whatever the largest is."""
        return self.value * math.exp(min(self.rate * self.value * shortfall, LARGEST_STEP))


@dataclass
class RectifiedMultiplier(Multiplier):
    """λ of RePO, for ``safe ≥ threshold`` in *every* response, not on average.

    ``λ ← λ + rate · E{threshold - safe}⁺``, ascent along the slope of the Lagrangian
    ``E[helpful] - λ E{threshold - safe}⁺``. Nothing makes up for a violation, so λ never falls,
    and only ``largest`` (10, ours) ends its rise where some response is always unsafe.
    """

    largest: float = 10.0

    def shortfall(self, safe: Tensor) -> Tensor:
        """See :class:`Multiplier`; 0 where the constraint holds."""
        return (self.threshold - safe).relu().mean()

    def moved(self, shortfall: float) -> float:
        """See :class:`Multiplier`."""
        return self.value + self.rate * shortfall


@dataclass
class ProjectedMultiplier(Multiplier):
    """λ of C-DPO, for ``E[safe] ≥ threshold`` of the policy that a whole round has trained.

    ``λ ← [λ + rate · shortfall]₊``: a step down the dual's slope, back to 0 where it would go
    below. In the words of its source (Liu et al. 2024, arXiv 2403.02475) the shortfall is
    ``J_c - d``, mean cost beyond its limit, with ``c = -safe`` and ``d = -threshold``.
    """

    value: float = 0.0
    largest: float = 100.0

    any_sign: ClassVar[tuple[str, ...]] = ("threshold", "value")

    def moved(self, shortfall: float) -> float:
        """See :class:`Multiplier`."""
        return max(0.0, self.value + self.rate * shortfall)


def number(name: str, value: object) -> float:
    """A parameter of a combination, which must be finite; a recipe's come straight from YAML.

    Raises:
        BadInput: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{name!r} of a combination of rewards must be a number, not {value!r}.")
    return value
