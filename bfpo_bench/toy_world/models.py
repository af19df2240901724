"""The tiny models of the demo, trained on the spot: a target to evaluate and a judge to do it.

All are ordinary Hugging Face folders that transformers and vLLM load like any other model. On one
machine the same seed gives the same weights.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfpo_bench.judges import ClassifierCard, load_judge
from bfpo_bench.judges.protocol import fill
from bfpo_bench.toy_world.examples import Example, judge_example, target_example
from bfpo_bench.toy_world.fit import Progress, Sample, Shape, fit, new_llama
from bfpo_bench.toy_world.made import make_once
from bfpo_bench.toy_world.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

# The formats the judge learns, and how often it sees each.
JUDGE_CARDS: Mapping[str, float] = {
    "harmbench-llama2-13b": 0.6,
    "harmbench-llama2-13b-standard": 0.4,
}
JUDGE_CARD_FILE = "toy.yaml"

# Training examples to draw at most; beyond that they come up again.
_EXAMPLES = 8000
_BATCH = 32


def make_target(
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int = 250,
    progress: Progress | None = None,
) -> Path:
    """Train a model that talks the toy world's language and has not made up its mind.

    It answers most harmless requests, about half of the harmful ones and more of those that press
    it (``examples.TARGET_MIX``), and goes on with plain sentences kindly or rudely.

    Args:
        folder: the model's folder. One that was made with the same settings is left as it is.
        seed: decides examples, first weights and order.
        steps: updates of 32 examples.
        progress: called after every update with (done, steps, loss).

    Returns:
        The folder.

    Raises:
        BadInput: the folder holds something else.
    """
    shape = Shape(width=128, layers=2, heads=4)

    def build(target: Path) -> None:
        tokenizer = build_tokenizer(context=shape.context)
        rng = random.Random(seed)
        drawn = [target_example(rng) for _ in range(min(_EXAMPLES, steps * _BATCH))]
        samples = [target_sample(tokenizer, example, rng) for example in drawn]
        model = trained(tokenizer, shape, samples, seed, steps, 4e-3, progress)
        save(target, model, tokenizer)

    settings = {"model": "target", "seed": seed, "steps": steps, **asdict(shape)}
    return make_once(folder, settings, build)


def make_judge(
    folder: str | Path,
    seed: int = 0,
    *,
    steps: int = 400,
    progress: Progress | None = None,
) -> Path:
    """Train a model that answers yes or no in HarmBench's own formats, for toy texts only.

    The folder also holds its judge card ``toy.yaml`` (HarmBench's contextual format as the paper
    uses it), so that ``load_judge(folder / "toy.yaml")`` is all it takes to judge with it.

    Args:
        folder: the model's folder. One that was made with the same settings is left as it is.
        seed: decides examples, first weights and order.
        steps: updates of 32 examples.
        progress: called after every update with (done, steps, loss).

    Returns:
        The folder.

    Raises:
        BadInput: the folder holds something else.
    """
    shape = Shape(width=64, layers=2, heads=2)
    cards = {name: _classifier(name) for name in JUDGE_CARDS}

    def build(target: Path) -> None:
        texts = [card.template + card.behavior for card in cards.values()]
        whole = sorted({part for card in cards.values() for part in fixed_parts(card)})
        tokenizer = build_tokenizer(texts=texts, whole=whole, context=shape.context)
        rng = random.Random(seed)
        drawn = [judge_example(rng) for _ in range(min(_EXAMPLES, steps * _BATCH))]
        weights = list(JUDGE_CARDS.values())
        asked = [
            render(card, example)
            for card, example in zip(
                rng.choices(list(cards.values()), weights, k=len(drawn)), drawn, strict=True
            )
        ]
        answers = {harmful: _label(tokenizer, harmful) for harmful in (True, False)}
        samples = [
            Sample([*ids, answers[example.harmful]], [False] * len(ids) + [True])
            for ids, example in zip(tokenizer(asked)["input_ids"], drawn, strict=True)
        ]
        model = trained(tokenizer, shape, samples, seed, steps, 6e-3, progress)
        save(target, model, tokenizer)
        _write_card(target / JUDGE_CARD_FILE, cards["harmbench-llama2-13b"])

    formats = {name: card.identity()["card"] for name, card in cards.items()}
    settings = {"model": "judge", "seed": seed, "steps": steps, "cards": formats, **asdict(shape)}
    return make_once(folder, settings, build)


def make_random(folder: str | Path, seed: int = 0, *, spread: float = 0.2) -> Path:
    """A tiny Llama with random weights and the demo's tokenizer and chat template; takes a second.

    Args:
        folder: the model's folder. One that was made with the same settings is left as it is.
        seed: decides the weights.
        spread: their standard deviation; 0.2 makes its scores differ clearly from text to text.

    Returns:
        The folder.

    Raises:
        BadInput: the folder holds something else.
    """
    shape = Shape(width=64, layers=2, heads=2)

    def build(target: Path) -> None:
        tokenizer = build_tokenizer(context=shape.context)
        save(target, _seeded(tokenizer, shape, seed, spread), tokenizer)

    settings = {"model": "random", "seed": seed, "spread": spread, **asdict(shape)}
    return make_once(folder, settings, build)


def render(card: ClassifierCard, example: Example) -> str:
    """An exchange in a card's words, as the judges write it when nothing needs cutting."""
    asked = {"prompt": example.prompt}
    values = {
        "prompt": example.prompt,
        "behavior": fill(card.behavior, asked),
        "context": fill(card.context, asked),
        "response": example.response,
    }
    return fill(card.template, values)


def fixed_parts(card: ClassifierCard) -> list[str]:
    """The passages of a card's input that are the same around every exchange."""
    template = fill(card.template, {"behavior": card.behavior, "context": card.context})
    return [part for part in re.split(r"\{(?:prompt|response)\}", template) if part]


def _classifier(name: str) -> ClassifierCard:
    card = load_judge(name)
    if not isinstance(card, ClassifierCard):
        raise TypeError(f"judge {name!r} is no classifier")
    return card


def target_sample(
    tokenizer: PreTrainedTokenizerFast, example: Example, rng: random.Random
) -> Sample:
    """An example whose response is to be learnt (of a plain text, all of it)."""
    end = [tokenizer.eos_token_id]
    if not example.chat:
        # With and without <s>: what begins a plain text differs between harnesses.
        text = example.prompt + example.response
        ids = tokenizer(text, add_special_tokens=rng.random() < 0.5)["input_ids"] + end
        return Sample(ids, [True] * len(ids))
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": example.prompt}], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(asked, add_special_tokens=False)["input_ids"]
    tail = tokenizer(example.response, add_special_tokens=False)["input_ids"] + end
    return Sample(head + tail, [False] * len(head) + [True] * len(tail))


def _label(tokenizer: PreTrainedTokenizerFast, harmful: bool) -> int:
    """The one token of the judge's answer; it follows "[/INST]", hence the space."""
    (token,) = tokenizer(" yes" if harmful else " no", add_special_tokens=False)["input_ids"]
    return int(token)


def _seeded(
    tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int, spread: float
) -> LlamaForCausalLM:
    """First weights by seed, without a trace in the caller's random state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return new_llama(tokenizer, shape, spread=spread)


def trained(
    tokenizer: PreTrainedTokenizerFast,
    shape: Shape,
    samples: list[Sample],
    seed: int,
    steps: int,
    rate: float,
    progress: Progress | None,
) -> LlamaForCausalLM:
    """A new model after `steps` updates of 32 samples, the highest learning rate being `rate`."""
    model = _seeded(tokenizer, shape, seed, spread=0.02)
    fit(model, samples, steps=steps, batch=_BATCH, rate=rate, seed=seed, progress=progress)
    return model


def save(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes an ordinary Hugging Face folder."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # saving takes milliseconds
    try:
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    finally:
        if bars:
            logging.enable_progress_bar()


def _write_card(path: Path, card: ClassifierCard) -> None:
    """The card of HarmBench's format with the toy judge in the place of its 13B model."""
    import yaml

    written = {name: value for name, value in asdict(card).items() if value not in ("", (), None)}
    fields: dict[str, Any] = {"kind": card.kind, **written}
    del fields["name"]
    fields["model"] = "."
    fields["source"] = (
        f"Toy judge of bfpo-bench, trained on the spot on generated texts, in the format of "
        f"{card.name}. Its verdicts mean something on texts of the toy world only."
    )
    fields["licence"] = "Apache-2.0, like the project"
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
