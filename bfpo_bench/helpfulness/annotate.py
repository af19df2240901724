"""The stage that fills the Alpaca column: each response is compared with the reference's output.

What is stored is not asked again; an answer is stored as soon as it is there. Which of the two is
shown first is drawn for each instruction by alpaca_eval's own rule. Equal outputs are a draw, and
nobody is asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bfpo_bench.client import Caller, ask_all
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.helpfulness.annotation import TASK, TIE, Annotation, Instruction, of_row
from bfpo_bench.helpfulness.annotator import ChosenAnnotator
from bfpo_bench.helpfulness.annotator_config import AnnotatorConfig, is_swapped
from bfpo_bench.helpfulness.answers import Answer
from bfpo_bench.helpfulness.cost import Budget, Prices, Tokens, guessed_tokens
from bfpo_bench.helpfulness.local import LocalAnnotator
from bfpo_bench.helpfulness.served import ServedAnnotator
from bfpo_bench.run.store import AnnotationRecord, ResponseRecord, Store, answer_key, known

DECLINED_WAITS = (5.0, 20.0)
"""Seconds before questions that were declined are asked a second and a third time."""


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
        one = of_row(item.item, json.loads(item.row))
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
    asked = (((pair.instruction.item,), pair.key) for pair in pairs)

    def shown(number: int) -> dict[str, str]:
        return {"settings": _settings(chosen, pairs[number].swapped)}

    done = known(store, "annotations", asked, shown, annotator=name, task=TASK)
    missing = [pair for number, pair in enumerate(pairs) if number not in done]
    if not missing:
        return
    writer = _Writer(chosen, name, store)
    writer.write([(pair, Answer(TIE, None)) for pair in missing if pair.is_tie])
    open_pairs = [pair for pair in missing if not pair.is_tie]
    if not open_pairs:
        return
    work = _Work(open_pairs, chosen, Budget(prices))
    work.budget.require(work.total(), len(open_pairs))
    progress.say(f"Annotating {len(open_pairs)} pairs: about {work.total().read:,} tokens to read.")
    with (
        chosen.opened(progress) as annotator,
        progress.stage("annotate", len(pairs), len(pairs) - len(open_pairs), "pairs"),
    ):
        if isinstance(annotator, ServedAnnotator):
            work.run(annotator, writer, progress)
        else:
            _ask_local(annotator, chosen.config, pairs, open_pairs, writer, progress)


def _ask_local(
    annotator: LocalAnnotator,
    config: AnnotatorConfig,
    pairs: Sequence[Pair],
    missing: Sequence[Pair],
    writer: _Writer,
    progress: Progress,
) -> None:
    asked = [pair for pair in pairs if not pair.is_tie]
    wanted = {pair.key for pair in missing}
    done = {n for n, pair in enumerate(asked) if pair.key not in wanted}
    unusable = 0
    for batch in annotator.answers([config.messages(*pair.shown()) for pair in asked], done):
        new = [(asked[n], answer) for n, answer in batch if n not in done]
        writer.write(new)
        unusable += sum(answer.preference is None for _, answer in new)
        progress.advance(len(new), f"{unusable} unusable" if unusable else "")


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


class _Writer:
    """Turns answers into records."""

    def __init__(self, chosen: ChosenAnnotator, name: str, store: Store) -> None:
        self._name = name
        self._chosen = chosen
        self._store = store

    def write(self, answers: Sequence[tuple[Pair, Answer]]) -> None:
        """Stores answers in one transaction."""
        self._store.add_annotations(self._record(pair, answer) for pair, answer in answers)

    def _record(self, pair: Pair, answer: Answer) -> AnnotationRecord:
        preference = answer.preference
        if preference is not None and pair.swapped:
            preference = 3 - preference
        return AnnotationRecord(
            key=pair.key,
            annotator=self._name,
            task=TASK,
            item=pair.instruction.item,
            preference=preference,
            raw=None if answer.raw is None else json.dumps(answer.raw, sort_keys=True),
            settings=_settings(self._chosen, pair.swapped),
        )


class _Work:
    """Pairs that an annotator is asked about, within a budget."""

    def __init__(self, asked: list[Pair], chosen: ChosenAnnotator, budget: Budget) -> None:
        self._asked = asked
        self._config = chosen.config
        self._concurrency = chosen.options.concurrency
        self._guesses = {
            pair.key: guessed_tokens(self._messages(pair), chosen.config.max_tokens)
            for pair in asked
        }
        self._held_back = 0
        self.budget = budget

    def total(self) -> Tokens:
        """Tokens of all questions, and of their answers at most."""
        return sum(self._guesses.values(), Tokens())

    def run(self, annotator: ServedAnnotator, writer: _Writer, progress: Progress) -> None:
        """Asks, in up to three rounds: what was declined is asked again after a while."""

        def ask(caller: Caller, pair: Pair) -> Answer:
            answer = annotator.ask(caller, self._messages(pair))
            # Here, not where answers are handed out: the next question may be too much already.
            self.budget.pay(self._guesses[pair.key], answer.read, answer.written)
            return answer

        waiting = self._asked
        unusable = 0
        for wait in (*DECLINED_WAITS, None):
            declined: list[tuple[Pair, Answer]] = []
            questions = self._affordable(waiting)
            for batch in ask_all(annotator.server, questions, ask, self._concurrency):
                answers = [(waiting[index], answer) for index, answer in batch]
                final = [one for one in answers if not one[1].declined]
                declined += [one for one in answers if one[1].declined]
                writer.write(final)
                unusable += sum(answer.preference is None for _, answer in final)
                progress.advance(len(final), self._note(unusable))
            if self._held_back or wait is None or not declined:
                break
            progress.say(f"{len(declined)} questions were declined; asking again in {wait:.0f} s …")
            time.sleep(wait)
            waiting = [pair for pair, _ in declined]
        if self._held_back:
            prices = self.budget.prices
            raise RunFailed(
                f"--max-cost {prices.max_cost:g} is reached: "
                f"{prices.text(prices.cost(self.budget.spent))} were spent and {self._held_back} "
                "pairs are not annotated yet; what was paid for is kept, so raise the limit and "
                "run the same command again."
            )
        writer.write(declined)
        progress.advance(len(declined), self._note(unusable + len(declined)))

    def _affordable(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Pair]]:
        """The pairs as long as the budget lasts; those under way are waited for, not cut off."""
        for index, pair in enumerate(pairs):
            if not self.budget.promise(self._guesses[pair.key]):
                self._held_back = len(pairs) - index
                return
            yield index, pair

    def _messages(self, pair: Pair) -> list[dict[str, str]]:
        return self._config.messages(*pair.shown())

    def _note(self, unusable: int) -> str:
        paid = self.budget.prices.text(self.budget.prices.cost(self.budget.spent))
        return f"{paid}, {unusable} unusable" if unusable else paid


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
        record = stored[pair.key]
        one = pair.instruction
        found.append(
            Annotation(
                instruction=one.instruction,
                dataset=one.dataset,
                output_1=one.reference_output,
                generator_1=one.reference_model,
                output_2=pair.response.response,
                generator_2=model,
                annotator=chosen.name,
                preference=record.preference,
                raw=None if record.raw is None else json.loads(record.raw),
            )
        )
    return found
