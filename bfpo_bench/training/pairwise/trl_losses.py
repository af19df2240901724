"""Losses as TRL defines them: KTO, and without a reference model SimPO, CPO and ORPO.

The length-normalised log-probabilities of these are means over a response's tokens. The negative
log-likelihood beside the preference is per token of the chosen response, pair by pair; TRL takes it
over all tokens of a batch, which is the same where a batch is one pair.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.losses import PairLogps, lengths, not_negative, positive

NEAREST_TO_CERTAIN = -1e-6
"""Mean log-probability of a token up to which odds are told from infinity."""


def kto(
    logps: PairLogps,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimisation: Ethayarajh et al. 2024 (arXiv 2402.01306), Eq. 7 and 8.

    With r = log π/π_ref of a response and z the divergence of the policy from the reference, 0 at
    least: ``λ_D (1 - σ(β (r - z)))`` of a desirable response, ``λ_U (1 - σ(β (z - r)))`` of an
    undesirable one. The chosen response of a pair is desirable and the rejected one undesirable; a
    row's value is the mean over the responses that it has.

    Args:
        logps: the batch, with its divergence.
        beta: strength of the pull towards the reference model.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.
    """
    positive("beta", beta)
    not_negative("desirable_weight", desirable_weight)
    not_negative("undesirable_weight", undesirable_weight)
    if logps.divergence is None:
        raise BadInput(
            "the kto loss needs the divergence of the policy from the reference, which the trainer "
            "estimates from responses to other prompts."
        )
    beyond = logps.divergence.clamp(min=0)
    gain = desirable_weight * torch.sigmoid(beta * (beyond - logps.chosen + logps.ref_chosen))
    loss = undesirable_weight * torch.sigmoid(beta * (logps.rejected - logps.ref_rejected - beyond))
    responses = torch.stack([gain, loss])
    there = torch.stack([logps.chosen_tokens > 0, logps.rejected_tokens > 0])
    return (responses * there).sum(0) / there.sum(0).clamp(min=1)


def simpo(logps: PairLogps, *, beta: float = 2.0, gamma: float = 1.0) -> Tensor:
    """SimPO: Meng et al. 2024 (arXiv 2405.14734), Eq. 6; TRL's ``loss_type="simpo"``.

    ``-log σ(β (log π(y_w)/|y_w| - log π(y_l)/|y_l|) - γ)``.

    Args:
        logps: the batch.
        beta: scale of the mean log-probabilities.
        gamma: γ, the margin that they are to have.
    """
    positive("beta", beta)
    not_negative("gamma", gamma)
    chosen, rejected = _means(logps)
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def cpo(logps: PairLogps, *, beta: float = 0.1, nll_weight: float = 1.0) -> Tensor:
    """Contrastive preference optimisation: Xu et al. 2024 (arXiv 2401.08417); TRL's CPO.

    ``-log σ(β (log π(y_w) - log π(y_l))) - α log π(y_w)/|y_w|``.

    Args:
        logps: the batch.
        beta: strength of the preference.
        nll_weight: α (TRL: ``cpo_alpha``) of imitating the chosen response.
    """
    positive("beta", beta)
    not_negative("nll_weight", nll_weight)
    preference = -logsigmoid(beta * (logps.chosen - logps.rejected))
    return preference - nll_weight * _means(logps)[0]


def orpo(logps: PairLogps, *, beta: float = 0.1) -> Tensor:
    """Odds ratio preference optimisation: Hong et al. 2024 (arXiv 2403.07691), Eq. 6 and 7.

    With p the mean probability of a token, e to the mean log-probability of a response, and its
    odds p/(1-p): ``-log p(y_w) - λ log σ(log odds(y_w) - log odds(y_l))``. TRL's ORPO imitates the
    prompt as well; here, as in the paper, the response alone.

    Args:
        logps: the batch.
        beta: λ, the weight of the odds ratio (TRL: ``beta``).
    """
    positive("beta", beta)
    chosen, rejected = _means(logps)
    return -chosen - beta * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _means(logps: PairLogps) -> tuple[Tensor, Tensor]:
    return (
        logps.chosen / lengths(logps.chosen_tokens),
        logps.rejected / lengths(logps.rejected_tokens),
    )


def _log_odds(log_p: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of log p, exact where p is near 0 or 1."""
    below = log_p.clamp(max=NEAREST_TO_CERTAIN)
    small = torch.log1p(-below.exp())
    return log_p - torch.where(below > -math.log(2), torch.log(-torch.expm1(below)), small)
