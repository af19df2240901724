"""A control's loss: IPO with the sizes of BFPO's targets, and nothing else of BFPO."""

from __future__ import annotations

from torch import Tensor

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.losses import PairLogps


def weighted_ipo(logps: PairLogps, *, tau: float = 0.01) -> Tensor:
    """IPO whose target is twice as large where the safety of the two responses differs.

    With α = 1/2 and B1 = 3 BFPO's targets are ±1/τ on such pairs and ±1/(2τ) on the others (Eq.
    14). Here the winner is IPO's own, whatever the pairing made it.

    Args:
        logps: the batch, with safety labels.
        tau: as for IPO.
    """
    if logps.chosen_safe is None or logps.rejected_safe is None:
        raise BadInput("weighted_ipo needs safety labels; take sets that have them, or ipo.")
    differs = (logps.chosen_safe != logps.rejected_safe).to(logps.chosen.dtype)
    return (logps.log_ratio - (1 + differs) / (2 * tau)).square()
