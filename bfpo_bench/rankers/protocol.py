"""What goes into a ranker and what comes out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.options import Help, Options
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.options import Loading
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.number_format import NumberFormat, choose_format


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
        """One ranking per comparison, in order; each depends on its comparison alone."""
        ...


@runtime_checkable
class BatchRanker(Ranker, Protocol):
    """A ranker that is computed here, batch after batch, each of which may take a while."""

    def in_batches(
        self, items: Sequence[Comparison], known: Container[int]
    ) -> Iterator[list[tuple[int, Ranking]]]:
        """Rankings on `items` by their numbers, each batch as soon as it is there.

        Batches are planned from all items; those whose answers are all `known` are left out.
        """
        ...


@runtime_checkable
class ServedRanker(Protocol):
    """A ranker behind a server, where every answer is asked for by itself and may cost money."""

    def stream(
        self, items: Iterable[tuple[int, Comparison]]
    ) -> Iterator[list[tuple[int, Ranking]]]:
        """Rankings of numbered comparisons as they come; `items` is read as needed."""
        ...


RankerName = Annotated[
    str,
    Help(
        "Which response is more helpful: pairrm, pairrm:PATH, reward:PATH, openai:MODEL or "
        "package.module:function."
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
        return choose_format(files, self.loading.dtype, self.loading.device)


class ChosenRanker(Protocol):
    """A ranker that was found, its weights not loaded and its server not contacted."""

    @property
    def name(self) -> str:
        """How the user called it."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that its rankings depend on, as plain JSON values. Never holds a key."""
        ...

    def opened(self, progress: Progress) -> AbstractContextManager[Ranker | ServedRanker]:
        """The ranker, its model loaded while the body runs."""
        ...
