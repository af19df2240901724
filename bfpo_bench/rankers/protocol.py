"""What goes into a ranker and what comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.batches import Served, answer_missing
from bfpo_bench.common.options import Help, Options
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.open import answering
from bfpo_bench.engines.options import Loading
from bfpo_bench.engines.plan import Answers
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.number_format import NumberFormat, choose_format

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Comparison:
    """A prompt and two responses to it: untrusted text, all three."""

    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Ranking:
    """What a ranker says about two responses.

    Attributes:
        preference: above 0 when the first is more helpful, below 0 when the second is, 0 for a
            tie, None when there was no usable answer. Its size is in the ranker's own units.
        raw: what it rests on, in one short line. Never holds text of a response.
    """

    preference: float | None
    raw: str


class Ranker(Protocol):
    """Anything that says which of two responses is more helpful."""

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        """One ranking per comparison, in order; each depends on its comparison alone.

        A ranker may also be :class:`~bfpo_bench.common.batches.Batched`.
        """
        ...


AnyRanker = Ranker | Served[Comparison, Ranking]


def rank_all(
    ranker: AnyRanker, items: Iterable[Comparison], known: Container[int], chunk: int
) -> Iterator[list[tuple[int, Ranking]]]:
    """The rankings that are missing, each batch as soon as it is there.

    Args:
        items: read as they are needed.
        known: numbers (from 0) of those whose rankings are stored.
        chunk: comparisons that batches are planned for.

    Returns:
        batches of (number, ranking).
    """
    return answer_missing(ranker, getattr(ranker, "rank", None), items, known, chunk)


def of_both(
    count: int,
    known: Container[int],
    batches: Callable[[set[int]], Iterable[list[tuple[int, Answer]]]],
) -> Iterator[list[tuple[int, tuple[Answer, Answer]]]]:
    """What is known of both sides of comparisons, batch by batch.

    Args:
        count: of the comparisons.
        known: numbers of those that are ranked.
        batches: takes the places that are not needed and hands out answers by place: of a
            comparison's first side at its number, of its second `count` places further.
    """
    rows: dict[int, Answer] = {}
    for batch in batches({place for place in range(2 * count) if place % count in known}):
        rows.update(batch)
        ended = dict.fromkeys(place % count for place, _ in batch)
        both = [number for number in ended if number in rows and number + count in rows]
        if both:
            yield [(number, (rows.pop(number), rows.pop(number + count))) for number in both]


RankerName = Annotated[
    str,
    Help(
        "Which response is more helpful: pairrm, pairrm:PATH, reward:PATH, openai:MODEL, "
        "package.module:function, or length (the longer one, to try things out)."
    ),
]
RankerUrl = Annotated[
    str | None, Help("Server of an openai: ranker, up to /v1. [default: OpenAI's]")
]
RankerKeyEnv = Annotated[str, Help("Environment variable with the key of the ranker's server.")]


@checked(frozen=True, kw_only=True, config=STRICT)
class RankerOptions(Options):
    """What a user can ask of a ranker."""

    ranker: RankerName
    ranker_url: RankerUrl = None
    ranker_key_env: RankerKeyEnv = "OPENAI_API_KEY"
    loading: Loading = Loading()

    def dtype_of(self, files: ModelFiles) -> str:
        """Number format in which a ranker's weights are loaded: what was asked for, else theirs."""
        dtype = self.format_of(files).dtype
        return "float32" if dtype == "auto" else dtype

    def format_of(self, files: ModelFiles) -> NumberFormat:
        """The same with what is to be said of it; rankers are no engine's, vLLM's neither."""
        loading = self.loading
        return choose_format(files, loading.dtype, loading.device, loading.data_parallel_size)


class ChosenRanker(Protocol):
    """A ranker that was found, its weights not loaded and its server not contacted."""

    @property
    def name(self) -> str:
        """How the user called it."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that its rankings depend on, as plain JSON values. Never holds a key."""
        ...

    def opened(self, progress: Progress) -> AbstractContextManager[AnyRanker]:
        """The ranker, its model loaded while the body runs."""
        ...


@dataclass(frozen=True)
class ChosenModel(ABC):
    """A ranker that is a checkpoint, which was found; see :class:`ChosenRanker`."""

    name: str
    options: RankerOptions
    files: ModelFiles

    @property
    def dtype(self) -> str:
        """Number format of the weights."""
        return self.options.dtype_of(self.files)

    @abstractmethod
    def load(self, options: EngineOptions) -> Any:
        """Its weights, in the process that ranks; see :class:`~bfpo_bench.engines.plan.Planner`."""

    @abstractmethod
    def ranker(self, answers: Answers) -> Ranker:
        """The ranker on what its loaded model, or copies of it, answer."""

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[Ranker]:
        """See :class:`ChosenRanker`."""
        if note := self.options.format_of(self.files).note:
            progress.say(f"Ranker {self.name}: {note}.")
        place = self.options.loading.place(self.files)
        with ExitStack() as stack:
            with progress.stage(f"loading ranker {self.name}"):
                answers = stack.enter_context(answering(self.load, place))
            yield self.ranker(answers)
