"""A copy of a model as it is seen from where the answers are wanted."""

from __future__ import annotations

from typing import Any

from bfpo_bench.engines.copy import Loaded
from bfpo_bench.engines.leases import Work


class Hand:
    """A copy that is asked where it is, loads there, and works.

    Attributes:
        coming: reference to where it is found, or to its having loaded; None once it is at work.
        node: where it is, once that is known.
        process: its number there.
        loaded: what its model says of itself, once that is loaded.
        tasks: what it was asked, in order: its generators, or references to outlines, each with
            the work and the batches.
    """

    coming: Any
    node: str | None
    loaded: Loaded | None

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.process: int | None = None
        self.tasks: dict[Any, tuple[Work, list[int]]] = {}
        self.look()

    def look(self) -> None:
        """Asks where it is, for the first time or after it was lost."""
        self.node = self.loaded = None
        # The one call that Ray may repeat: it is answered when the copy is there.
        self.coming = self.actor.look.options(max_task_retries=-1).remote()
