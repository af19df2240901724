"""Part of a task: some of its items, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TypeVar

from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.tasks.requests import Task

T = TypeVar("T")


def part_of(task: Task, positions: Sequence[int]) -> Task:
    """A task with some of its items alone.

    Args:
        positions: of the items, ascending.
    """
    if len(positions) == task.size:
        return task
    places = {position: number for number, position in enumerate(task.positions)}
    numbers = [places[position] for position in positions]
    found = replace(
        task,
        positions=list(positions),
        prompts=_picked(task.prompts, numbers),
        questions=_picked(task.questions, numbers),
    )
    if not task.scores:
        return found
    ends = list(accumulate(task.choices, initial=0))
    return replace(
        found,
        scores=[one for n in numbers for one in task.scores[ends[n] : ends[n + 1]]],
        choices=[task.choices[n] for n in numbers],
    )


def _picked(everything: Sequence[T], numbers: Sequence[int]) -> Sequence[T]:
    """Some entries of a sequence, made as they are read like those of the whole."""

    def pick(window: range) -> list[T]:
        return [everything[number] for number in numbers[window.start : window.stop]]

    return LazySequence(len(numbers), pick) if everything else ()
