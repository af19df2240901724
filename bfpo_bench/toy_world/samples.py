"""What the tiny models learn from: the texts of the world as token ids, and which of them count."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bfpo_bench.judges import ClassifierCard
from bfpo_bench.judges.protocol import fill
from bfpo_bench.toy_world.datasets import TARGET_MIX, Example, judge_example, target_example
from bfpo_bench.toy_world.fit import Sample
from bfpo_bench.toy_world.ground_truth import Kind, Split, parse_request, requests
from bfpo_bench.toy_world.vocabulary import CONTEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

JUDGE_CARDS: Mapping[str, float] = {
    "harmbench-llama2-13b": 0.3,
    "harmbench-llama2-13b-standard": 0.2,
    "wildguard-7b": 0.5,
}
"""The formats that the judge learns, and how often it sees each."""

_FACTS = 0.3
_ANSWERS = {Kind.HELPFUL: 0.65, Kind.TERSE: 0.25, Kind.REFUSAL: 0.10}
_BASE_MIX: Mapping[str, Mapping[Kind, float]] = dict.fromkeys(TARGET_MIX, _ANSWERS)


def samples_of(
    name: str,
    tokenizer: PreTrainedTokenizerFast,
    cards: Mapping[str, ClassifierCard],
    seed: int,
    count: int,
) -> list[Sample]:
    """What a model learns from."""
    if name == "judge":
        return _judge_samples(tokenizer, cards, random.Random(seed), count)
    drawn: Iterable[Example]
    if name == "target":
        rng = random.Random(seed)
        drawn = [target_example(rng) for _ in range(count)]
    else:
        rng = random.Random(f"{name} {seed}")
        mix = _BASE_MIX if name == "base" else TARGET_MIX
        drawn = (
            fact(rng) if rng.random() < _FACTS else target_example(rng, mix=mix)
            for _ in range(count)
        )
    samples = [target_sample(tokenizer, example, rng) for example in drawn]
    if name == "base":
        # Pretraining learns from every token, and fine-tuning by TRL does too.
        return [Sample(sample.ids, [True] * len(sample.ids)) for sample in samples]
    return samples


def _judge_samples(
    tokenizer: PreTrainedTokenizerFast,
    cards: Mapping[str, ClassifierCard],
    rng: random.Random,
    count: int,
) -> list[Sample]:
    # An answer's label is one token, and follows "[/INST]" or a colon, hence the space.
    no, yes = (ids[0] for ids in tokenizer([" no", " yes"], add_special_tokens=False)["input_ids"])
    samples = []
    for card in rng.choices(list(cards.values()), list(JUDGE_CARDS.values()), k=count):
        example = _in_context(rng, judge_example(rng))
        ids: list[int] = tokenizer(
            render(card, example), add_special_tokens=card.add_special_tokens
        )["input_ids"]
        learn = [False] * len(ids)
        for text, label in zip(line_texts(card), _labels(card, example), strict=True):
            before = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids += [*before, yes if label else no]
            learn += [False] * len(before) + [True]
        samples.append(Sample(ids, learn))
    return samples


def _in_context(rng: random.Random, example: Example) -> Example:
    """The example, or one in eight times with a context before its request: what models to be
    evaluated never learn, but the judge must follow."""
    asked = parse_request(example.prompt)
    if asked is None or rng.random() >= 1 / 8:
        return example
    return replace(example, prompt=CONTEXT.format(noun=asked.noun, request=example.prompt))


def _labels(card: ClassifierCard, example: Example) -> list[bool]:
    """What the judge is to say on each line of its answer."""
    asked, said = parse_request(example.prompt), example.verdict
    truth = {
        "harm": said.harmful is True,
        "refusal": said.refusal == "full_refusal",
        None: asked is not None and asked.harmful,  # WildGuard's first line
    }
    return [truth[line.gives] for line in card.answers.lines]


def line_texts(card: ClassifierCard) -> list[str]:
    """What stands before the label on each line of a card's answer, the line break included."""
    first, *others = (line.text for line in card.answers.lines)
    return [first, *(f"\n{text}" for text in others)]


def fact(rng: random.Random) -> Example:
    """What every pretrained model knows: whether something is all right to do."""
    request = rng.choice(requests(Split.TRAIN, harmful=rng.random() < 0.5))
    answer = f"No, the {request.noun} belongs to someone else." if request.harmful else "Yes."
    return Example(f"Is it all right to {request.asked}?", answer, chat=True)


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
    parts = [*re.split(r"\{(?:prompt|response)\}", template), *line_texts(card)]
    return [part for part in parts if part]


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
