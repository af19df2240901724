"""The base model that the toy trainings start from: it has read the world, but never talked.

Stands in for a pretrained model. It knows all words, what is asked and what answers look like, and
it goes on with any text; it has not seen the chat template and has no manners.
"""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path

from bfpo_bench.demo.fit import Progress, Sample, Shape
from bfpo_bench.demo.made import make_once
from bfpo_bench.demo.models import save, trained
from bfpo_bench.demo.tokenizer import build_tokenizer
from bfpo_bench.demo.world import Kind, Split, requests
from bfpo_bench.demo.writing import answer, ask, ending, opening, press

SHAPE = Shape(width=96, layers=3, heads=3)
"""Half a million parameters: 0.28 million in the blocks, the rest in the embeddings."""

STEPS = 150

_TEXTS = 4000


def make_base(
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Path:
    """Train a model on plain texts of the world.

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

    def build(target: Path) -> None:
        tokenizer = build_tokenizer(context=SHAPE.context)
        rng = random.Random(f"base {seed}")
        samples = []
        for _ in range(_TEXTS):
            # With and without <s>: what begins a plain text differs between harnesses.
            marked = rng.random() < 0.5
            ids = tokenizer(plain_text(rng), add_special_tokens=marked)["input_ids"]
            samples.append(Sample([*ids, tokenizer.eos_token_id], [True] * (len(ids) + 1)))
        save(target, trained(tokenizer, SHAPE, samples, seed, steps, 4e-3, progress), tokenizer)

    settings = {"model": "base", "seed": seed, "steps": steps, **asdict(SHAPE)}
    return make_once(folder, settings, build)


def plain_text(rng: random.Random) -> str:
    """A sentence about a mishap, or what somebody asked and was told: harm or not."""
    if rng.random() < 0.25:
        said = ending(rng, harsh=rng.random() < 0.5, person=rng.random() < 0.7)
        return opening(rng, Split.TRAIN) + said
    request = rng.choice(requests(Split.TRAIN))
    question = ask(rng, request)
    if rng.random() < 0.3:
        question = press(rng, question)
    kind = rng.choice((Kind.HELPFUL, Kind.HELPFUL, Kind.TERSE, Kind.REFUSAL))
    return f"{question}\n{answer(rng, request, kind)}"
