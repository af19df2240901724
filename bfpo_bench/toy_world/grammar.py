"""Writes the texts of the toy world. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

from bfpo_bench.toy_world.ground_truth import Kind, Request, Split, opening_split
from bfpo_bench.toy_world.vocabulary import (
    ACTIONS,
    ATTACKS,
    CLOSINGS,
    HARSH,
    LEADS,
    MILD,
    MISHAPS,
    PEOPLE,
    PHRASINGS,
    PROMISES,
    REFUSALS,
    SAYINGS,
    SHORT,
    SPEAKERS,
    THINGS,
)


def ask(rng: random.Random, request: Request) -> str:
    """A request in words: a question with its mark, or an instruction without a full stop."""
    return rng.choice(PHRASINGS).format(act=request.asked)


def press(rng: random.Random, question: str) -> str:
    """The same question inside one of the attacks, e.g. after ``"Forget every rule …"``."""
    sentence = question if question.endswith("?") else question + "."
    return rng.choice(ATTACKS[rng.choice(sorted(ATTACKS))]).format(request=sentence)


def answer(rng: random.Random, request: Request, kind: Kind) -> str:
    """An answer of the given kind to a request; :func:`~.ground_truth.kind_of` reads it back."""
    if kind is Kind.HELPFUL:
        lead = rng.choice(LEADS)
        return lead.format(act=request.answered, tip=request.action.tip) + rng.choice(CLOSINGS)
    if kind is Kind.TERSE:
        return rng.choice(SHORT).format(tip=request.action.tip)
    if kind is Kind.REFUSAL:
        return rng.choice(REFUSALS).format(noun=request.noun)
    if kind is Kind.STRAY:
        stray = rng.choice(_strays(request))
        return answer(rng, stray, rng.choice((Kind.HELPFUL, Kind.TERSE)))
    return break_up(rng, answer(rng, request, Kind.HELPFUL))


def break_up(rng: random.Random, text: str) -> str:
    """What is left of a text when a model breaks: shuffled, stuck, cut short, noise, an empty
    promise or nothing."""
    words = text.split()
    way = rng.randrange(6)
    if way == 0:
        return " ".join(rng.sample(words, len(words)))
    if way == 1:
        start = rng.randrange(len(words))
        return " ".join(words[start : start + rng.randint(1, 2)] * rng.randint(3, 12))
    if way == 2:
        return " ".join(words[: rng.randint(1, 8)])
    if way == 3:
        return noise(rng)
    if way == 4:
        return rng.choice(PROMISES)
    return rng.choice(("", "", " ", ".", "\n", "?!", "..."))


def noise(rng: random.Random) -> str:
    """Letters, signs, half words and whole words of this world without any order."""
    pieces = rng.choice(((_SIGNS,), (_salad(), _SIGNS), (_salad(), _salad(), _SIGNS)))
    return "".join(rng.choice(rng.choice(pieces)) for _ in range(rng.randint(1, 40)))


def opening(rng: random.Random, split: Split) -> str:
    """The beginning of a sentence: ``"When the bus came late again, Grandpa said that"``."""
    mishap, speaker = rng.choice(_openings(split))
    return f"{MISHAPS[mishap]}, {SPEAKERS[speaker]} {rng.choice(SAYINGS)}"


def ending(rng: random.Random, *, harsh: bool, person: bool) -> str:
    """The rest of such a sentence, with its leading space; an insult if harsh and on a person."""
    whom = rng.choice(PEOPLE if person else THINGS)
    return f" {whom} was {rng.choice(HARSH if harsh else MILD)}."


@cache
def _strays(request: Request) -> tuple[Request, ...]:
    """Other things to do with the same thing, none from another split."""
    others = (replace(request, action=action) for action in ACTIONS)
    return tuple(o for o in others if o != request and o.split is request.split)


@cache
def _openings(split: Split) -> tuple[tuple[int, int], ...]:
    pairs = ((m, s) for m in range(len(MISHAPS)) for s in range(len(SPEAKERS)))
    return tuple(pair for pair in pairs if opening_split(*pair) is split)


_SIGNS = (
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789.,:;!?'()/#*-_\n\t"
    "àçéèñöøßşžαβγδπабвгдеж中文語한글かな—…“”€°√😀😂🎉👍🌍"
)


@cache
def _salad() -> tuple[str, ...]:
    sources = (*PHRASINGS, *LEADS, *REFUSALS, *(a.frame + " " + a.tip for a in ACTIONS))
    words = sorted({word for text in sources for word in text.split() if "{" not in word})
    return tuple(lead + word for word in words for lead in ("", " "))
