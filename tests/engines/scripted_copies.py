"""Models without weights, for copies that start in a moment: they double numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.plan import Plan
from bfpo_bench.engines.protocol import NonFiniteLogits

BATCH = 4

SLOW = 10**6
"""A number that takes longer, and may not be done before somebody allows it."""


@dataclass
class Doubler:
    """Takes its time for each number and notes the batches that it computes, one a line.

    Attributes:
        gate: what the folder has to hold before a slow number is doubled, ``open``; who waits for
            that leaves ``reached`` there.
    """

    notes: Path | None = None
    seconds: float = 0.0
    limits: tuple[int, ...] = (BATCH,)
    gate: Path | None = None

    def plan_doubles(self, numbers: Sequence[int]) -> Plan[int]:
        size = self.limits[0]
        batches = [list(range(len(numbers))[at : at + size]) for at in range(0, len(numbers), size)]

        def compute(some: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, int]]]:
            for batch in some:
                for index in batches[batch]:
                    if numbers[index] < 0:
                        raise NonFiniteLogits(index)
                    if numbers[index] >= SLOW:
                        self._pass()
                    time.sleep(self.seconds if numbers[index] < SLOW else 0.3)
                self._note(f"{os.getpid()} {batch}")
                try:
                    yield [(index, 2 * numbers[index]) for index in batches[batch]]
                except GeneratorExit:
                    self._note("kept")
                    raise

        return Plan(batches, compute)

    def _pass(self) -> None:
        if self.gate is not None:
            (self.gate / "reached").touch()
            until = time.monotonic() + 60
            while not (self.gate / "open").exists() and time.monotonic() < until:
                time.sleep(0.02)

    def _note(self, line: str) -> None:
        if self.notes is not None:
            with self.notes.open("a") as file:
                print(line, file=file)


@dataclass
class DiesPlanning(Doubler):
    """The first time that it plans."""

    def plan_doubles(self, numbers: Sequence[int]) -> Plan[int]:
        assert self.notes is not None
        if not self.notes.exists():
            self.notes.touch()
            os._exit(7)
        return super().plan_doubles(numbers)


def dies() -> Doubler:
    os._exit(7)


def is_refused() -> Doubler:
    raise BadInput("there is no such model; give another one.")


def has_no_room() -> Doubler:
    raise MemoryError("no room for the weights")


def of_other_limits(folder: Path) -> Doubler:
    """The first one has more memory than the others."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        return Doubler(limits=(3,))
    return Doubler(limits=(5,))


def dies_the_second_time(folder: Path) -> Doubler:
    """What is started again cannot be loaded any more."""
    if len(list(folder.iterdir())) >= 2:
        raise BadInput("the disk is gone; mount it again.")
    (folder / str(os.getpid())).touch()
    return Doubler(seconds=0.05)
