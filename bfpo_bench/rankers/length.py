"""The longer response wins: ``length``, a ranker to try red teaming with that needs no model.

Length is counted in characters, white space around a response left out. It is no measure of
helpfulness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers.function import FunctionRanker


class LengthRanker(FunctionRanker):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("length", _longer)

    def identity(self) -> dict[str, Any]:
        """See :class:`~bfpo_bench.rankers.protocol.ChosenRanker`."""
        return {"ranker": self.name, "kind": "length"}

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[LengthRanker]:
        """See :class:`~bfpo_bench.rankers.protocol.ChosenRanker`; there is nothing to load."""
        progress.say("Ranker length: the longer response wins; good to try the command, no more.")
        yield self


def _longer(prompt: str, first: str, second: str) -> float:
    return len(first.strip()) - len(second.strip())
