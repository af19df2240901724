"""An average over tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.validate import WHOLE


@dataclass(frozen=True)
class Average:
    """An average in percent; None while one of its parts is missing.

    Attributes:
        missing: titles of the tasks that are not there or have no number.
        low, high: 95 % interval; None in older files.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    value: float | None
    stderr: float | None
    missing: list[str] = field(default_factory=list)
    low: float | None = None
    high: float | None = None

    @property
    def absent(self) -> bool:
        """Whether nothing is missing of it, because the suite has nothing that enters it."""
        return self.value is None and not self.missing

    def __str__(self) -> str:
        if self.value is None:
            return f"– ({len(self.missing)} missing)"
        return f"{self.value:.2f}" + (f" ± {self.stderr:.2f}" if self.stderr is not None else "")
