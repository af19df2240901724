"""The four-action example of Section 3.4 of the BFPO paper, run through the real loss functions.

The policy is a softmax over four free logits and starts at the uniform reference. The actions are,
from the most to the least helpful: y1 safe, y2 unsafe, y3 safe, y4 unsafe. One wants
y1 > y3 > y4 > y2: the safe ones first, the more helpful the better; of the unsafe ones the useless
one before the useful one. The data are all six pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bfpo_bench.common.progress import Progress
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, bfpo_label, dpo, ipo

ACTIONS = ("y1", "y2", "y3", "y4")
SAFE = (True, False, True, False)
DESIRED = "y1 > y3 > y4 > y2"
# (more helpful, less helpful) of every pair
PAIRS = tuple((first, second) for first in range(4) for second in range(first + 1, 4))

TAUS = (0.1, 0.5, 1.0)
STEPS = 1800
REPEATS = 5
BATCH = 32
LEARNING_RATE = 0.01
RECORD_EVERY = 10

METHODS = ("bfpo", "bfpo-no-shift", "dpo", "ipo")
TITLES = {"bfpo": "BFPO", "bfpo-no-shift": "BFPO without shift", "dpo": "DPO", "ipo": "IPO"}


@dataclass(frozen=True)
class Curve:
    """How one method learns at one τ.

    Attributes:
        method: of :data:`METHODS`.
        tau: τ, for DPO its β.
        steps: [records], updates done when each record was made, from 0.
        log_policy: [records, repeats, actions], log-probabilities, float64.
        optimum: [actions], log-probabilities of the policy that minimises the expected loss; None
            for DPO, whose loss has no finite minimiser on labels without noise.
    """

    method: str
    tau: float
    steps: tuple[int, ...]
    log_policy: Tensor
    optimum: Tensor | None

    @property
    def order(self) -> str:
        """The order that most repeats end with."""
        orders = self.orders
        return max(orders, key=orders.count)

    @property
    def orders(self) -> list[str]:
        """The order that each repeat ends with."""
        return [ranking(row) for row in self.log_policy[-1]]

    @property
    def expected_order(self) -> str:
        """The order in closed form; for DPO that of the limit, which keeps every preference."""
        return " > ".join(ACTIONS) if self.optimum is None else ranking(self.optimum)

    @property
    def distance(self) -> float | None:
        """How far the last policies are from the optimum, in total variation; mean of repeats."""
        if self.optimum is None:
            return None
        difference = self.log_policy[-1].exp() - self.optimum.exp()
        return difference.abs().sum(dim=1).mean().item() / 2


def ranking(values: Tensor) -> str:
    """``"y1 > y3 > y4 > y2"`` from [actions] values."""
    order = torch.argsort(values, descending=True, stable=True).tolist()
    return " > ".join(ACTIONS[action] for action in order)


def closed_form(method: str, tau: float) -> Tensor | None:
    """[actions], log-probabilities that minimise the method's expected loss; None for DPO.

    Against a uniform reference the optimal logits are the mean target of an action against all
    four: for BFPO with α = 1/2 they are (0.625, -0.625, 0.375, -0.375)/τ.
    """
    if method == "dpo":
        return None
    safe = torch.tensor(SAFE)
    target = torch.full((4, 4), 0.5, dtype=torch.float64)  # IPO's
    if method != "ipo":
        target = bfpo_label(safe[:, None], safe, alpha=0.5 if method == "bfpo" else 0.0)
    target = target.triu(1)  # the rows' actions are the more helpful ones
    return torch.log_softmax((target - target.T).mean(dim=1) / tau, dim=0)


def learn(
    taus: Sequence[float], seed: int, steps: int, repeats: int, progress: Progress | None = None
) -> list[Curve]:
    """Trains four logits for every τ, method and repeat, all side by side.

    The runs share no parameter and Adam treats every parameter by itself, so they come out as if
    trained one after the other. Repeat k of every method and τ sees the same batches.
    """
    runs = [(method, tau) for tau in taus for method in METHODS]
    drawn = torch.stack([_draws(seed + repeat, steps) for repeat in range(repeats)], dim=1)
    logits = torch.zeros(len(runs), repeats, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    helpful, other = torch.tensor(PAIRS).T
    safe = torch.tensor(SAFE)
    uniform = torch.full((repeats * BATCH,), math.log(0.25), dtype=torch.float64)
    length = torch.ones(repeats * BATCH)
    recorded, at = [torch.log_softmax(logits.detach(), dim=-1)], [0]
    for step, pairs in enumerate(drawn, start=1):
        chosen, rejected = helpful[pairs], other[pairs]
        log_policy = torch.log_softmax(logits, dim=-1)
        log_chosen, log_rejected = (
            log_policy.gather(-1, actions.expand(len(runs), -1, -1)).flatten(start_dim=1)
            for actions in (chosen, rejected)
        )
        chosen_safe, rejected_safe = safe[chosen].flatten(), safe[rejected].flatten()
        losses = [
            _loss(
                method,
                PairLogps(
                    chosen=log_chosen[run],
                    rejected=log_rejected[run],
                    ref_chosen=uniform,
                    ref_rejected=uniform,
                    chosen_tokens=length,
                    rejected_tokens=length,
                    chosen_safe=chosen_safe,
                    rejected_safe=rejected_safe,
                ),
                tau,
            )
            for run, (method, tau) in enumerate(runs)
        ]
        optimizer.zero_grad()
        # The mean of each repeat's own batch, and the sum of that over runs and repeats.
        torch.autograd.backward(torch.stack(losses).sum() / BATCH)
        optimizer.step()
        if step % RECORD_EVERY == 0 or step == steps:
            recorded.append(torch.log_softmax(logits.detach(), dim=-1))
            if progress:
                progress.advance(step - at[-1])
            at.append(step)
    records = torch.stack(recorded)
    return [
        Curve(method, tau, tuple(at), records[:, run], closed_form(method, tau))
        for run, (method, tau) in enumerate(runs)
    ]


def _loss(method: str, batch: PairLogps, tau: float) -> Tensor:
    match method:
        case "bfpo":
            return bfpo(batch, tau=tau)
        case "bfpo-no-shift":
            return bfpo(batch, tau=tau, alpha=0.0)
        case "dpo":
            return dpo(batch, beta=tau)
        case _:
            return ipo(batch, tau=tau)


def _draws(seed: int, steps: int) -> Tensor:
    """[steps, BATCH], which pairs go into which update: drawn with replacement."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(len(PAIRS), (steps, BATCH), generator=random)
