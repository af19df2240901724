"""A ranker of one's own: ``package.module:function``.

The function takes a prompt and two responses, all texts, and returns a number: above 0 when the
first response is more helpful, below 0 when the second is, 0 when neither is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.batches import answer_chunks, at_once
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.imports import import_function, source_digest
from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers.protocol import Comparison, Ranking

Prefer = Callable[[str, str, str], float]


@dataclass(frozen=True)
class FunctionRanker:
    """A user's function, imported."""

    name: str
    function: Prefer

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenRanker`; a change in the function's file makes another ranker."""
        return {"ranker": self.name, "kind": "function", "module": source_digest(self.function)}

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[FunctionRanker]:
        """See :class:`ChosenRanker`; there is nothing to load."""
        yield self

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        """See :class:`Ranker`.

        Raises:
            BadInput: the function fails, or returns something that is no number.
        """
        return [self._one(item) for item in items]

    def in_batches(
        self, items: Sequence[Comparison], known: Container[int]
    ) -> Iterator[list[tuple[int, Ranking]]]:
        """See :class:`~bfpo_bench.common.batches.Batched`: nobody knows how long a call takes."""
        return answer_chunks(at_once(self.rank), items, known, 1)

    def _one(self, item: Comparison) -> Ranking:
        try:
            found = self.function(item.prompt, item.first, item.second)
        except Exception as error:  # whatever somebody's own code can raise
            raise BadInput(
                f"the ranker {self.name} fails on a pair ({type(error).__name__}: {error}); mend "
                "the function."
            ) from error
        try:
            value = float(found)
        except (TypeError, ValueError):
            raise BadInput(
                f"the ranker {self.name} returned a {type(found).__name__}; it should return a "
                "number, above 0 when the first response is more helpful."
            ) from None
        return Ranking(value, f"{value:.6g}")


def choose_function(name: str) -> FunctionRanker:
    """Imports the function.

    Raises:
        BadInput: there is none, or it does not take three texts.
    """
    function = import_function("ranker", name, ["give pairrm, reward:PATH, openai:MODEL or length"])
    try:
        inspect.signature(function).bind("prompt", "first", "second")
    except TypeError:
        raise BadInput(
            f"the ranker {name!r} cannot be called with a prompt and two responses; write it as "
            "def prefer(prompt: str, first: str, second: str) -> float."
        ) from None
    return FunctionRanker(name, function)
