"""Requests as batches that any copy of a model may compute, in this process or in another.

What is computed together decides how it rounds. So batches are planned from all requests of an
order and from nothing else but the limits of memory, which copies of a model agree on; and whoever
computes a batch, and however often, computes the same one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from bfpo_bench.engines.protocol import (
    Answered,
    Engine,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
)
from bfpo_bench.engines.tokenization import Whole

Answer = TypeVar("Answer")
Other = TypeVar("Other")

WINDOW = 2048
"""Consecutive prompts whose batches are planned together: enough to find rows of like lengths, few
enough to stay flat in memory. Fixed, so that a resumed run plans the same batches."""


@dataclass(frozen=True)
class Order:
    """What a model is asked: the arguments of its ``plan_`` method of that name.

    Attributes:
        first: number of its first request among all that belong together.
        count: of its requests.
    """

    what: str
    arguments: tuple[Any, ...]
    count: int
    first: int = 0

    def known(self, answered: Set[int]) -> set[int]:
        """Its own requests among those that are answered, counted from 0."""
        return {number for number in range(self.count) if self.first + number in answered}


@dataclass(frozen=True)
class Plan(Generic[Answer]):
    """An order cut into batches.

    Attributes:
        batches: the requests of each; or their parts, see `owners`.
        compute: takes numbers of batches and what is known already, and yields numbered answers to
            the rest of these batches as they come.
        owners: the request that each part belongs to, where some are computed in several parts.
        together: requests that are better computed at one go than batch by batch.
    """

    batches: Sequence[Sequence[int]]
    compute: Callable[[Sequence[int], Set[int]], Iterator[list[tuple[int, Answer]]]]
    owners: Sequence[int] | None = None
    together: int = 1

    def each(self, change: Callable[[int, Answer], Other]) -> Plan[Other]:
        """The same plan of what `change` makes of each part's number and answer."""

        def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, Other]]]:
            for batch in self.compute(numbers, known):
                yield [(part, change(part, answer)) for part, answer in batch]

        return Plan(self.batches, compute, self.owners, self.together)

    def run(self, answered: Answered = ()) -> Iterator[list[tuple[int, Answer]]]:
        """Computes here what is not answered."""
        outline = Outline(self.batches, self.owners, self.together)
        known = outline.known(answered)
        whole = Whole(self.owners)
        for batch in self.compute(outline.pending(known), known):
            yield whole.add(batch)


@dataclass(frozen=True)
class Outline:
    """A plan as others see it."""

    batches: Sequence[Sequence[int]]
    owners: Sequence[int] | None
    together: int

    def known(self, answered: Answered) -> set[int]:
        """The parts whose requests are answered."""
        done = set(answered)
        if self.owners is None:
            return done
        return {part for part, owner in enumerate(self.owners) if owner in done}

    def pending(self, known: set[int]) -> list[int]:
        """Numbers of the batches that hold at least one part that is not known."""
        return [n for n, batch in enumerate(self.batches) if not known.issuperset(batch)]


class Planner(Protocol):
    """A model that can be copied: it has a method ``plan_X`` for each order of X.

    Attributes:
        limits: what its plans depend on besides an order: numbers found from the memory at hand,
            of which copies agree on the least.
    """

    limits: tuple[int, ...]


def plan(model: Any, order: Order) -> Plan[Any]:
    """A model's plan of an order."""
    found: Plan[Any] = getattr(model, f"plan_{order.what}")(*order.arguments)
    return found


Answers = Callable[[Iterable[Order], Answered], Iterator[list[tuple[int, Any]]]]
"""Takes orders, whose requests are counted through, and the numbers of those that are answered;
yields numbered answers to the rest as they come."""


class PlannedEngine(Engine):
    """An engine whose orders are computed in batches that are planned.

    Attributes:
        window: consecutive prompts that make one order of responses.
    """

    window = WINDOW

    @abstractmethod
    def answers(
        self, orders: Iterable[Order], answered: Answered
    ) -> Iterator[list[tuple[int, Any]]]:
        """Numbered answers to orders, whose requests are counted through."""

    def score(
        self, requests: Sequence[ScoreRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        yield from self.answers([Order("scores", (requests,), len(requests))], answered)

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        answered: Answered = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        asked = (prompts, token_ids, add_special_tokens)
        yield from self.answers([Order("labels", asked, len(prompts))], answered)

    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """See :class:`bfpo_bench.engines.Engine`."""
        yield from self.answers(windows(requests, answered, self.window), answered)


def windows(
    requests: Sequence[GenerateRequest], answered: Answered, size: int = WINDOW
) -> Iterator[Order]:
    """Orders of responses, made when it is their turn; those that are answered whole are none."""
    known = set(answered)
    for first in range(0, len(requests), size):
        some = range(len(requests))[first : first + size]
        if not known.issuperset(some):
            window = requests if len(some) == len(requests) else requests[first : some.stop]
            yield Order("responses", (window,), len(some), first)


def answers_here(
    model: Any, orders: Iterable[Order], answered: Answered
) -> Iterator[list[tuple[int, Any]]]:
    """Numbered answers to orders, computed by one model in this process.

    Raises:
        NonFiniteLogits: names the request.
    """
    everything = set(answered)
    for order in orders:
        known = order.known(everything)
        if len(known) == order.count:
            continue
        try:
            for batch in plan(model, order).run(known):
                yield [(order.first + number, answer) for number, answer in batch]
        except NonFiniteLogits as error:
            raise NonFiniteLogits(order.first + error.index) from error
