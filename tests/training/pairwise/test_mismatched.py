"""KTO's road: rows with one response, responses to other prompts, and updates as by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.tokenize import TokenPair
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise.loss_by_name import (
    BUILT_IN,
    needs_reference,
    reads,
    takes_unpaired,
)
from bfpo_bench.training.pairwise.losses import dpo
from bfpo_bench.training.pairwise.mismatched import mismatched_pairs
from bfpo_bench.training.pairwise.trainer import PreferenceTrainer
from bfpo_bench.training.pairwise.trl_losses import kto
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, losses, plain_logprob, random_pairs
from tests.training.pairwise.test_trainer import arguments, curve, reference_of, update_by_hand

LOSS = partial(kto, beta=0.5, desirable_weight=1.5)


def mixed_rows(count: int) -> list[TokenPair]:
    """Pairs, desirable responses alone and undesirable ones alone, in turn."""
    pairs = random_pairs(count)
    for i in range(1, count, 3):
        pairs[i] = replace(pairs[i], rejected=[])
    for i in range(2, count, 3):
        pairs[i] = replace(pairs[i], chosen=[])
    return pairs


def test_what_losses_need_is_found_by_trying_them() -> None:
    without = {name for name, loss in BUILT_IN.items() if not needs_reference(loss)}
    assert without == {"simpo", "cpo", "orpo"}
    assert needs_reference(lambda logps: logps.chosen - logps.ref_chosen.detach())
    tried = {
        name: (reads(loss, "divergence"), takes_unpaired(loss)) for name, loss in BUILT_IN.items()
    }
    assert tried == {name: (name == "kto",) * 2 for name in BUILT_IN}


def test_each_prompt_gets_a_response_to_another_one() -> None:
    pairs = mixed_rows(30)
    pairs[5] = replace(pairs[5], prompt=pairs[4].prompt)
    found = mismatched_pairs(LOSS, pairs, seed=1, longest=28)
    for pair, other in zip(pairs, found, strict=True):
        assert other.prompt == pair.prompt
        assert other.rejected == []
        room = 28 - len(pair.prompt)
        assert other.chosen in [
            some[:room]
            for one in pairs
            for some in (one.chosen, one.rejected)
            if one.prompt != pair.prompt
        ]
        assert len(other.chosen) > 0
    assert found == mismatched_pairs(LOSS, pairs, seed=1, longest=28)
    assert found != mismatched_pairs(LOSS, pairs, seed=2, longest=28)
    assert mismatched_pairs(dpo, pairs, seed=1, longest=28) == []
    with pytest.raises(BadInput, match="all rows have the same prompt; add others"):
        mismatched_pairs(LOSS, pairs[4:6], seed=1, longest=28)


def test_updates_are_those_written_out_by_hand(
    new_model: Callable[[], Any], tmp_path: Path
) -> None:
    pairs = mixed_rows(12)
    mismatched = mismatched_pairs(LOSS, pairs, seed=0, longest=60)
    batches = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [1, 5, 9, 2]]
    model, by_hand = new_model(), new_model()
    reference = reference_of(by_hand, [*pairs, *mismatched])
    trainer = PreferenceTrainer(
        *(model, arguments(tmp_path), pairs, reference, batches, LOSS, 0.5),
        mismatched=mismatched,
    )
    trainer.train()

    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-3, weight_decay=0.0)
    values, divergences, margins = [], [], []
    for step, batch in enumerate(batches):
        moved = [
            [plain_logprob(by_hand, p.prompt, r) - before for p, r, before in one]
            for one in (
                [(pairs[i], pairs[i].chosen, reference[i][0]) for i in batch],
                [(pairs[i], pairs[i].rejected, reference[i][1]) for i in batch],
                [(mismatched[i], mismatched[i].chosen, reference[12 + i][0]) for i in batch],
            )
        ]
        z = max(0.0, sum(one.item() for one in moved[2]) / 4)
        each = []
        for i, desirable, undesirable in zip(batch, *moved[:2], strict=True):
            good = 1.5 * (1 - torch.sigmoid(0.5 * (desirable - z)))
            bad = 1 - torch.sigmoid(0.5 * (z - undesirable))
            each.append([(good + bad) / 2, good, bad][i % 3])
        value = torch.stack(each).mean()
        values.append(value.item())
        divergences.append(z)
        margins.append(
            [0.5 * (a - b).item() for i, a, b in zip(batch, *moved[:2], strict=True) if i % 3 == 0]
        )
        update_by_hand(optimizer, value, step / len(batches))
    assert curve(trainer) == pytest.approx(values, rel=1e-3)
    assert curve(trainer, "kl") == pytest.approx(divergences, abs=1e-4)
    assert max(divergences) > 0
    expected = [sum(some) / len(some) for some in margins if some]
    assert curve(trainer, "rewards/margins") == pytest.approx(expected, abs=1e-4)
    # Of a row with one response it is right where that has gone its own way.
    assert trainer.state.log_history[-2]["rewards/accuracies"] in (0, 0.25, 0.5, 0.75, 1)


UNPAIRED = [
    {
        "prompt": f"how do i clean lamp number {i} ?",
        "completion": f"gently with {i} drops of water" if i % 3 else "no",
        "label": bool(i % 3),
    }
    for i in range(8)
]


def write(rows: list[dict[str, Any]], name: str = "unpaired.jsonl") -> None:
    Path(name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


ONE_SET = "{{name: {0}, pairs: naive, files: [{0}.jsonl]}}"
SETS = f"data=[{ONE_SET.format('pairs')}, {ONE_SET.format('unpaired')}]"
REWARDS = "{helpful: {function: 'a:b'}, safe: {function: 'a:b'}}"
KTO = ("loss=kto", "loss_parameters={beta: 0.3}")


@pytest.mark.slow
def test_from_pairs_and_single_responses_to_a_checkpoint(mine: Mine) -> None:
    recipe = mine("preference", *KTO, SETS, "eval={share: 0.5, steps: 2}")
    write(UNPAIRED)
    said = dry_run(recipe, Path("x"), Progress(show=False))
    assert "17 desirable and 15 undesirable responses" in said
    record = train(recipe, Path("out"), device="cpu")
    assert sum(one["pairs"] + one["held_out"] for one in record["data"]) == 20
    assert losses(record)[0] == pytest.approx(0.5, abs=1e-5)  # nothing has moved yet
    entries = [entry for entry in record["curves"] if "eval_loss" in entry]
    assert {"eval_kl", "eval_rewards/accuracies_unpaired"} <= entries[-1].keys()


@pytest.mark.parametrize(
    ("changes", "keep", "sentence"),
    [
        (
            ["loss=dpo"],
            8,
            "the loss dpo compares two .* 8 of 8 rows of set 'unpaired' .*jsonl, line 1.; tak",
        ),
        (
            [
                *KTO,
                f"relabel={{rewards: {REWARDS}, multiplier: 1}}",
            ],
            8,
            "'relabel' rates two",
        ),
        ([*KTO, "margin={label: safe}"], 8, "'margin' rates two"),
        ([*KTO, "data.1.pairs=bfpo"], 8, "which set 'unpaired' leaves open in 8 of its 8 records"),
        (
            [*KTO, "data=[{name: unpaired, pairs: helpful, files: [unpaired.jsonl]}]"],
            1,
            "none of the 1 responses is desirable",
        ),
        (
            [*KTO, "data=[{name: u, pairs: helpful, files: [desirable.jsonl]}]"],
            8,
            "none of the 5 responses is undesirable",
        ),
        (
            [
                "kind=sft",
                "loss=null",
                "loss_parameters={}",
                "data=[{name: unpaired, pairs: helpful, files: [unpaired.jsonl]}]",
            ],
            1,
            "'unpaired' holds no answer that is desirable",
        ),
    ],
)
def test_bad_input(changes: list[str], keep: int, sentence: str, mine: Mine) -> None:
    from bfpo_bench.training.train import prepare

    recipe = mine("preference", SETS, *changes)
    write(UNPAIRED[:keep])
    write([row for row in UNPAIRED if row["label"]], "desirable.jsonl")
    with pytest.raises(BadInput, match=sentence):
        prepare(recipe, Progress(show=False))
