"""Training with packed pairs does what the same updates written out by hand do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.training.data.sampler import Schedule
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.held_out import HeldOut
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo, dpo, ipo
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.trainable import select_layers
from tests.training.conftest import plain_logprob, random_pairs

NewModel = Callable[[], Any]


def reference_of(model: Any, pairs: list[TokenPair]) -> list[tuple[float, float]]:
    with torch.no_grad():
        return [
            (
                float(plain_logprob(model, p.prompt, p.chosen)),
                float(plain_logprob(model, p.prompt, p.rejected)),
            )
            for p in pairs
        ]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "learning_rate": 1e-3,
        "lr_scheduler_type": "linear",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    return TrainingArguments(**{**settings, **changes})


Setup = Callable[..., PreferenceTrainer]


@pytest.fixture
def setup(new_model: NewModel, tmp_path: Path) -> Setup:
    """Makes a trainer of the tiny model; the reference is the model before its first update."""

    def make(
        pairs: list[TokenPair],
        batches: Sequence[Sequence[int]],
        loss: Callable[[PairLogps], torch.Tensor],
        *,
        model: Any = None,
        reference: Sequence[tuple[float, float]] | None = None,
        beta: float = 0.5,
        **changes: Any,
    ) -> PreferenceTrainer:
        return PreferenceTrainer(
            model or new_model(),
            arguments(tmp_path, **changes),
            pairs,
            reference or reference_of(new_model(), pairs),
            batches,
            loss,
            beta=beta,
        )

    return make


def curve(trainer: PreferenceTrainer, name: str = "loss") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def update_by_hand(optimizer: torch.optim.Optimizer, value: torch.Tensor, done: float) -> None:
    """One update at a rate of 1e-3 that falls to 0 with what is done, gradients clipped to 1."""
    optimizer.zero_grad()
    value.backward()
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
        group["lr"] = 1e-3 * (1 - done)
    optimizer.step()


@pytest.mark.parametrize(
    "loss", [partial(dpo, beta=0.5), partial(ipo, tau=0.5), partial(bfpo, tau=0.5)]
)
def test_losses_are_those_of_updates_written_out_by_hand(
    loss: Callable[[PairLogps], torch.Tensor], new_model: NewModel, setup: Setup
) -> None:
    pairs = random_pairs(12)
    reference = reference_of(new_model(), pairs)
    batches = list(Schedule("shuffled", (12,), pairs_per_update=4, epochs=2, seed=1))
    model = new_model()
    trainer = setup(pairs, batches, loss, model=model, reference=reference)
    trainer.train()

    by_hand = new_model()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-3, weight_decay=0.0)
    expected = []
    for step, batch in enumerate(batches):
        some = [pairs[i] for i in batch]
        logps = PairLogps(
            chosen=torch.stack([plain_logprob(by_hand, p.prompt, p.chosen) for p in some]),
            rejected=torch.stack([plain_logprob(by_hand, p.prompt, p.rejected) for p in some]),
            ref_chosen=torch.tensor([reference[i][0] for i in batch]),
            ref_rejected=torch.tensor([reference[i][1] for i in batch]),
            chosen_tokens=torch.tensor([len(p.chosen) for p in some]),
            rejected_tokens=torch.tensor([len(p.rejected) for p in some]),
            chosen_safe=torch.tensor([p.chosen_safe for p in some]),
            rejected_safe=torch.tensor([p.rejected_safe for p in some]),
        )
        value = loss(logps).mean()
        expected.append(value.item())
        update_by_hand(optimizer, value, step / len(batches))
    # Adam divides by the size of the gradient, so rounding in small ones is not small.
    assert curve(trainer) == pytest.approx(expected, rel=1e-3)
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert float((mine - theirs).detach().abs().mean()) < 1e-5


def test_batches_that_are_split_give_the_same_updates(setup: Setup) -> None:
    curves = []
    for accumulation in (1, 4):
        batches = list(Schedule("buffered", (8, 8), 8, seed=3, accumulation=accumulation))
        steps = {"gradient_accumulation_steps": accumulation}
        trainer = setup(random_pairs(16), batches, partial(bfpo, tau=0.5), **steps)
        trainer.train()
        curves.append(curve(trainer))
    assert len(curves[0]) == 2
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_only_selected_layers_move_and_hold_optimizer_state(
    new_model: NewModel, setup: Setup
) -> None:
    model = new_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    selected = select_layers(model, ["mlp.down_proj"])
    assert selected == [f"model.layers.{i}.mlp.down_proj.weight" for i in range(2)]
    trainer = setup(
        *(random_pairs(8), [[0, 1, 2, 3], [4, 5, 6, 7]], partial(dpo, beta=0.5)),
        model=model,
        gradient_checkpointing=True,
    )
    trainer.train()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in selected)
        assert parameter.grad is None or name in selected
    assert trainer.optimizer is not None
    states = [s for s in trainer.optimizer.state.values() if s]
    assert len(states) == 2


def test_metrics_by_set_and_by_safety(new_model: NewModel, setup: Setup) -> None:
    pairs = random_pairs(12)
    # The reference likes each chosen response 1 nat less, each rejected one 2 nats more.
    reference = [(a - 1, b + 2) for a, b in reference_of(new_model(), pairs)]
    loss = partial(dpo, beta=0.1)
    trainer = setup(pairs, [list(range(12))], loss, reference=reference, beta=0.1)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["rewards/chosen"] == pytest.approx(0.1, abs=1e-5)
    assert first["rewards/rejected"] == pytest.approx(-0.2, abs=1e-5)
    assert first["rewards/margins"] == pytest.approx(0.3, abs=1e-5)
    accuracies = {name for name in first if "accuracies" in name}
    assert accuracies == {
        "rewards/accuracies",
        "rewards/accuracies_one",
        "rewards/accuracies_other",
        *(f"rewards/accuracies_{a}>{b}" for a in ("safe", "unsafe") for b in ("safe", "unsafe")),
    }
    assert first["loss"] == pytest.approx(-math.log(1 / (1 + math.exp(-0.3))), abs=1e-5)


def test_right_is_what_the_loss_wants(new_model: NewModel, setup: Setup) -> None:
    """BFPO wants two of these four classes the other way round, and DPO none."""
    pairs = random_pairs(12)
    ways = [1.0 if pair.chosen_safe else -1.0 for pair in pairs]
    # The reference lies 3 nats on the other side of where the label is.
    reference = [
        (a - 3 * way, b) for (a, b), way in zip(reference_of(new_model(), pairs), ways, strict=True)
    ]
    shares = []
    for loss in (partial(bfpo, tau=0.5), partial(dpo, beta=0.5)):
        trainer = setup(pairs, [list(range(12))], loss, reference=reference)
        trainer.train()
        shares.append(trainer.state.log_history[0])
    assert shares[0]["rewards/accuracies"] == 1
    assert shares[0]["rewards/accuracies_unsafe>safe"] == 1
    assert shares[1]["rewards/accuracies"] == ways.count(1.0) / 12
    assert shares[1]["rewards/accuracies_unsafe>safe"] == 0


def test_a_loss_that_is_no_number_stops_and_leaves_its_batch(
    new_model: NewModel, setup: Setup, tmp_path: Path
) -> None:
    pairs = random_pairs(4)
    reference = reference_of(new_model(), pairs)
    reference[2] = (math.nan, 0.0)
    trainer = setup(pairs, [[0, 1], [2, 3]], partial(dpo, beta=0.5), reference=reference)
    with pytest.raises(RunFailed, match=r"not a number at step 2; its batch is in .*nan-batch"):
        trainer.train()
    rows = json.loads((tmp_path / "nan-batch.json").read_text(encoding="utf-8"))
    assert [row["pair"] for row in rows] == [2, 3]
    assert rows[0]["loss"] == "nan"
    assert rows[0]["chosen_ids"] == pairs[2].chosen
    # The model is itself again.
    assert trainer.model(torch.tensor([[1, 2]])).logits.shape == (1, 2, 90)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_process_looks_at_as_many_batches_and_each_pair_counts_once(world: int) -> None:
    parts = [HeldOut(range(10, 17), 2, 1, rank, world).batches for rank in range(world)]
    assert len({len(batches) for batches in parts}) == 1
    counted = [i for batches in parts for batch, counts in batches if counts for i in batch]
    assert sorted(counted) == list(range(10, 17))
