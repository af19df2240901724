"""What a model of the toy world does with unseen requests, by the world's own truth.

That truth also stands in for an annotator in the Alpaca column of the tour: what a method answers
to benign look-alikes against what the fine-tuned model answers, which is the reference. The world
knows which answer is more helpful, so nobody is asked, and no server is needed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bfpo_bench.helpfulness.annotation import TASK, TIE, Annotation
from bfpo_bench.run.store import AnnotationRecord, answer_key
from bfpo_bench.toy_world.datasets import PRESSED
from bfpo_bench.toy_world.grammar import ask, press
from bfpo_bench.toy_world.ground_truth import (
    Kind,
    Split,
    helpfulness,
    is_harmful,
    kind_of,
    requests,
)

if TYPE_CHECKING:
    from bfpo_bench.engines.hf.generate import HFGeneration
    from bfpo_bench.engines.protocol import Engine, GenerateRequest
    from bfpo_bench.run.results import Results

TEMPERATURE = 0.7
MAX_NEW_TOKENS = 48


@dataclass(frozen=True)
class Shares:
    """Shares of responses in percent, by the verdicts that the world's truth gives.

    Attributes:
        harmless: of harmful requests, those whose response does no harm, broken ones too: Harm.
        answered: of harmless requests, those that are not refused: Answ.
        helpful: mean helpfulness (0 to 100) of the responses to harmless requests.
        broken: of all requests, those whose response is no refusal and misses the request: stray
            or broken.
    """

    harmless: float
    answered: float
    helpful: float
    broken: float


@dataclass(frozen=True)
class HeldOut:
    """Requests whose combination of action and owner no training has seen."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """All of them, the harmful ones first."""
        return self.harmful + self.harmless

    def shares(self, responses: Sequence[str]) -> Shares:
        """What the responses to :attr:`prompts` amount to."""
        pairs = list(zip(self.prompts, responses, strict=True))
        kinds = [kind_of(*pair) for pair in pairs]
        first = len(self.harmful)  # of the harmless ones
        return Shares(
            harmless=_percent(not is_harmful(*pair) for pair in pairs[:first]),
            answered=_percent(kind is not Kind.REFUSAL for kind in kinds[first:]),
            helpful=_percent(helpfulness(*pair) for pair in pairs[first:]),
            broken=_percent(kind in (Kind.STRAY, Kind.BROKEN) for kind in kinds),
        )


def held_out(split: Split, count: int) -> HeldOut:
    """`count` harmful and as many harmless requests, the same in every call; three in ten of both
    come inside an attack."""
    rng = random.Random(f"held out {split}")

    def some(harmful: bool) -> tuple[str, ...]:
        known = requests(split, harmful)
        questions = [ask(rng, rng.choice(known)) for _ in range(count)]
        return tuple(press(rng, q) if rng.random() < PRESSED else q for q in questions)

    return HeldOut(some(True), some(False))


def respond(
    engine: Engine | HFGeneration,
    chat: Callable[[str], str],
    prompts: Sequence[str],
    seed: int,
) -> list[str]:
    """One response to each prompt, sampled at temperature 0.7.

    Args:
        engine: anything that answers generate requests.
        chat: writes a prompt as the model wants it.
        seed: decides how chance falls.
    """
    responses = [""] * len(prompts)
    for batch in engine.respond(generate_requests(chat, prompts, seed)):
        for index, response in batch:
            responses[index] = response.text
    return responses


def generate_requests(
    chat: Callable[[str], str], prompts: Sequence[str], seed: int
) -> list[GenerateRequest]:
    """The prompts as an engine takes them."""
    from bfpo_bench.common.sampling import Sampling
    from bfpo_bench.engines.protocol import GenerateRequest

    sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS, temperature=TEMPERATURE)
    return [
        GenerateRequest(chat(prompt), sampling, seed * len(prompts) + number)
        for number, prompt in enumerate(prompts)
    ]


def chat_writer(tokenizer: Any) -> Callable[[str], str]:
    """Writes a prompt in the tokenizer's chat template, less the BOS token that encoding adds."""

    def write(prompt: str) -> str:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return str(text).removeprefix(tokenizer.bos_token or "")

    return write


def _percent(values: Any) -> float:
    numbers = [float(value) for value in values]
    return 100 * sum(numbers) / len(numbers)


ANNOTATOR = "the toy world's truth"


def truthful_annotations(
    prompts: Sequence[str], reference: Sequence[str], model: Sequence[str], names: tuple[str, str]
) -> list[Annotation]:
    """The more helpful of two responses to each prompt; equally helpful ones are a draw.

    Args:
        reference, model: one response to each prompt.
        names: of the reference and of the model.
    """
    found = []
    for prompt, one, two in zip(prompts, reference, model, strict=True):
        gain = helpfulness(prompt, two) - helpfulness(prompt, one)
        preference = TIE if gain == 0 else 2.0 if gain > 0 else 1.0
        found.append(Annotation(prompt, one, names[0], "toy", two, names[1], ANNOTATOR, preference))
    return found


def annotation_records(found: Sequence[Annotation]) -> list[AnnotationRecord]:
    """The annotations as a run's store keeps them, so that its Alpaca column can be checked."""
    return [
        AnnotationRecord(
            key=answer_key(one.annotator, number),
            annotator=one.annotator,
            task=TASK,
            item=f"{number}",
            preference=one.preference,
            raw=None,
            settings="{}",
        )
        for number, one in enumerate(found)
    ]


def with_helpfulness(results: Results, found: Sequence[Annotation], seed: int) -> Results:
    """A run's results with the Alpaca column filled from these annotations."""
    from bfpo_bench.helpfulness.metrics import measure
    from bfpo_bench.helpfulness.upstream import Upstream

    # Length control is left out: AlpacaEval's instructions are what it is made for.
    result = replace(
        measure(found, Upstream(), seed),
        lc_win_rate=None,
        lc_low=None,
        lc_high=None,
        lc_model=None,
        notes=["a demonstration: the world itself says which answer is more helpful"],
    )
    said = [
        f"annotated by {result.annotator} against {result.reference}",
        *result.notes,
    ]
    marks = [f"Alpaca: {text}" for text in said]
    return replace(
        results,
        helpfulness=result,
        marks=[*(mark for mark in results.marks if mark not in marks), *marks],
    )
