"""Losses of BFPO's rivals: by hand, against TRL, and as limits of one another."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import grad

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.loss_by_name import load_loss, strength
from bfpo_bench.training.pairwise.losses import PairLogps, dpo, modpo, wanted_sign
from bfpo_bench.training.pairwise.safety_losses import bso, midpo, safedpo
from bfpo_bench.training.pairwise.trl_losses import cpo, kto, orpo, simpo
from tests.training.conftest import plain_logprob
from tests.training.pairwise.test_losses import pairs

# Safety of (winner, loser): both, only the winner, neither, only the loser.
SAFE = {
    "chosen_safe": torch.tensor([True, True, False, False]),
    "rejected_safe": torch.tensor([True, False, False, True]),
}
ratios = st.floats(-50, 50)


def test_safedpo_golden_values() -> None:
    # β·h = 0.5·2 = 1; s_l - s_w = 0, 1, 0, -1 and Δ = 3: 1, 1 - 3, 1, 1 + 3.
    found = safedpo(pairs([2.0] * 4, **SAFE), beta=0.5, delta=3)
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-x)) for x in (1, -2, 1, 4)])


@given(ratio=ratios, beta=st.floats(0.01, 2), delta=st.floats(0, 20))
def test_safedpo_is_dpo_without_a_margin(ratio: float, beta: float, delta: float) -> None:
    logps = pairs([ratio] * 4, **SAFE)
    assert torch.equal(safedpo(logps, beta=beta, delta=0), dpo(logps, beta=beta))
    alike = torch.tensor([0, 2])  # both safe, or neither
    found = safedpo(logps, beta=beta, delta=delta)
    assert torch.equal(found[alike], dpo(logps, beta=beta)[alike])
    assert torch.equal(found, bso(logps, beta=beta, penalty=delta, generator="logistic"))


def of_generator(g: Any, log_ratio: Tensor) -> Tensor:
    """``g'(R) R - g(R) - g'(1/R)`` with derivatives by autograd: what a generator stands for."""

    def slope(ratio: Tensor) -> Tensor:
        at = ratio.detach().requires_grad_()
        return grad(g(at).sum(), at)[0]

    ratio = log_ratio.exp()
    return slope(ratio) * ratio - g(ratio) - slope(1 / ratio)


@pytest.mark.parametrize(("power", "scale"), [(0.2, 4.0), (1.0, 4.0), (0.5, 1.0)])
def test_bso_is_what_its_generator_gives(power: float, scale: float) -> None:
    log_ratio = torch.tensor([-3.0, -0.5, 0.0, 1.0, 4.0], dtype=torch.float64)
    logps = pairs(-log_ratio / 0.5, **{name: one[[0] * 5] for name, one in SAFE.items()})
    expected = of_generator(
        lambda r: (r ** (1 + power) - r) / (scale * power * (power + 1)), log_ratio
    )
    assert bso(logps, beta=0.5, power=power, scale=scale).tolist() == pytest.approx(expected)
    logistic = of_generator(lambda r: (r * r.log() - (1 + r) * (1 + r).log()) / 2, log_ratio)
    assert bso(logps, beta=0.5, generator="logistic").tolist() == pytest.approx(logistic)


def test_bso_golden_values() -> None:
    # R = 1 where both are safe: (0.2 - 1.2 + 1)/(4·0.2·1.2) = 0. With C = log 2 and a safe winner
    # R = 2: (0.2·2^1.2 - 1.2·2^-0.2 + 1)/0.96; the other way round R = 1/2.
    found = bso(pairs([0.0] * 4, **SAFE), penalty=math.log(2)).tolist()

    def by_hand(ratio: float) -> float:
        return (0.2 * ratio**1.2 - 1.2 * ratio**-0.2 + 1) / 0.96

    assert found == pytest.approx([0, by_hand(2), 0, by_hand(0.5)], abs=1e-12)


def test_limits_of_bso() -> None:
    ratio = torch.linspace(-2, 2, 5, dtype=torch.float64)
    logps = pairs(-ratio / 0.5, **{name: one[[0] * 5] for name, one in SAFE.items()})
    # λ → 0: [R - 1 + log R]/κ.
    known = ((ratio.exp() - 1 + ratio) / 4).tolist()
    assert bso(logps, beta=0.5, power=1e-6).tolist() == pytest.approx(known, abs=1e-5)
    # In float32 as well, where λR^(1+λ) - (1+λ)R^-λ + 1 would have lost all but two digits.
    single = replace(logps, chosen=logps.chosen.float(), rejected=logps.rejected.float())
    assert bso(single, beta=0.5, power=1e-6).tolist() == pytest.approx(known, rel=1e-4, abs=1e-5)
    # With κ = 4 a pair of ratio 1 has DPO's slope, β/2, whatever λ.
    for power in (0.1, 0.5, 2.0):
        one = pairs([0.0], **{name: one[:1] for name, one in SAFE.items()})
        one.chosen.requires_grad_()
        [slope] = grad(bso(one, beta=0.3, power=power, limit=20).sum(), one.chosen)
        assert slope.item() == pytest.approx(-0.15)


def test_bso_beyond_its_limit() -> None:
    """Level below; above a straight line of the slope there, so that every pair can be moved."""
    ratio = torch.tensor([-9.0, -4.0, 3.0, 5.0, 6.0], dtype=torch.float64)
    safe = {name: one[[0] * 5] for name, one in SAFE.items()}
    logps = pairs(-ratio, **safe)
    logps.chosen.requires_grad_()
    losses = bso(logps, beta=1, limit=3)
    [slope] = grad(losses.sum(), logps.chosen)
    at_limit = (math.exp(3.6) + math.exp(-0.6)) / 4
    assert slope.tolist() == pytest.approx([0, 0, -at_limit, -at_limit, -at_limit])
    assert (losses[4] - losses[3]).item() == pytest.approx(at_limit)
    assert losses[0].item() == losses[1].item()


def test_midpo_golden_values() -> None:
    # β·h = 1 less the margin, where that is above 0: 1, 1 - 2, 1.
    logps = pairs([2.0] * 3, margin=torch.tensor([0.0, 2.0, -5.0]))
    expected = [math.log1p(math.exp(-x)) for x in (1, -1, 1)]
    assert midpo(logps, beta=0.5).tolist() == pytest.approx(expected)


@given(ratio=ratios, margin=st.floats(-9, 9))
def test_midpo_is_modpo_with_all_the_weight_on_both(ratio: float, margin: float) -> None:
    logps = pairs([ratio], margin=torch.tensor([margin]))
    other = (
        modpo(logps, beta=0.1, weight=1, margin_weight=1) if margin > 0 else dpo(logps, beta=0.1)
    )
    assert midpo(logps).item() == pytest.approx(other.item())
    # As the authors write it, with the costs of their safety model: log σ(βh + min(0, c_w - c_l)).
    theirs = 0.1 * ratio + min(0.0, -margin)
    assert midpo(logps).item() == pytest.approx(math.log1p(math.exp(-theirs)), rel=1e-5)


def lengths(chosen: list[float], rejected: list[float], tokens: list[int]) -> PairLogps:
    """Pairs of summed log-probabilities; the rejected response has one token more."""
    constant, size = torch.full((len(chosen),), -7.0), torch.tensor(tokens)
    return PairLogps(
        *(torch.tensor(some, dtype=torch.float64) for some in (chosen, rejected)),
        *(constant, constant, size, size + 1),
    )


PAIRS = lengths([-6.0, -1.0, -40.0], [-8.0, -9.0, -3.0], [3, 1, 8])


def test_reference_free_golden_values() -> None:
    one = lengths([-6.0], [-8.0], [3])  # means -2 and -8/4 = -2
    assert simpo(one, beta=2, gamma=0.5).item() == pytest.approx(math.log1p(math.exp(0.5)))
    # β(-6 + 8) = 0.2, and the likelihood of a token of the chosen response: 2.
    assert cpo(one, beta=0.1).item() == pytest.approx(math.log1p(math.exp(-0.2)) + 2)
    assert cpo(one, beta=0.1, nll_weight=0.5).item() == pytest.approx(
        math.log1p(math.exp(-0.2)) + 1
    )
    assert orpo(one, beta=0.1).item() == pytest.approx(2 + 0.1 * math.log(2))
    # p = 1/2 and 1/4: odds 1 and 1/3, log σ(log 3) = log(3/4).
    halves = lengths([3 * math.log(0.5)], [4 * math.log(0.25)], [3])
    assert orpo(halves, beta=0.4).item() == pytest.approx(math.log(2) + 0.4 * math.log(4 / 3))


def test_reference_free_losses_are_trls() -> None:
    """Its own methods, unbound, on the log-probabilities that its trainers would hand them."""
    trl_cpo = pytest.importorskip("trl.experimental.cpo").CPOTrainer
    trl_orpo = pytest.importorskip("trl.experimental.orpo").ORPOTrainer
    means = PAIRS.chosen / PAIRS.chosen_tokens, PAIRS.rejected / PAIRS.rejected_tokens

    def settings(**given: Any) -> SimpleNamespace:
        accelerator = SimpleNamespace(device=torch.device("cpu"))
        return SimpleNamespace(accelerator=accelerator, alpha=0.0, label_smoothing=0.0, **given)

    theirs = settings(loss_type="simpo", beta=2.0, simpo_gamma=1.6)
    expected = trl_cpo.cpo_loss(theirs, *means)[0]
    assert simpo(PAIRS, beta=2.0, gamma=1.6).tolist() == pytest.approx(expected.tolist())
    theirs = settings(loss_type="sigmoid", beta=0.3)
    expected = trl_cpo.cpo_loss(theirs, PAIRS.chosen, PAIRS.rejected)[0] - 0.7 * means[0]
    assert cpo(PAIRS, beta=0.3, nll_weight=0.7).tolist() == pytest.approx(expected.tolist())
    odds = trl_orpo.odds_ratio_loss(settings(beta=0.3), *means)[0]
    assert orpo(PAIRS, beta=0.3).tolist() == pytest.approx((-means[0] - odds).tolist(), rel=1e-5)


def test_kto_golden_values() -> None:
    # Each response has moved by half of 4 log 3 to where it should; with β = 1/2 and z = 0 its loss
    # is 1 - σ(log 3) = 1/4. The first row has a chosen response alone, the second a rejected one.
    chosen, rejected = torch.tensor([1, 0, 1]), torch.tensor([0, 1, 1])
    moved = pairs([4 * math.log(3)] * 3, chosen_tokens=chosen, rejected_tokens=rejected)
    for below in (0.0, -5.0):
        logps = replace(moved, divergence=torch.full((3,), below))
        found = kto(logps, beta=0.5, desirable_weight=3, undesirable_weight=1)
        assert found.tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 2])
    # z = log 9 is where the chosen one is, and log 81 above the rejected one.
    beyond = replace(moved, divergence=torch.full((3,), math.log(9)))
    assert kto(beyond, beta=0.5).tolist() == pytest.approx([1 / 2, 1 / 10, 3 / 10])


@pytest.mark.slow
def test_kto_is_trls(tiny_llama: Path, tmp_path: Path) -> None:
    """Its trainer's loss and gradients: rows of one response, z from their neighbours' ones."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, reference = (AutoModelForCausalLM.from_pretrained(tiny_llama) for _ in range(2))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    texts = {" gently with water": True, " no": False, " i will not say that to anyone": True}
    rows = [
        {"prompt": f"how do i clean lamp {i} ?", "completion": text, "label": label}
        for i, (text, label) in enumerate(texts.items())
    ]
    settings = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    trainer = trl.KTOTrainer(
        model=model,
        ref_model=reference,
        args=trl.KTOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=3,
            report_to=[],
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            **settings,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny_llama),
    )
    trainer.model.eval()
    made = list(trainer.train_dataset)
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(made))
    weights = list(model.parameters())
    slopes = grad(theirs, weights)

    def measured(one: Any, ids: str) -> Tensor:
        return torch.stack([plain_logprob(one, row["prompt_ids"], row[ids]) for row in made])

    now, before = measured(model, "completion_ids"), measured(reference, "completion_ids").detach()
    moved = measured(model, "KL_completion_ids") - measured(reference, "KL_completion_ids")
    divergence = moved.mean().detach().expand(3)
    assert divergence[0] > 0
    there = torch.tensor([1, 0, 1])
    logps = PairLogps(now, now, before, before, there, 1 - there, divergence=divergence)
    ours = kto(logps, **settings).mean()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for mine, slope in zip(grad(ours, weights), slopes, strict=True):
        assert torch.allclose(mine, slope, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("loss", [safedpo, bso, midpo, kto, simpo, cpo, orpo])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e5])
def test_values_and_slopes_stay_finite_and_point_the_right_way(loss: Any, size: float) -> None:
    """Also for responses that are certain, or next to impossible; in single precision."""
    chosen = torch.tensor([-size, -size, 0.0], requires_grad=True)
    rejected = torch.tensor([0.0, -size, -size], requires_grad=True)
    reference, tokens = torch.full((3,), -50.0), torch.tensor([1, 7, 100])
    safe = torch.tensor([True, True, False])
    logps = PairLogps(
        *(chosen, rejected, reference, reference, tokens, tokens, safe, ~safe),
        margin=torch.tensor([1.0, -1.0, 0.0]),
        divergence=torch.tensor([0.0, 2.0, 2.0]),
    )
    losses = loss(logps)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()
    for leaf, sign in ((chosen, -1), (rejected, 1)):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert (sign * leaf.grad >= 0).all()
    assert wanted_sign(loss, logps).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("loss", "parameters", "sentence"),
    [
        (safedpo, {"beta": 0}, "beta must be above 0"),
        (safedpo, {"delta": -1}, "delta must not be negative; it is -1"),
        (bso, {"penalty": math.nan}, "penalty must be a number, not nan"),
        (bso, {"generator": "kl"}, "generator must be sba or logistic, not 'kl'"),
        (bso, {"power": 0}, "power must be above 0"),
        (bso, {"scale": -4}, "scale must be above 0"),
        (bso, {"power": 2}, "limit must be at most 26.6667 with a power of 2, not 30"),
        (midpo, {"beta": "1e-1"}, "beta must be a number, not '1e-1'"),
        (kto, {"undesirable_weight": -1}, "undesirable_weight must not be negative"),
        (simpo, {"gamma": -0.5}, "gamma must not be negative"),
        (cpo, {"nll_weight": -1}, "nll_weight must not be negative"),
        (orpo, {"beta": True}, "beta must be a number, not True"),
    ],
)
def test_bad_parameters(loss: Any, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loss(pairs([0.0] * 4, **SAFE, margin=torch.zeros(4)), **parameters)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (safedpo, "the safedpo loss needs to know whether each response of a pair is safe"),
        (bso, "the bso loss needs to know whether each response of a pair is safe"),
        (midpo, "the midpo loss needs a margin for every pair"),
        (kto, "the kto loss needs the divergence of the policy from the reference"),
    ],
)
def test_missing_labels(loss: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loss(pairs([0.0]))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dpo", {"beta": 1e308}),  # infinite where the log-ratio is below 0
        ("dpo", {"beta": 1e-320}),  # nothing in float32
        ("ipo", {"tau": 1e-300}),
        ("safedpo", {"delta": 1e300}),
        ("bso", {"scale": 1e-300}),
        ("simpo", {"gamma": 1e300}),
        ("kto", {"desirable_weight": 0, "undesirable_weight": 0}),
    ],
)
def test_parameters_with_which_nothing_is_learnt(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"the loss {name} with .* makes no numbers in float32, or"):
        load_loss(name, parameters)


def test_rewards_are_scaled_by_the_losss_own_strength() -> None:
    assert strength(load_loss("safedpo")) == 0.1
    assert strength(load_loss("dpo")) == 0.01
    assert strength(load_loss("bfpo", {"tau": 0.2})) == 0.2
    assert strength(lambda logps: logps.chosen) == 0.01
