"""What a tracker is: it holds runs, each with settings, numbers, curves and tables."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

if TYPE_CHECKING:
    from pandas import DataFrame

PROJECT = "bfpo-bench"
"""Where runs go when the user's own settings name no project or experiment."""

STEP = "train/global_step"
"""The update that the points of curves are of, by the name that transformers gives it."""


@dataclass(frozen=True)
class Subject:
    """What a tracker's run is of.

    Attributes:
        kind: the command: ``evaluate``, ``leaderboard`` or ``train``.
        name: what the tracker shows.
        of: what makes it this one, as JSON values: the same again goes on with the same run.
        config: what readers filter runs by, as JSON values. Never a key, a prompt or a response.
    """

    kind: str
    name: str
    of: Any
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name of the run that nobody sees."""
        text = json.dumps([self.kind, self.of], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Table(NamedTuple):
    """Names of columns, and rows of plain values; None where there is none."""

    columns: list[str]
    rows: list[list[Any]]

    @classmethod
    def of(cls, frame: DataFrame) -> Self:
        """What a pandas frame holds, without its index."""
        plain = frame.astype(object)
        return cls([*map(str, frame.columns)], plain.where(frame.notna(), None).values.tolist())


class Tracker(ABC):
    """A run in a tracker, made or found again. Whatever goes wrong with it raises.

    Attributes:
        name: of its package.
        variables: what its package finds in its environment, where the user has set nothing else.
        last_step: the last update that it had points of then; -1 where it had none.
    """

    name: ClassVar[str]
    variables: ClassVar[Mapping[str, str]] = {}
    last_step: int

    @classmethod
    @abstractmethod
    def check(cls) -> None:
        """Raises where it could not be reported to; asks nobody over the network."""

    @abstractmethod
    def __init__(self, subject: Subject) -> None: ...

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """A point of each of some curves."""

    @abstractmethod
    def put(self, numbers: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """What was found in the end, in the place of what was there."""

    @abstractmethod
    def close(self, whole: bool) -> str:
        """Ends the session; whether all was done. Returns where a person finds the run."""
