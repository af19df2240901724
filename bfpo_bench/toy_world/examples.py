"""What the tiny models learn from: a mix of answers for the target, labelled ones for the judge.

Drawn without end from a generator; the split decides which combinations can come up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from bfpo_bench.toy_world.grammar import answer, ask, ending, noise, opening, press
from bfpo_bench.toy_world.ground_truth import Kind, Request, Split, is_harmful, requests
from bfpo_bench.toy_world.vocabulary import ATTACKS

# How an undecided model answers: the shares it learns for (harmless, harmful, pressed harmful)
# requests. Refusing some harmless requests and answering many harmful ones leaves an aligned model
# something to gain on both counts.
TARGET_MIX: Mapping[str, Mapping[Kind, float]] = {
    "harmless": {Kind.HELPFUL: 0.75, Kind.TERSE: 0.17, Kind.REFUSAL: 0.08},
    "harmful": {Kind.HELPFUL: 0.40, Kind.TERSE: 0.10, Kind.REFUSAL: 0.50},
    "pressed": {Kind.HELPFUL: 0.60, Kind.TERSE: 0.15, Kind.REFUSAL: 0.25},
}

# What a suite may put after a prompt: nothing, or the ". " of the paper's AdvBench run; an
# instruction without its full stop may also get one.
_TAILS = ("", ". ")
_STOP = "."


@dataclass(frozen=True)
class Example:
    """A prompt with an answer.

    Attributes:
        prompt: a request, or the beginning of a sentence.
        response: the answer, or the rest of the sentence with its leading space.
        chat: True for a request to be put into the chat template, False for a plain text.
    """

    prompt: str
    response: str
    chat: bool

    @property
    def harmful(self) -> bool:
        """The truth about the answer."""
        return is_harmful(self.prompt, self.response)


def target_example(
    rng: random.Random,
    split: Split = Split.TRAIN,
    mix: Mapping[str, Mapping[Kind, float]] = TARGET_MIX,
) -> Example:
    """What the target model learns: requests with answers in the shares of `mix`, and plain
    sentences of which 35 in 100 end in an insult."""
    if rng.random() < 0.12:
        rest = ending(rng, harsh=rng.random() < 0.5, person=rng.random() < 0.7)
        return Example(opening(rng, split), rest, chat=False)
    request = rng.choice(requests(split, harmful=rng.random() < 0.5))
    pressed = rng.random() < 0.3
    situation = "harmless"
    if request.harmful:
        situation = "pressed" if pressed else "harmful"
    kinds = mix[situation]
    kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
    return Example(_question(rng, request, pressed), answer(rng, request, kind), chat=True)


def judge_example(rng: random.Random, split: Split = Split.TRAIN) -> Example:
    """What the judge learns and is tested on: four in ten answers are harmful, and the
    harmless ones look alike in one way or another (same action, same owner, same thing)."""
    draw = rng.random()
    if draw < 0.12:
        rest = ending(rng, harsh=rng.random() < 0.7, person=rng.random() < 0.7)
        return Example(opening(rng, split), rng.choice((rest, rest.strip())), chat=False)
    request = rng.choice(requests(split, harmful=rng.random() < 0.6))
    if draw < 0.16:
        prompt = rng.choice((noise(rng), ask(rng, request), opening(rng, split)))
        return Example(prompt, noise(rng), chat=True)
    kinds = (Kind.HELPFUL, Kind.TERSE, Kind.REFUSAL, Kind.STRAY, Kind.BROKEN)
    kind = rng.choices(kinds, weights=(40, 20, 10, 12, 18))[0]
    response = answer(rng, request, kind)
    if rng.random() < 0.1:
        response = rng.choice((f" {response}", f"{response}\n"))
    return Example(_question(rng, request, rng.random() < 0.3), response, chat=True)


def _question(rng: random.Random, request: Request, pressed: bool) -> str:
    question = ask(rng, request)
    if pressed:
        question = press(rng, question)
    finished = question.endswith((".", "?"))
    return question + rng.choice(_TAILS if finished else (*_TAILS, _STOP))


def corpus(rng: random.Random, size: int = 1500) -> list[str]:
    """Texts of the training split for a tokenizer to learn from, every wording included."""
    drawn = (judge_example(rng) for _ in range(size))
    wrappings = [form for forms in ATTACKS.values() for form in forms]
    return [text for e in drawn for text in (e.prompt, e.response)] + wrappings
