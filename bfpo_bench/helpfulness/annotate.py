"""The stage that fills the Alpaca column: each response is compared with the reference's output.

What is stored is not asked again; an answer is stored as soon as it is there. Which of the two is
shown first is drawn for each instruction by alpaca_eval's own rule. Equal outputs are a draw, and
nobody is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bfpo_bench.common.progress import Progress
from bfpo_bench.helpfulness.annotation import TASK, TIE, Annotation, Instruction, of_row
from bfpo_bench.helpfulness.annotator import ChosenAnnotator
from bfpo_bench.helpfulness.annotator_config import is_swapped
from bfpo_bench.helpfulness.answers import Answer
from bfpo_bench.helpfulness.cost import Budget, Prices, Tokens, guessed_tokens
from bfpo_bench.run.store import (
    AnnotationRecord,
    ResponseRecord,
    Store,
    answer_key,
    known,
    source_row,
)


@dataclass(frozen=True)
class Pair:
    """An instruction with the reference's output and the model's, ready to be asked about.

    Attributes:
        swapped: whether the model's output is shown first.
        key: of the annotation.
    """

    instruction: Instruction
    response: ResponseRecord
    swapped: bool
    key: str

    @property
    def is_tie(self) -> bool:
        """Whether both outputs are the same."""
        return self.instruction.reference_output == self.response.response

    def shown(self) -> tuple[str, str, str]:
        """Instruction, first and second output, in the order in which they are shown."""
        first, second = self.instruction.reference_output, self.response.response
        if self.swapped:
            first, second = second, first
        return self.instruction.instruction, first, second


def make_pairs(chosen: ChosenAnnotator, store: Store, seed: int) -> list[Pair]:
    """The pairs of a run, in the order of the instructions; all responses are there."""
    annotator_key = answer_key("annotator", chosen.identity)
    responses = {response.item: response for response in store.responses(TASK)}
    pairs = []
    for item in store.iter_items(TASK):
        response = responses.get(item.item)
        if response is None:
            continue
        one = of_row(item.item, source_row(item))
        swapped = chosen.config.randomised and is_swapped(one.instruction, seed)
        key = answer_key(
            *("annotation", annotator_key, response.key, swapped),
            *(one.instruction, one.reference_output, response.response),
        )
        pairs.append(Pair(one, response, swapped, key))
    return pairs


def annotate(
    pairs: Sequence[Pair],
    chosen: ChosenAnnotator,
    prices: Prices,
    store: Store,
    progress: Progress,
) -> None:
    """Has the pairs annotated that are not annotated yet.

    Args:
        prices: what it may cost.

    Raises:
        BadInput: the endpoint refuses, or all of it would cost more than it may.
        RunFailed: the endpoint fails, or the limit is reached on the way; answers given before
            are kept.
    """
    name = stored_name(chosen, store)

    def write(answers: Iterable[tuple[Pair, Answer]]) -> None:
        store.add_annotations(_record(chosen, name, *one) for one in answers)

    def shown(number: int) -> dict[str, str]:
        return {"settings": _settings(chosen, pairs[number].swapped)}

    keys = (((pair.instruction.item,), pair.key) for pair in pairs)
    stored = known(store, "annotations", keys, shown, annotator=name, task=TASK)
    write(
        (pair, Answer(TIE, None))
        for number, pair in enumerate(pairs)
        if pair.is_tie and number not in stored
    )
    # Those with an answer too: an engine makes its batches of all of them.
    asked = [number for number, pair in enumerate(pairs) if not pair.is_tie]
    done = {place for place, number in enumerate(asked) if number in stored}
    count = len(asked) - len(done)
    if not count:
        return
    questions = [chosen.config.messages(*pairs[number].shown()) for number in asked]
    budget, total = Budget(prices), Tokens()
    for place, question in enumerate(questions):
        if place not in done:
            total += guessed_tokens(question, chosen.config.max_tokens)
    budget.require(total, count)
    progress.say(f"Annotating {count} pairs: about {total.read:,} tokens to read.")
    with (
        chosen.opened(budget, progress) as annotator,
        progress.stage("annotate", len(pairs), len(pairs) - count, "pairs"),
    ):
        unusable = 0
        for batch in annotator.answers(questions, done):
            new = [(pairs[asked[place]], answer) for place, answer in batch if place not in done]
            write(new)
            unusable += sum(answer.preference is None for _, answer in new)
            notes = (budget.spent_text(), f"{unusable} unusable" if unusable else "")
            progress.advance(len(new), ", ".join(filter(None, notes)))


def stored_name(chosen: ChosenAnnotator, store: Store) -> str:
    """The name under which an annotator's answers are stored: its own.

    Where that name belongs to annotations asked for in another way (another prompt, other weights),
    the beginning of its identity's hash is put behind it.
    """
    query = "SELECT DISTINCT settings FROM annotations WHERE annotator = ?"
    ways = {settings for (settings,) in store.select(query, chosen.name)}
    if ways <= {_settings(chosen, swapped) for swapped in (False, True)}:
        return chosen.name
    return f"{chosen.name}-{answer_key('annotator', chosen.identity)[:8]}"


def _settings(chosen: ChosenAnnotator, swapped: bool) -> str:
    return json.dumps({**chosen.identity, "swapped": swapped}, sort_keys=True)


def _record(chosen: ChosenAnnotator, name: str, pair: Pair, answer: Answer) -> AnnotationRecord:
    preference = answer.preference
    if preference is not None and pair.swapped:
        preference = 3 - preference
    return AnnotationRecord(
        key=pair.key,
        annotator=name,
        task=TASK,
        item=pair.instruction.item,
        preference=preference,
        raw=None if answer.raw is None else json.dumps(answer.raw, sort_keys=True),
        settings=_settings(chosen, pair.swapped),
    )


def annotations_of(
    pairs: Sequence[Pair], chosen: ChosenAnnotator, store: Store, model: str
) -> list[Annotation]:
    """The annotations of a run's pairs, in AlpacaEval's convention.

    Args:
        model: name of the model under evaluation.
    """
    stored = store.annotations()
    found = []
    for pair in pairs:
        record, output = stored[pair.key], pair.response.response
        answer = (record.preference, record.raw)
        found.append(pair.instruction.annotated(output, model, chosen.name, *answer))
    return found
