"""What is left of an order, and what is leased of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bfpo_bench.engines.plan import Order, Outline
from bfpo_bench.engines.tokenization import Whole


@dataclass(eq=False)
class Work:
    """An order on its way through the copies."""

    number: int
    order: Order
    known: set[int]
    reference: Any
    outline: Outline | None = None
    whole: Whole = field(default_factory=lambda: Whole(None))
    queue: deque[int] = field(default_factory=deque)

    def lay_out(self, outline: Outline) -> None:
        """Takes the first copy's word for how it is cut into batches."""
        if self.outline is None:
            self.outline = outline
            self.known = outline.known(self.known)
            self.whole = Whole(outline.owners)
            self.queue.extend(outline.pending(self.known))

    @property
    def leased(self) -> bool:
        """Whether all of it has been given to copies."""
        return self.outline is not None and not self.queue

    def lease(self, share: int) -> dict[int, Sequence[int]]:
        """The next batches: one, or as many as are better computed together.

        Args:
            share: requests at most, beyond the first batch.
        """
        assert self.outline is not None
        most = min(share, self.outline.together)
        taken: dict[int, Sequence[int]] = {}
        count = 0
        while self.queue and (not taken or count < most):
            number = self.queue.popleft()
            taken[number] = self.outline.batches[number]
            count += len(taken[number])
        return taken

    def give_back(self, batches: Iterable[int]) -> None:
        """What was leased to a copy that is lost comes first again."""
        assert self.outline is not None
        left = [n for n in batches if not self.known.issuperset(self.outline.batches[n])]
        self.queue.extendleft(reversed(left))
