"""An annotation: which of two outputs to one instruction an annotator prefers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TIE = 1.5
"""Preference of a draw in AlpacaEval's scale from 1 (the reference wins) to 2 (the model wins)."""


@dataclass(frozen=True)
class Annotation:
    """One instruction, two outputs and the annotator's preference, in AlpacaEval's convention.

    All texts are untrusted. ``output_1`` is the reference's whatever the order in which the
    annotator was shown the two.

    Attributes:
        dataset: AlpacaEval's subset: helpful_base, koala, oasst, selfinstruct or vicuna.
        preference: 1 (the reference wins) to 2 (the model wins), 1.5 a draw; None where the
            annotator gave no usable answer. Fractions are probabilities of a weighted annotator.
        raw: what the annotator answered, plain JSON values; None where that is not known.
    """

    instruction: str
    dataset: str
    output_1: str
    generator_1: str
    output_2: str
    generator_2: str
    annotator: str
    preference: float | None
    raw: Any = None
