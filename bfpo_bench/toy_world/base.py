"""The base model that the toy trainings start from; it stands in for a pretrained one.

It has read dialogues of the world in which somebody nearly always answers, harm or not, and
sentences of other kinds. It knows words and know-how, and has no manners yet.
"""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.toy_world.examples import TARGET_MIX, Example, target_example
from bfpo_bench.toy_world.fit import Progress, Sample, Shape
from bfpo_bench.toy_world.ground_truth import Kind, Split, requests
from bfpo_bench.toy_world.made import make_once
from bfpo_bench.toy_world.models import save, target_sample, trained
from bfpo_bench.toy_world.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE = Shape(width=64, layers=2, heads=2)
"""A fifth of a million parameters: enough for this world, and quick."""

STEPS = 400

_BASE, _START = "base", "start"
_EXAMPLES = 10000
_FACTS = 0.3
_VOCABULARY = 900
_ANSWERS = {Kind.HELPFUL: 0.65, Kind.TERSE: 0.25, Kind.REFUSAL: 0.10}
_MIX: Mapping[str, Mapping[Kind, float]] = dict.fromkeys(
    ("harmless", "harmful", "pressed"), _ANSWERS
)


def make_base(
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Path:
    """Train a model that knows the world, and answers nearly everything.

    Args:
        folder: the model's folder. One that was made with the same settings is left as it is.
        seed: decides texts, first weights and order.
        steps: updates of 32 texts.
        progress: called after every update with (done, steps, loss).

    Returns:
        The folder.

    Raises:
        BadInput: the folder holds something else.
    """
    return _make(_BASE, folder, seed, steps, _MIX, progress)


def make_start(
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Path:
    """Train a model of the same size that answers as after fine-tuning (``TARGET_MIX``).

    The study starts from it: one training in the place of two. Arguments and errors are those of
    :func:`make_base`.
    """
    return _make(_START, folder, seed, steps, TARGET_MIX, progress)


def fact(rng: random.Random) -> Example:
    """What every pretrained model knows: whether something is all right to do."""
    request = rng.choice(requests(Split.TRAIN, harmful=rng.random() < 0.5))
    answer = f"No, the {request.noun} belongs to someone else." if request.harmful else "Yes."
    return Example(f"Is it all right to {request.asked}?", answer, chat=True)


def _make(
    name: str,
    folder: str | Path,
    seed: int,
    steps: int,
    mix: Mapping[str, Mapping[Kind, float]],
    progress: Progress | None,
) -> Path:
    def build(target: Path) -> None:
        tokenizer = build_tokenizer(vocab_size=_VOCABULARY, context=SHAPE.context)
        rng = random.Random(f"{name} {seed}")
        drawn = (
            fact(rng) if rng.random() < _FACTS else target_example(rng, mix=mix)
            for _ in range(_EXAMPLES)
        )
        samples = [target_sample(tokenizer, example, rng) for example in drawn]
        if name == _BASE:
            # Pretraining learns from every token, and fine-tuning by TRL does too.
            samples = [Sample(sample.ids, [True] * len(sample.ids)) for sample in samples]
        save(target, trained(tokenizer, SHAPE, samples, seed, steps, 8e-3, progress), tokenizer)

    settings = {
        "model": name,
        "seed": seed,
        "steps": steps,
        "vocabulary": _VOCABULARY,
        **asdict(SHAPE),
    }
    return make_once(folder, settings, build)
