"""The toy world's own truth about helpfulness in the place of an annotator.

The Alpaca column of the tour: what a method answers to harmless requests against what the
fine-tuned model answers to them, which is the reference. The world knows which answer is more
helpful, so nobody is asked, and no server is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bfpo_bench.helpfulness.annotation import TIE, Annotation
from bfpo_bench.helpfulness.instructions import TASK
from bfpo_bench.run.store import AnnotationRecord, answer_key
from bfpo_bench.toy_world.ground_truth import helpfulness

if TYPE_CHECKING:
    from bfpo_bench.run.results import Results

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
        found.append(Annotation(prompt, "toy", one, names[0], two, names[1], ANNOTATOR, preference))
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
