"""Losses against values worked out by hand and TRL; their properties; how recipes name them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.loss_by_name import check_loss, load_loss
from bfpo_bench.training.pairwise.losses import (
    PairLogps,
    bfpo,
    bfpo_label,
    dpo,
    ipo,
    modpo,
    rewards,
    wanted_sign,
)
from bfpo_bench.training.pairwise.trl_losses import orpo, simpo


def pairs(log_ratios: list[float] | Tensor, **more: Any) -> PairLogps:
    """Pairs of the given log-ratios, each response carrying half of it."""
    half = torch.as_tensor(log_ratios, dtype=torch.float64) / 2
    zeros, ones = torch.zeros_like(half), torch.ones_like(half)
    values = {
        "chosen": half - 20,
        "rejected": -half - 30,
        "ref_chosen": zeros - 20,
        "ref_rejected": zeros - 30,
        "chosen_tokens": ones,
        "rejected_tokens": ones,
    }
    return PairLogps(**{**values, **more})


# Safety of (more helpful, less helpful) response: both, only the first, neither, only the second.
HELPFUL_SAFE = torch.tensor([True, True, False, False])
OTHER_SAFE = torch.tensor([True, False, False, True])


def test_log_ratio_is_relative_to_the_reference() -> None:
    logps = pairs([0.0], chosen=torch.tensor([-10.0]), rejected=torch.tensor([-7.0]))
    # (-10 + 20) - (-7 + 30) = 10 - 23
    assert logps.log_ratio.tolist() == [-13]


def test_dpo_golden_values() -> None:
    # -log σ(0) = log 2; β·h = 0.5·(2 log 3) = log 3, and -log σ(log 3) = -log(3/4) = log(4/3);
    # the other way round -log σ(-log 3) = -log(1/4) = log 4.
    found = dpo(pairs([0.0, 2 * math.log(3), -2 * math.log(3)]), beta=0.5)
    assert found.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(4)])


def test_dpo_with_label_smoothing() -> None:
    # 0.9 log(4/3) + 0.1 log 4
    found = dpo(pairs([2 * math.log(3)]), beta=0.5, label_smoothing=0.1)
    assert found.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_ipo_golden_values() -> None:
    # Target 1/(2·0.25) = 2: (0 - 2)² = 4, (2 - 2)² = 0, (-1 - 2)² = 9.
    assert ipo(pairs([0.0, 2.0, -1.0]), tau=0.25).tolist() == pytest.approx([4, 0, 9])


def test_ipo_per_token_averages_each_response() -> None:
    # Halves ±6 over 3 and 2 tokens: 6/3 + 6/2 = 5; target 1/(2·0.1) = 5, or 1/(2·0.25) = 2.
    logps = pairs([12.0], chosen_tokens=torch.tensor([3]), rejected_tokens=torch.tensor([2]))
    assert ipo(logps, tau=0.1, per_token=True).item() == pytest.approx(0)
    assert ipo(logps, tau=0.25, per_token=True).item() == pytest.approx(9)
    assert ipo(logps, tau=0.25).item() == pytest.approx(100)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.5, [0.5, 1, -0.5, -1]), (0, [1, 1.5, 0, -0.5])],  # FACTS: Section 3.3 of the paper
)
def test_the_four_labels(alpha: float, expected: list[float]) -> None:
    assert bfpo_label(HELPFUL_SAFE, OTHER_SAFE, alpha=alpha).tolist() == expected


def test_label_constants() -> None:
    # B1 = 5, B2 = 1, B3 = 1/(5 - 1): (5·1 - 1 + 1)/4, (5 - 0 + 1)/4, (0 - 0 + 1)/4, (0 - 1 + 1)/4
    found = bfpo_label(HELPFUL_SAFE, OTHER_SAFE, alpha=0, b1=5, b2=1)
    assert found.tolist() == [1.25, 1.5, 0.25, 0]
    # with B3 = 2 instead of 1/4: eight times that; then the shift
    found = bfpo_label(HELPFUL_SAFE, OTHER_SAFE, alpha=1, b1=5, b2=1, b3=2)
    assert found.tolist() == [9, 11, 1, -1]


def test_bfpo_golden_values() -> None:
    logps = pairs([0.0, 10.0, 0.0, -4.0], chosen_safe=HELPFUL_SAFE, rejected_safe=OTHER_SAFE)
    # τ = 0.1: targets 5, 10, -5, -10; differences -5, 0, 5, 6
    assert bfpo(logps, tau=0.1).tolist() == pytest.approx([25, 0, 25, 36])


def test_bfpo_without_shift_is_ipo_with_twice_the_target_where_all_is_safe() -> None:
    # α = 0, both safe: the label is 1, IPO's is 1/2.
    yes = torch.ones(3, dtype=torch.bool)
    logps = pairs([-1.0, 0.0, 3.0], chosen_safe=yes, rejected_safe=yes)
    assert torch.allclose(bfpo(logps, tau=0.2, alpha=0), ipo(logps, tau=0.1))
    # and α = 1/2 makes the two the same: on a set where all is safe BFPO is IPO.
    assert torch.allclose(bfpo(logps, tau=0.2), ipo(logps, tau=0.2))


def test_modpo_golden_values() -> None:
    # (0.5·4 - 0.5·1)/0.5 = 3; (0.5·4 - 0.5·5)/0.5 = -1; log(1 + e^-x)
    logps = pairs([4.0, 4.0], margin=torch.tensor([1.0, 5.0]))
    expected = [math.log1p(math.exp(-3)), math.log1p(math.exp(1))]
    assert modpo(logps, beta=0.5, weight=0.5).tolist() == pytest.approx(expected)
    # (0.5·4 - 2·1)/0.8 = 0
    assert modpo(logps, beta=0.5, weight=0.8, margin_weight=2)[0].item() == pytest.approx(
        math.log(2)
    )


def test_modpo_with_all_the_weight_on_one_objective_is_dpo() -> None:
    logps = pairs([-2.0, 0.5], margin=torch.tensor([3.0, -3.0]))
    assert torch.equal(modpo(logps, beta=0.3, weight=1), dpo(logps, beta=0.3))


def test_a_mean_is_over_the_weights_of_tokens() -> None:
    """Doubling all weights doubles sums and lengths, also where they add up to less than 1."""
    light = pairs([2.0], chosen_tokens=torch.tensor([0.25]), rejected_tokens=torch.tensor([0.5]))
    names = ("chosen", "rejected", "ref_chosen", "ref_rejected", "chosen_tokens", "rejected_tokens")
    heavy = replace(light, **{name: 2 * getattr(light, name) for name in names})
    for loss in (partial(ipo, per_token=True), simpo, orpo):
        assert torch.equal(loss(heavy), loss(light))
    assert simpo(light, beta=1, gamma=0).item() == pytest.approx(
        math.log1p(math.exp(-(-19 / 0.25 + 31 / 0.5)))
    )


def test_rewards() -> None:
    logps = PairLogps(
        chosen=torch.tensor([-10.0, -12.0, -3.0], requires_grad=True),
        rejected=torch.tensor([-20.0, -8.0, -3.0]),
        ref_chosen=torch.tensor([-14.0, -10.0, -3.0]),
        ref_rejected=torch.tensor([-18.0, -9.0, -3.0]),
        chosen_tokens=torch.ones(3),
        rejected_tokens=torch.ones(3),
    )
    found = rewards(logps, 0.5)
    assert found.chosen.tolist() == [2, -1, 0]
    assert found.rejected.tolist() == [-1, 0.5, 0]
    assert found.margins.tolist() == [3, -1.5, 0]
    assert found.accuracies.tolist() == [1, 0, 0]  # a tie is no success
    assert not found.margins.requires_grad
    means = rewards(replace(logps, chosen_tokens=torch.tensor([2, 2, 0])), 0.5, per_token=True)
    assert means.chosen[:2].tolist() == [1, -0.5]
    assert means.margins[:2].tolist() == [2, -1]
    assert means.chosen[2].isnan()  # there is no such response
    # A loss that wants the second pair the other way round has got it, and of the first nothing.
    right = rewards(logps, 0.5, torch.tensor([0.0, -1.0, -1.0])).accuracies.tolist()
    assert math.isnan(right[0])
    assert right[1:] == [1, 0]


def test_which_way_a_loss_wants_a_pair() -> None:
    """For bfpo the sign of the label; for a loss of one's own the slope, whatever it looks at."""
    safe = torch.tensor([True, True, False, False])
    other = torch.tensor([True, False, False, True])
    logps = pairs([-7.0, 7.0, 7.0, -7.0], chosen_safe=safe, rejected_safe=other)
    assert wanted_sign(partial(bfpo, tau=0.1), logps).tolist() == [1, 1, -1, -1]
    # Label 0.5 less a shift of 0.5, and so on.
    assert wanted_sign(partial(bfpo, alpha=1.0), logps).tolist() == [0, 1, -1, -1]
    assert wanted_sign(partial(dpo, beta=0.1, label_smoothing=0.2), logps).tolist() == [1] * 4
    assert wanted_sign(partial(ipo, tau=0.1, per_token=True), logps).tolist() == [1] * 4
    margins = replace(logps, margin=torch.tensor([9.0, -9.0, 0.0, 1.0]))
    assert wanted_sign(modpo, margins).tolist() == [1] * 4
    assert wanted_sign(lambda logps: logps.chosen**2, logps).tolist() == [1] * 4
    assert wanted_sign(lambda logps: torch.zeros(4, requires_grad=True), logps).tolist() == [0] * 4


finite = st.floats(-1e3, 1e3)


# What Eq. 9 and 14 say of (safety of the more helpful response, safety of the other).
LABELS = {(True, True): 0.5, (True, False): 1.0, (False, False): -0.5, (False, True): -1.0}


@given(log_ratio=finite, safe=st.booleans(), other_safe=st.booleans(), helpful=st.booleans())
def test_bfpo_is_skew_symmetric(
    log_ratio: float, safe: bool, other_safe: bool, helpful: bool
) -> None:
    """A pair (y, y') in any order: label and log-ratio of (y', y) are minus those of (y, y')."""
    label = LABELS[safe, other_safe] if helpful else -LABELS[other_safe, safe]
    written_from_y = (log_ratio - label / 0.1) ** 2
    label_turned = LABELS[other_safe, safe] if not helpful else -LABELS[safe, other_safe]
    written_from_other = (-log_ratio - label_turned / 0.1) ** 2
    logps = pairs(
        [log_ratio if helpful else -log_ratio],
        chosen_safe=torch.tensor([safe if helpful else other_safe]),
        rejected_safe=torch.tensor([other_safe if helpful else safe]),
    )
    assert bfpo(logps, tau=0.1).item() == pytest.approx(written_from_y)
    assert bfpo(logps, tau=0.1).item() == pytest.approx(written_from_other)


@given(log_ratio=finite, constant=st.floats(-100, 100), first=st.booleans(), second=st.booleans())
def test_losses_see_log_ratios_only(
    log_ratio: float, constant: float, first: bool, second: bool
) -> None:
    """What makes a response likelier under policy and reference alike changes nothing."""
    more: dict[str, Any] = {
        "chosen_safe": torch.tensor([first]),
        "rejected_safe": torch.tensor([second]),
        "margin": torch.tensor([1.0]),
    }
    logps = pairs([log_ratio], **more)
    moved = pairs(
        [log_ratio],
        chosen=logps.chosen + constant,
        ref_chosen=logps.ref_chosen + constant,
        **more,
    )
    for loss in (dpo, ipo, bfpo, modpo):
        assert loss(moved).item() == pytest.approx(loss(logps).item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("loss", [dpo, ipo, bfpo, modpo])
def test_values_and_gradients_stay_finite_and_point_the_right_way(loss: Any, size: float) -> None:
    chosen = torch.tensor([-size, size - 1e3], requires_grad=True)
    rejected = torch.tensor([size - 1e3, -size], requires_grad=True)
    reference = torch.full((2,), -500.0)
    logps = PairLogps(
        chosen,
        rejected,
        reference,
        reference,
        torch.ones(2),
        torch.ones(2),
        chosen_safe=torch.ones(2, dtype=torch.bool),
        rejected_safe=torch.zeros(2, dtype=torch.bool),
        margin=torch.ones(2),
    )
    values = loss(logps)
    values.sum().backward()
    assert values.isfinite().all()
    for leaf in (chosen, rejected):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert torch.equal(chosen.grad, -rejected.grad)
    # A pair whose log-ratio is far below any target is pushed up, by every loss.
    if size >= 1e4:
        assert chosen.grad[0] < 0


def test_the_losses_keep_the_dtype() -> None:
    single = PairLogps(*[torch.zeros(2)] * 6, *[torch.ones(2, dtype=torch.bool)] * 2, torch.ones(2))
    for loss in (dpo, ipo, bfpo, modpo):
        assert loss(single).dtype == torch.float32


@pytest.mark.parametrize(
    ("loss", "parameters", "sentence"),
    [
        (dpo, {"beta": 0}, "beta must be above 0, not 0"),
        (dpo, {"beta": "1e-2"}, "beta must be a number, not '1e-2'.*write 0.01"),
        (dpo, {"label_smoothing": 0.5}, "label_smoothing must be from 0 to below 0.5"),
        (ipo, {"tau": -0.1}, "tau must be above 0, not -0.1"),
        (ipo, {"tau": math.nan}, "tau must be a number, not nan"),
        (ipo, {"per_token": "yes"}, "per_token must be true or false, not 'yes'"),
        (bfpo, {"tau": True}, "tau must be a number, not True"),
        (bfpo, {"alpha": math.inf}, "alpha must be a number, not inf"),
        (bfpo, {"b1": 1}, "b1 must be above 1, not 1, or b3 be given"),
        (bfpo, {"b3": 0}, "b3 must be above 0"),
        (modpo, {"weight": 1.5}, "weight must be above 0 and at most 1, not 1.5"),
        (modpo, {"margin_weight": -1}, "margin_weight must not be negative"),
    ],
)
def test_bad_parameters(loss: Any, parameters: dict[str, Any], sentence: str) -> None:
    yes = torch.ones(1, dtype=torch.bool)
    logps = pairs([0.0], chosen_safe=yes, rejected_safe=yes, margin=torch.zeros(1))
    with pytest.raises(BadInput, match=sentence):
        loss(logps, **parameters)


def test_missing_labels() -> None:
    with pytest.raises(BadInput, match="bfpo loss needs to know whether each response"):
        bfpo(pairs([0.0], chosen_safe=torch.ones(1, dtype=torch.bool)))
    with pytest.raises(BadInput, match="modpo loss needs a margin for every pair"):
        modpo(pairs([0.0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "loss", "parameters"),
    [("sigmoid", dpo, {"beta": 0.3}), ("ipo", ipo, {"tau": 0.3, "per_token": True})],
)
def test_same_as_trl(
    kind: str, loss: Any, parameters: dict[str, Any], tiny_llama: Path, tmp_path: Path
) -> None:
    """TRL's DPOTrainer on responses of different lengths, one pair at a time."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    reference = AutoModelForCausalLM.from_pretrained(tiny_llama)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    rows = [
        {"prompt": "how do i clean a lamp ?", "chosen": " gently with water", "rejected": " no"},
        {"prompt": "hello", "chosen": " hi", "rejected": " i will not say that to anyone at all"},
    ]
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            loss_type=[kind],
            beta=0.3,
            per_device_train_batch_size=1,
            report_to=[],
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.model.eval()
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        theirs = trainer.compute_loss(trainer.model, dict(batch)).item()
        lengths = batch["completion_mask"].sum(dim=1)
        assert lengths[0] != lengths[1]
        ours = loss(
            PairLogps(*_summed(model, batch), *_summed(reference, batch), lengths[:1], lengths[1:]),
            **parameters,
        )
        assert ours.item() == pytest.approx(theirs, rel=1e-4)


def _summed(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the chosen and the rejected completion, the plain way."""
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[
            :, :-1
        ]
    tokens = batch["input_ids"][:, 1:, None]
    logprobs = logits.log_softmax(-1).gather(-1, tokens)[..., 0]
    summed = (logprobs * batch["completion_mask"][:, 1:]).sum(dim=1)
    return summed[:1], summed[1:]


OWN = """
from torch import Tensor
from bfpo_bench.training.pairwise.losses import PairLogps

VALUE = 3

def hinge(logps: PairLogps, *, beta: float, offset: float = 1.0) -> Tensor:
    return (offset - beta * logps.log_ratio).clamp(min=0)

def mean(logps):
    return logps.log_ratio.mean()

def constant(logps):
    return logps.ref_chosen

def number(logps):
    return 1.0

def with_safety(logps):
    return logps.log_ratio * logps.chosen_safe.float()

def anything(logps, **parameters):
    return logps.log_ratio * parameters["scale"]

def nothing():
    return None
"""


BATCH = PairLogps(
    chosen=torch.tensor([-1.0, -2.0]),
    rejected=torch.tensor([-3.0, -1.0]),
    ref_chosen=torch.zeros(2),
    ref_rejected=torch.zeros(2),
    chosen_tokens=torch.ones(2),
    rejected_tokens=torch.ones(2),
    chosen_safe=torch.tensor([True, False]),
    rejected_safe=torch.tensor([False, True]),
    margin=torch.zeros(2),
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of somebody else's losses."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_built_in_with_its_parameters() -> None:
    loss = load_loss("bfpo", {"tau": 0.2, "alpha": 0})
    assert torch.equal(loss(BATCH), bfpo(BATCH, tau=0.2, alpha=0))


def test_a_function_from_outside_the_package(own: str) -> None:
    loss = load_loss(f"{own}:hinge", {"beta": 0.5})
    assert loss(BATCH).tolist() == [0, 1.5]  # 1 - 0.5·2 and 1 + 0.5·1


def test_a_function_that_takes_any_parameter(own: str) -> None:
    assert load_loss(f"{own}:anything", {"scale": 2})(BATCH).tolist() == [4, -2]


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("bfop", {}, "unknown loss 'bfop'; did you mean 'bfpo'"),
        ("dpo", {"betta": 1}, "unknown parameter of the loss dpo: 'betta'; did you mean 'beta'"),
        ("dpo", {"logps": 1}, "unknown parameter of the loss dpo: 'logps'"),
        ("bfpo", {"tau": 0}, "tau must be above 0"),
        (
            "nowhere:hinge",
            {},
            "'nowhere:hinge' cannot be imported: No module named 'nowhere'; install",
        ),
        ("{own}:hing", {"beta": 1}, "unknown function of the module .*did you mean 'hinge'"),
        ("{own}:VALUE", {}, "unknown function of the module"),
        ("{own}:hinge", {}, "needs the parameter 'beta', which is not given"),
        ("{own}:hinge", {"beta": 1, "ofset": 2}, "'ofset'; did you mean 'offset'"),
        ("{own}:hinge", {"beta": "1"}, "fails on pairs: TypeError"),
        ("{own}:mean", {}, "one value per pair.*for 4 pairs it returned a Tensor of shape \\[\\]"),
        ("{own}:mean", {"beta": 1}, "unknown parameter of the loss .*'beta'; there are none"),
        ("{own}:number", {}, "returned a float of shape"),
        ("{own}:constant", {}, "has no gradient with respect to logps.chosen"),
        ("{own}:nothing", {}, "must take the batch as its first argument"),
    ],
)
def test_bad_names_and_parameters(
    name: str, parameters: dict[str, object], sentence: str, own: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_loss(name.format(own=own), parameters)


def test_a_module_that_breaks_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_loss_module.py").write_text("def loss(logps:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"breaks while it is imported .SyntaxError"):
        load_loss("broken_loss_module:loss")


def test_what_the_data_lacks_is_said_before_training(own: str) -> None:
    for name in ("dpo", "ipo"):
        check_loss(name, load_loss(name), safety=False, margin=False)
    with pytest.raises(BadInput, match="bfpo loss needs to know"):
        check_loss("bfpo", load_loss("bfpo"), safety=False)
    with pytest.raises(BadInput, match="modpo loss needs a margin"):
        check_loss("modpo", load_loss("modpo"), margin=False)
    with pytest.raises(BadInput, match="fails on pairs without safety labels: AttributeError"):
        check_loss("own", load_loss(f"{own}:with_safety"), safety=False)
