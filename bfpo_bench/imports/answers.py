"""What a file of another tool says: whose answers they are, to what, and how they came about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One choice of a scored item, as :class:`bfpo_bench.run.store.ScoreRecord` has it."""

    context: str
    continuation: str
    loglikelihood: float
    is_greedy: bool


@dataclass(frozen=True)
class Answer:
    """A model's answer to one item.

    Attributes:
        where: place of it in the file, for messages.
        question: what a judge is shown.
        response: what the model wrote; None of a scored item, and where the file holds none.
        prompt: what the model was given, where the file says that too.
        item: id of the item and `row`, the source's fields, where it is of one of our tasks.
        metrics: of a scored item: the value of each.
    """

    where: str
    question: str
    response: str | None
    prompt: str | None = None
    thought: str | None = None
    finish: str = "unknown"
    prompt_tokens: int = 0
    tokens: int = 0
    item: str | None = None
    position: int | None = None
    row: Mapping[str, Any] | None = None
    choices: tuple[Choice, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether the file holds an answer: a model may have met an error, or a limit, before."""
        return self.response is not None or bool(self.choices)


@dataclass(frozen=True)
class Log:
    """The answers in a file.

    Attributes:
        tool: who has asked, in a few words: ``lm-eval``.
        task: what the file calls the task.
        model: None where the file does not say.
        answers: reads them one by one, again each time it is called.
        sampling: settings of the generation, by our names, as far as they are known.
        notes: what must be known of these answers.
    """

    path: Path
    tool: str
    task: str
    model: str | None
    answers: Callable[[], Iterator[Answer]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def settings_of(said: Any, names: Mapping[str, str]) -> dict[str, float]:
    """The settings that a file says in numbers, by our names.

    Args:
        said: keys and values of a generation's configuration; anything else says nothing.
        names: ours by theirs.
    """
    found = (
        {ours: said.get(theirs) for theirs, ours in names.items()} if isinstance(said, dict) else {}
    )
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
