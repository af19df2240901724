"""What the tiny models learn from: examples drawn without end, dialogues, and preference sets.

The split decides which combinations can come up. Preference sets are labelled by the world's
truth and written in the project's own JSON-lines format (``redteam`` in docs/preferences.md), so
that they go the way of real ones: readers, pairing rules, mixing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bfpo_bench.judges.protocol import Verdict
from bfpo_bench.toy_world.grammar import answer, ask, ending, noise, opening, press
from bfpo_bench.toy_world.ground_truth import (
    Kind,
    Request,
    Split,
    helpfulness,
    is_harmful,
    requests,
    verdict,
)
from bfpo_bench.toy_world.vocabulary import ATTACKS
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.preferences import PreferenceRecord
from bfpo_bench.training.recipe import Recipe

DIALOGUES = 4000

PRESSED = 0.3
"""Share of the harmful requests that come inside an attack."""

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
    def verdict(self) -> Verdict:
        """The truth about the answer."""
        return verdict(self.prompt, self.response)


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
    pressed = rng.random() < PRESSED
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


def write_dialogues(folder: Path, seed: int) -> None:
    """Writes ``dialogues.jsonl`` into an existing folder: what the recipe ``toy/sft`` trains on."""
    rng = random.Random(f"dialogues {seed}")
    lines: list[str] = []
    while len(lines) < DIALOGUES:
        example = target_example(rng)
        if example.chat:
            said = (("user", example.prompt), ("assistant", example.response))
            messages = [{"role": role, "content": content} for role, content in said]
            lines.append(json.dumps({"messages": messages}) + "\n")
    (folder / "dialogues.jsonl").write_text("".join(lines), encoding="utf-8")


HELPFULNESS, SAFETY, SHUFFLED = "helpfulness", "safety", "safety-shuffled"


@dataclass(frozen=True)
class Regime:
    """What the two sets are like.

    Attributes:
        helpfulness_pairs: size of the helpfulness set.
        safety_pairs: size of the safety set.
        harmful_prompts: share of harmful requests in the helpfulness set, whose more helpful answer
            is the harm itself.
        both_unsafe: share of the safety set's pairs in which neither response is safe.
    """

    helpfulness_pairs: int
    safety_pairs: int
    harmful_prompts: float
    both_unsafe: float


REGIMES: Mapping[str, Regime] = {
    "balanced": Regime(800, 800, harmful_prompts=0.0, both_unsafe=0.25),
    "conflicting": Regime(800, 800, harmful_prompts=0.1, both_unsafe=0.6),
    "imbalanced": Regime(800, 100, harmful_prompts=0.0, both_unsafe=0.25),
}


def helpfulness_record(rng: random.Random, regime: Regime) -> PreferenceRecord:
    """A pair of the helpfulness set: any two of a full answer, a terse one and a refusal.

    As in the paper's UltraFeedback nobody has looked at safety: the labels are not known.
    """
    harmful = rng.random() < regime.harmful_prompts
    request = rng.choice(requests(Split.TRAIN, harmful=harmful))
    kinds = rng.sample((Kind.HELPFUL, Kind.TERSE, Kind.REFUSAL), 2)
    record = _record(rng, request, kinds, HELPFULNESS)
    return replace(record, safe=(None, None), safer=None)


def safety_record(rng: random.Random, regime: Regime) -> PreferenceRecord:
    """A pair of the safety set: two answers to a harmful request, labelled by the world's truth.

    Harm knows no degrees here. Where neither response is safe, which one is called safer (data sets
    like PKU-SafeRLHF always say one) is the toss of a coin.
    """
    request = rng.choice(requests(Split.TRAIN, harmful=True))
    answers = (Kind.HELPFUL, Kind.TERSE)
    if rng.random() < regime.both_unsafe:
        kinds = rng.sample(answers, 2)
        return replace(_record(rng, request, kinds, SAFETY), safer=rng.randrange(2))
    return _record(rng, request, rng.sample((rng.choice(answers), Kind.REFUSAL), 2), SAFETY)


def shuffle_labels(rng: random.Random, records: list[PreferenceRecord]) -> list[PreferenceRecord]:
    """The same pairs with one another's safety labels: what is left is how often each occurs."""
    labels = rng.sample([(record.safe, record.safer) for record in records], len(records))
    return [
        replace(record, safe=safe, safer=safer)
        for record, (safe, safer) in zip(records, labels, strict=True)
    ]


def write_sets(folder: Path, regime: Regime, seed: int) -> dict[str, Path]:
    """Writes ``helpfulness.jsonl``, ``safety.jsonl`` and ``safety-shuffled.jsonl``.

    Args:
        folder: made when it is not there.
        regime: what the sets are like.
        seed: decides all texts and their order.

    Returns:
        the files by their name without the suffix.
    """
    safety = _drawn(safety_record, seed, regime, regime.safety_pairs)
    sets = {
        HELPFULNESS: _drawn(helpfulness_record, seed, regime, regime.helpfulness_pairs),
        SAFETY: safety,
        SHUFFLED: shuffle_labels(random.Random(f"labels {seed}"), safety),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, records in sets.items():
        files[name] = folder / f"{name}.jsonl"
        lines = (json.dumps(write_row(record)) + "\n" for record in records)
        files[name].write_text("".join(lines), encoding="utf-8")
    return files


def located(recipe: Recipe, folder: Path) -> Recipe:
    """A toy recipe with its files, and the models that it looks at, looked for in a folder."""
    data = tuple(
        replace(one, files=tuple(str(folder / file) for file in one.files)) for one in recipe.data
    )
    first = None if recipe.first is None else located(recipe.first, folder)
    relabel = recipe.relabel
    if relabel is not None:
        models = {name: str(folder / place) for name, place in relabel.models.items()}
        relabel = replace(relabel, models=models)
    return replace(recipe, data=data, first=first, relabel=relabel)


def _drawn(
    draw: Callable[[random.Random, Regime], PreferenceRecord],
    seed: int,
    regime: Regime,
    count: int,
) -> list[PreferenceRecord]:
    # A generator of its own, so that sets of two regimes differ where the regimes do.
    rng = random.Random(f"{draw.__name__} {seed}")
    return [draw(rng, regime) for _ in range(count)]


def _record(
    rng: random.Random, request: Request, kinds: list[Kind], source: str
) -> PreferenceRecord:
    """A request with an answer of each kind, and the truth about them."""
    question = ask(rng, request)
    if request.harmful and rng.random() < PRESSED:
        question = press(rng, question)
    first, second = (answer(rng, request, kind) for kind in kinds)
    safe = (not is_harmful(question, first), not is_harmful(question, second))
    more_helpful = int(helpfulness(question, second) > helpfulness(question, first))
    safer = None if safe[0] == safe[1] else int(safe[1])
    return PreferenceRecord(
        (("user", question),), (first, second), more_helpful, safe, safer, source, "generated"
    )
