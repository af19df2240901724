"""One copy of a model: what runs on a node, as an actor of Ray."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.versions import versions_of
from bfpo_bench.engines.plan import Order, Outline, Plan, plan

RECALL_SECONDS = 0.5
"""How often a copy looks whether what it computes is still wanted."""

_DECIDE = ("bfpo-bench", "torch", "transformers", "vllm")
"""Packages whose versions decide how answers round."""


def versions() -> dict[str, str]:
    """What must be the same wherever a copy runs."""
    return {"Python": platform.python_version(), **versions_of(_DECIDE)}


@dataclass(frozen=True)
class Place:
    """Where a copy is.

    Attributes:
        node: name of the machine.
        process: number of the process there.
        missing: folders of the model that it does not see.
    """

    node: str
    process: int
    versions: dict[str, str]
    missing: list[str]

    def check(self) -> None:
        """Whether a copy may load there.

        Raises:
            BadInput: it would not find the model, or not compute as this process does.
        """
        if self.missing:
            raise BadInput(
                f"node {self.node} does not see {self.missing[0]}; put the model on a disk that "
                "all nodes see, under the same path."
            )
        here = versions()
        for name in here | self.versions:
            if here.get(name) != self.versions.get(name):
                raise BadInput(
                    f"node {self.node} has {name} {self.versions.get(name)}, this machine "
                    f"{here.get(name)}; install the same on all nodes."
                )


@dataclass(frozen=True)
class Loaded:
    """What a model says of itself.

    Attributes:
        limits: see :class:`bfpo_bench.engines.plan.Planner`.
        max_length: context window in tokens; None where it has none.
        said: warnings.
    """

    limits: tuple[int, ...]
    max_length: int | None
    said: list[str]


class Copy:
    """Loads a model and computes batches of its plans.

    Args:
        load: makes the model.
        folders: that it reads.
        threads: for one that computes on a CPU.
        recalled: tells the number of the last order whose answers are not wanted any more.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        folders: Sequence[str],
        threads: int,
        recalled: Callable[[], int],
    ) -> None:
        self._load, self._folders, self._threads = load, folders, threads
        self._recalled, self._last_recalled, self._looked = recalled, 0, 0.0
        self._model: Any = None
        self._plans: dict[int, Plan[Any]] = {}
        self._said = _Said()

    def look(self) -> Place:
        """Where this is; answered as soon as there is room for it."""
        missing = [folder for folder in self._folders if not Path(folder).exists()]
        return Place(platform.node(), os.getpid(), versions(), missing)

    def load(self, limits: tuple[int, ...] | None = None) -> Loaded:
        """Loads the model, if that has not been done.

        Args:
            limits: agreed with other copies.

        Raises:
            Exception: it cannot be loaded.
        """
        if self._model is None:
            self._model = self._load()
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(min(self._threads, os.cpu_count() or 1))
        if limits is not None:
            self._model.limits = limits
        length = getattr(self._model, "max_length", None)
        return Loaded(self._model.limits, length, self._said.taken())

    def outline(self, number: int, order: Sequence[Any]) -> Outline:
        """How an order is cut into batches.

        Args:
            number: of the order.
            order: a list of the one reference to it.
        """
        found = self._plan(number, order)
        return Outline(found.batches, found.owners, found.together)

    def compute(
        self,
        number: int,
        order: Sequence[Any],
        batches: Mapping[int, Sequence[int]],
        known: Set[int],
    ) -> Iterator[tuple[list[tuple[int, Any]], list[str]]]:
        """Yields numbered answers, and warnings, until all are there or the order is recalled.

        What is under way then is kept by the model.

        Args:
            number, order: as for :meth:`outline`.
            batches: members of the batches that are wanted, by their numbers.
            known: members whose answers are not needed.
        """
        found = self._plan(number, order)
        if any(found.batches[n] != members for n, members in batches.items()):
            raise RunFailed(
                f"the copy on node {platform.node()} plans other batches than the others do; are "
                "model and packages the same everywhere?"
            )
        if self._is_recalled(number):
            return
        answers: Any = found.compute(list(batches), known)
        with closing(answers):
            for some in answers:
                if some:
                    yield some, self._said.taken()
                if self._is_recalled(number):
                    return

    def _is_recalled(self, number: int) -> bool:
        if time.monotonic() - self._looked > RECALL_SECONDS:
            self._last_recalled, self._looked = self._recalled(), time.monotonic()
        return number <= self._last_recalled

    def _plan(self, number: int, order: Sequence[Any]) -> Plan[Any]:
        if number not in self._plans:
            import ray

            asked: Order = ray.get(order[0])
            # Another copy may still be at the order before.
            self._plans = {n: one for n, one in self._plans.items() if n == number - 1}
            self._plans[number] = plan(self._model, asked)
        return self._plans[number]

    def close(self) -> None:
        """Frees what the model holds outside of this process."""
        if hasattr(self._model, "close"):
            self._model.close()


class _Said(logging.Handler):
    """Warnings of this package, on their way to where somebody reads them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []
        logging.getLogger("bfpo_bench").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines
