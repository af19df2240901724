"""What a task took in a run with a precision, as ``results.json`` keeps it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import ConfigDict

from bfpo_bench.common.validate import WHOLE, Count


@dataclass(frozen=True)
class Enough:
    """What a task took in a run with a precision, and how sure its number is by that.

    Attributes:
        low, high: 95 % interval of the score that *all* of its items would have, in percent. It
            holds although the run stopped by it; see :mod:`bfpo_bench.common.enough`. None without
            a score.
        sizes: numbers of items at which it could have stopped; none where all were asked anyway.
        requests, characters: that were asked of the model, and their text.
        all_requests, all_characters: of all items.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    sizes: list[Count]
    requests: Count
    characters: Count
    all_requests: Count
    all_characters: Count
    low: float | None = None
    high: float | None = None

    def known(self, score: float | None, n: int, items: int) -> Enough:
        """The same of a score over n of the items."""
        if score is None or n == items:
            return replace(self, low=score, high=score)
        from bfpo_bench.common.enough import interval  # numpy, which a help text does without

        low, high = interval(round(score * n / 100), n, items)
        return replace(self, low=low, high=high)
