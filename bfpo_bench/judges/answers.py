"""An answer of a few lines, each closed by a label, and how likely each label is on each line.

WildGuard says whether the request is harmful, then whether it was refused, and only then whether
the response is harmful; Qwen3Guard says how safe the response is, what is wrong with it, and
whether it refuses. What a model says on the earlier lines is not known beforehand, so a line is
asked for under every way of writing those before it, weighted by how likely that way is. Nothing is
generated, and the result is exact: the probability of each label on a line, whatever stands before
it. Every line of an answer is there for the price of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.validate import STRICT, Text, Texts
from bfpo_bench.judges.labels import NAN, logsumexp

MAX_LINES = 4
MAX_QUESTIONS = 64
"""A card asks so many questions about each response at most."""

Labels = Annotated[Texts, Field(min_length=1)]


@checked(frozen=True, config=STRICT)
class Line:
    """A line of a judge's answer.

    Attributes:
        text: what stands before the label.
        labels: what may stand there; none: the card's two labels.
        gives: the verdict that is read here.
        means: the labels that say harmful, or refused; none: the first one.
        partly: the labels that say refused in part.
        after: a label of the line before → the labels that may follow it here. Where that is one
            alone, nothing is asked.
    """

    text: str
    labels: Texts = ()
    gives: Literal["harm", "refusal"] | None = None
    means: Texts = ()
    partly: Texts = ()
    after: dict[Text, Labels] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        more = {*self.means, *self.partly, *(name for some in self.after.values() for name in some)}
        if self.labels and not more <= set(self.labels):
            odd = sorted(more - set(self.labels))[0]
            raise ValueError(f"{odd!r} is none of the labels of line {self.text!r}.")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"a label stands twice in line {self.text!r}.")

    @property
    def plain(self) -> bool:
        """Whether it has nothing but a text, and perhaps a verdict."""
        return not (self.labels or self.means or self.partly or self.after)


@dataclass(frozen=True)
class _Node:
    """A place at which a label comes: its line, what was said before, and what may come.

    Attributes:
        question: number of the question asked there; None where one label alone may come.
    """

    line: int
    said: tuple[str, ...]
    labels: tuple[str, ...]
    question: int | None


class Answers:
    """All ways of writing an answer.

    Attributes:
        lines: with their labels.
        openings: what the answer says before each label that is asked for, shortest first.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = tuple(lines)
        self.openings: list[str] = []
        self._nodes: list[_Node] = []
        ways: list[tuple[tuple[str, ...], str]] = [((), "")]
        for number, line in enumerate(self.lines):
            longer = []
            for said, text in ways:
                labels = line.after.get(said[-1], line.labels) if said else line.labels
                asked = text + line.text
                question = None
                if len(labels) > 1:
                    question = len(self.openings)
                    self.openings.append(asked)
                self._nodes.append(_Node(number, said, labels, question))
                longer += [((*said, label), f"{asked} {label}\n") for label in labels]
            ways = longer

    @property
    def labels(self) -> list[str]:
        """Every label, once."""
        return list(dict.fromkeys(label for line in self.lines for label in line.labels))

    def on(self, number: int, read: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Natural-log probability of each label on a line, summed over all that may stand before.

        Args:
            number: of the line, from 0.
            read: that of each label after each of the ``openings``.

        Returns:
            NaN for every label when some value is no log-probability.
        """
        labels = self.lines[number].labels
        # Written so that NaN fails too. Rounding may lift the logarithm of a certainty above 0.
        if not all(value <= 0.1 for row in read for value in row.values()):
            return dict.fromkeys(labels, NAN)
        ways: dict[tuple[str, ...], float] = {(): 0.0}
        found: dict[str, list[float]] = {label: [] for label in labels}
        for node in self._nodes:
            if node.line > number:
                break
            row = None if node.question is None else read[node.question]
            for label in node.labels:
                p = ways[node.said] + (0.0 if row is None else row[label])
                ways[(*node.said, label)] = p
                if node.line == number:
                    found[label].append(p)
        return {label: logsumexp(some) if some else NAN for label, some in found.items()}
