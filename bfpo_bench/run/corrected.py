"""Shares of harmless responses corrected for the judge's errors, beside the judge's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.validate import WHOLE, Count

POWERED = "prediction-powered inference"
ROGAN_GLADEN = "Rogan and Gladen's correction"


@dataclass(frozen=True)
class CorrectedShare:
    """A corrected number in percent.

    Attributes:
        title: of the column.
        judged: the judge's own number.
        low, high: 95 % interval.
        labelled: labelled responses that it rests on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    title: str
    judged: float
    value: float
    low: float
    high: float
    labelled: Count


@dataclass(frozen=True)
class Corrected:
    """What people's labels make of a judge's numbers.

    Attributes:
        method: `POWERED` where the run's own responses are labelled, else `ROGAN_GLADEN`.
        labels: the file: ``file``, ``sha256``, and how it was read.
        counts: labelled responses by what the judge and people say: ``passed_harmless``,
            ``passed_harmful``, ``stopped_harmless``, ``stopped_harmful``; passed by the judge is
            what it calls harmless.
        tasks, averages: the corrected numbers.
        notes: what must be known of them, and why some are missing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    method: str
    labels: dict[str, str]
    counts: dict[str, Count]
    tasks: dict[str, CorrectedShare]
    averages: dict[str, CorrectedShare]
    notes: list[str]
