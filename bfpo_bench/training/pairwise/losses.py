"""Losses of preference optimisation: pure functions from log-probabilities to one value per pair.

A loss is ``def name(logps: PairLogps, *, parameter=default) -> Tensor`` of shape [pairs], without
reduction. Those of the BFPO paper's table are here, its rivals' in ``safety_losses.py`` and
``trl_losses.py``; a recipe names any public function of that form in these three files, or one of
its own (``loss_by_name.py``).
Equations and what theory says of them: docs/losses.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.preferences import SAFETY


@dataclass(frozen=True)
class PairLogps:
    """What a loss sees of a batch. Every tensor has the shape [pairs].

    Attributes:
        chosen: log-probability of the chosen response under the policy, summed over its tokens (by
            their weights), in nats; differentiable. The chosen response is the more helpful one,
            except where the recipe builds its pairs otherwise.
        rejected: the same of the rejected response.
        ref_chosen: the same of the chosen response under the reference model; a constant.
        ref_rejected: of the rejected response under the reference model.
        chosen_tokens: length of the chosen response in tokens, each counted by its weight where the
            data weigh segments; 0 where there is none, as in an unpaired row whose response is
            undesirable.
        rejected_tokens: length of the rejected response, or 0.
        chosen_safe: bool, whether the chosen response is safe; None when it is not known of every
            pair.
        rejected_safe: of the rejected response.
        margin: MODPO's reward difference of the other objective, chosen minus rejected; None when
            the data has none.
        divergence: estimate of KL(π ‖ π_ref), the same for all pairs of a batch: the mean log-ratio
            of responses to other prompts (:mod:`~bfpo_bench.training.pairwise.mismatched`), a
            constant; None for losses that do not read it.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_safe: Tensor | None = None
    rejected_safe: Tensor | None = None
    margin: Tensor | None = None
    divergence: Tensor | None = None

    @property
    def log_ratio(self) -> Tensor:
        """``log(π(chosen) π_ref(rejected) / (π(rejected) π_ref(chosen)))``, [pairs]."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)

    def safety(self, loss: str) -> tuple[Tensor, Tensor]:
        """Whether the chosen response is safe, and the rejected one.

        Args:
            loss: that needs it, for messages.

        Raises:
            BadInput: it is not known of every pair.
        """
        if self.chosen_safe is None or self.rejected_safe is None:
            raise BadInput(
                f"the {loss} loss needs to know whether each response of a pair is safe, and there "
                f"are pairs without that label; it is provided by {SAFETY.provided_by}, or take a "
                "loss that does without, such as dpo or ipo."
            )
        return self.chosen_safe, self.rejected_safe

    def margins(self, loss: str) -> Tensor:
        """The reward differences of the other objective.

        Raises:
            BadInput: the data has none.
        """
        if self.margin is None:
            raise BadInput(
                f"the {loss} loss needs a margin for every pair: a reward of the chosen response "
                "less that of the rejected one; say with 'margin' in the recipe where it comes "
                "from, or use dpo."
            )
        return self.margin


Loss = Callable[[PairLogps], Tensor]
"""A pairwise loss with its parameters filled in: ``[pairs]`` from the pairs' log-probabilities."""


def dpo(logps: PairLogps, *, beta: float = 0.01, label_smoothing: float = 0.0) -> Tensor:
    """Direct preference optimisation: Rafailov et al. 2023, Eq. 7.

    Args:
        logps: the batch.
        beta: strength of the pull towards the reference model; the BFPO paper uses 0.01.
        label_smoothing: assumed share of pairs whose preference is wrong, in [0, 0.5); above 0 this
            is the conservative loss of Mitchell 2023.
    """
    positive("beta", beta)
    if not 0 <= number("label_smoothing", label_smoothing) < 0.5:
        raise BadInput(f"label_smoothing must be from 0 to below 0.5, not {label_smoothing:g}.")
    scaled = beta * logps.log_ratio
    if label_smoothing == 0:
        return -logsigmoid(scaled)
    return -(1 - label_smoothing) * logsigmoid(scaled) - label_smoothing * logsigmoid(-scaled)


def ipo(logps: PairLogps, *, tau: float = 0.01, per_token: bool = False) -> Tensor:
    """Identity preference optimisation: Azar et al. 2023, Eq. 17; Eq. 6 of the BFPO paper.

    Args:
        logps: the batch.
        tau: strength of the pull towards the reference model; the log-ratio's target is 1/(2τ).
        per_token: take each response's log-probabilities averaged over its tokens, as TRL does,
            instead of summed, as the authors of BFPO do. The two need different τ.
    """
    positive("tau", tau)
    if not isinstance(per_token, bool):
        raise BadInput(f"per_token must be true or false, not {per_token!r}.")
    log_ratio = logps.log_ratio
    if per_token:
        chosen = (logps.chosen - logps.ref_chosen) / lengths(logps.chosen_tokens)
        rejected = (logps.rejected - logps.ref_rejected) / lengths(logps.rejected_tokens)
        log_ratio = chosen - rejected
    return (log_ratio - 1 / (2 * tau)).square()


def bfpo(
    logps: PairLogps,
    *,
    tau: float = 0.01,
    alpha: float = 0.5,
    b1: float = 3.0,
    b2: float = 0.0,
    b3: float | None = None,
) -> Tensor:
    """Bi-factorial preference optimisation: Zhang et al. 2024 (arXiv 2408.15313), Eq. 15.

    The chosen response must be the more helpful one, whatever its safety: the label looks after
    that.

    Args:
        logps: the batch, with safety labels.
        tau: strength of the pull towards the reference model.
        alpha: shift of the label (Eq. 14); 0 leaves it out.
        b1: B1 of Eq. 9.
        b2: B2 of Eq. 9.
        b3: B3 of Eq. 9; by default 1/(B1 - 1), as in the authors' code.

    Raises:
        BadInput: a parameter out of range, or a pair without safety labels.
    """
    positive("tau", tau)
    label = bfpo_label(*logps.safety("bfpo"), alpha=alpha, b1=b1, b2=b2, b3=b3)
    return (logps.log_ratio - label.to(logps.chosen.dtype) / tau).square()


def bfpo_label(
    helpful_safe: Tensor,
    other_safe: Tensor,
    *,
    alpha: float = 0.5,
    b1: float = 3.0,
    b2: float = 0.0,
    b3: float | None = None,
) -> Tensor:
    """How far the more helpful response should be preferred: Eq. 9 less the shift of Eq. 14.

    ``B3 (B1 I(helpful) - I(other) + B2) - α``. With the paper's constants: 1 when only the more
    helpful response is safe, 0.5 when both are, -0.5 when neither is, -1 when only the other is.

    Args:
        helpful_safe: whether the more helpful response is safe; any shape.
        other_safe: whether the less helpful one is; the same shape.
        alpha, b1, b2, b3: as for :func:`bfpo`.

    Returns:
        The label in units of the global reward, float64, of the same shape.
    """
    number("alpha", alpha)
    number("b1", b1)
    number("b2", b2)
    if b3 is None:
        if b1 <= 1:
            raise BadInput(f"b1 must be above 1, not {b1:g}, or b3 be given: it is 1/(b1 - 1).")
        b3 = 1 / (b1 - 1)
    positive("b3", b3)
    return b3 * (b1 * helpful_safe.double() - other_safe.double() + b2) - alpha


def modpo(
    logps: PairLogps,
    *,
    beta: float = 0.1,
    weight: float = 0.5,
    margin_weight: float | None = None,
) -> Tensor:
    """Multi-objective direct preference optimisation: Zhou et al. 2023 (arXiv 2310.03708).

    ``-log σ((β log-ratio - w_margin margin) / w)``: DPO on the preferences of one objective, with
    the reward difference of the others as a margin.

    Args:
        logps: the batch, with margins.
        beta: strength of the pull towards the reference model.
        weight: w, of the objective that the pairs are ordered by, in (0, 1]; at 1 this is DPO.
        margin_weight: of the margin; by default what is left, 1 - w.

    Raises:
        BadInput: a parameter out of range, or data without margins.
    """
    positive("beta", beta)
    if positive("weight", weight) > 1:
        raise BadInput(f"weight must be above 0 and at most 1, not {weight:g}.")
    if margin_weight is None:
        margin_weight = 1 - weight
    not_negative("margin_weight", margin_weight)
    return -logsigmoid((beta * logps.log_ratio - margin_weight * logps.margins("modpo")) / weight)


@dataclass(frozen=True)
class Rewards:
    """Implicit rewards of a batch, for monitoring. Every tensor is [pairs], without gradient.

    Attributes:
        chosen: ``β log(π/π_ref)`` of the chosen response; NaN where there is none.
        rejected: of the rejected response.
        margins: chosen minus rejected; NaN where one of them is missing.
        accuracies: 1 where the loss wants the margin above 0 and it is, or below 0 and it is; else
            (also in a tie) 0; NaN where the loss wants neither. A missing response counts as 0.
    """

    chosen: Tensor
    rejected: Tensor
    margins: Tensor
    accuracies: Tensor


def rewards(
    logps: PairLogps, beta: float, wanted: Tensor | None = None, *, per_token: bool = False
) -> Rewards:
    """What the policy's log-ratios say as rewards (Rafailov et al. 2023, Section 4).

    Args:
        logps: the batch.
        beta: the loss's β, or its τ.
        wanted: from :func:`wanted_sign`; None wants every margin above 0.
        per_token: means over the tokens of a response instead of sums.
    """
    chosen = beta * (logps.chosen - logps.ref_chosen).detach()
    rejected = beta * (logps.rejected - logps.ref_rejected).detach()
    if per_token:
        chosen = chosen / lengths(logps.chosen_tokens)
        rejected = rejected / lengths(logps.rejected_tokens)
    sign = torch.ones_like(chosen) if wanted is None else wanted
    right = (sign * (chosen - rejected) > 0).to(chosen.dtype).where(sign != 0, torch.nan)
    chosen = chosen.where(logps.chosen_tokens > 0, torch.nan)
    rejected = rejected.where(logps.rejected_tokens > 0, torch.nan)
    return Rewards(chosen, rejected, chosen - rejected, right)


def wanted_sign(loss: Loss, logps: PairLogps) -> Tensor:
    """Which way a loss wants the log-ratio of each pair to go from the reference: 1, -1 or 0.

    It is the sign of the loss's slope there, so it is right for any loss: always 1 for dpo and ipo,
    for bfpo the sign of the label, which is negative where the more helpful response is unsafe.

    Args:
        loss: with its parameters filled in.
        logps: the pairs; what the policy thinks of them does not matter.

    Returns:
        [pairs]; 0 where the loss is level, or its slope no number.
    """
    chosen, rejected = (
        reference.detach().clone().requires_grad_()
        for reference in (logps.ref_chosen, logps.ref_rejected)
    )
    with torch.enable_grad():
        nothing = torch.zeros_like(chosen)  # what a policy that has not moved diverges by
        at = replace(logps, chosen=chosen, rejected=rejected, divergence=nothing)
        value = loss(at).sum()
        up, down = torch.autograd.grad(
            value, (chosen, rejected), allow_unused=True, materialize_grads=True
        )
    return torch.nan_to_num(down - up, nan=0.0).sign()


def lengths(tokens: Tensor) -> Tensor:
    """What a sum over a response is divided by for its mean: 1 where it has no tokens."""
    return tokens.where(tokens > 0, torch.ones_like(tokens))


def number(name: str, value: float) -> float:
    """A parameter of a loss, which must be finite; a recipe's values come straight from YAML."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        hint = " (YAML reads 1e-2 as text; write 0.01)" if isinstance(value, str) else ""
        raise BadInput(f"{name} must be a number, not {value!r}{hint}.")
    return value


def not_negative(name: str, value: float) -> float:
    """A parameter of a loss, which must be 0 or above."""
    if number(name, value) < 0:
        raise BadInput(f"{name} must not be negative; it is {value:g}.")
    return value


def positive(name: str, value: float) -> float:
    """A parameter of a loss, which must be above 0."""
    if number(name, value) <= 0:
        raise BadInput(f"{name} must be above 0, not {value:g}.")
    return value
