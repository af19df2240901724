"""The four-action example of Section 3.4 of the BFPO paper, run through the real loss functions.

:func:`illustrate` writes picture, curves and summary to a folder.

The policy is a softmax over four free logits and starts at the uniform reference. The actions are,
from the most to the least helpful: y1 safe, y2 unsafe, y3 safe, y4 unsafe. One wants
y1 > y3 > y4 > y2: the safe ones first, the more helpful the better; of the unsafe ones the useless
one before the useful one. The data are all six pairs.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfpo_bench.common.errors import BadInput, RunFailed
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


def illustrate(
    output: Path,
    taus: Sequence[float] = TAUS,
    seed: int = 0,
    steps: int = STEPS,
    repeats: int = REPEATS,
    progress: Progress | None = None,
) -> list[Curve]:
    """Runs the example and writes ``illustration.{png,svg,csv,json}``.

    Args:
        output: folder for the files; made if it is not there.
        taus: values of τ (β for DPO), each above 0.
        seed: repeat k draws its batches with seed + k.
        steps: updates of each run.
        repeats: runs of each method and τ.
        progress: bars, if wanted.

    Returns:
        One curve per τ and method.

    Raises:
        BadInput: a value out of range, or a folder that cannot be made.
        RunFailed: the files cannot be written.
    """
    taus = sorted(set(taus))
    if not taus or not all(math.isfinite(tau) and tau > 0 for tau in taus):
        raise BadInput(f"tau must be a number above 0, not {', '.join(map(str, taus)) or 'empty'}.")
    for name, value in (("steps", steps), ("repeats", repeats)):
        if value < 1:
            raise BadInput(f"{name} must be at least 1, not {value}.")
    if seed < 0:
        raise BadInput(f"seed must not be negative; it is {seed}.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"the output folder {output} cannot be made: {error.strerror}; name another."
        ) from error
    # Before the work: matplotlib is slow to load, and the first to fail where it is broken.
    from bfpo_bench.training.illustration.figure import draw

    progress = progress or Progress(show=False)
    with progress.stage("illustrate", steps, unit="updates"):
        curves = learn(taus, seed, steps, repeats, progress)
    settings = {"seed": seed, "steps": steps, "repeats": repeats, "taus": taus}
    try:
        draw(curves, output)
        _write_curves(curves, output / "illustration.csv")
        _write_summary(curves, settings, output / "illustration.json")
    except OSError as error:
        raise RunFailed(
            f"the files cannot be written to {output}: {error.strerror}; make room or name another "
            "folder."
        ) from error
    return curves


def _write_curves(curves: Sequence[Curve], path: Path) -> None:
    """One row per method, τ, repeat and record, with the probability of each action."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "tau", "repeat", "step", *ACTIONS])
        for curve in curves:
            for repeat in range(curve.log_policy.shape[1]):
                for step, row in zip(curve.steps, curve.log_policy[:, repeat].exp(), strict=True):
                    values = [f"{value:.6g}" for value in row.tolist()]
                    writer.writerow([curve.method, curve.tau, repeat, step, *values])


def _write_summary(curves: Sequence[Curve], settings: Mapping[str, Any], path: Path) -> None:
    results = [
        {
            "method": curve.method,
            "tau": curve.tau,
            "order": curve.order,
            "orders": curve.orders,
            "closed_form_order": curve.expected_order,
            "probabilities": curve.log_policy[-1].exp().mean(dim=0).tolist(),
            "closed_form": None if curve.optimum is None else curve.optimum.exp().tolist(),
            "total_variation": curve.distance,
        }
        for curve in curves
    ]
    content = {
        **settings,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "safe": dict(zip(ACTIONS, SAFE, strict=True)),
        "desired_order": DESIRED,
        "results": results,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
