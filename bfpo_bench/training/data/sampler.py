"""Which pairs go into which update (Algorithm 1 of the paper, and its ablation without buffer).

A set is drawn from in rounds: each round is a permutation of its pairs, and when one is used up the
next begins. ``buffered`` takes equally many pairs of every set into every update, so a shorter set
starts over while the longest is passed once; ``shuffled`` treats all sets as one. Everything
follows from the seed and the number of the update, so any update of any process can be told without
the ones before it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from bfpo_bench.common.errors import BadInput, unknown_name

MIXINGS = ("buffered", "shuffled")


@dataclass(frozen=True)
class Schedule:
    """The batches of one process, as ``batch_sampler`` of a ``torch.utils.data.DataLoader``.

    An index counts through all sets in their order: the first pair of the second set has the
    index ``sizes[0]``. In every update the processes' shares are disjoint parts of
    :meth:`update`, of equal size and, when ``buffered``, with equally many pairs of every set.

    Attributes:
        mixing: ``"buffered"`` or ``"shuffled"``.
        sizes: number of pairs of each set.
        pairs_per_update: pairs of all sets, processes and batches together between two steps of
            the optimizer. Algorithm 1 with batches of 32 from each of two sets has 64.
        epochs: times that the longest set (``buffered``) or all sets (``shuffled``) are passed;
            the last update is filled up from the round that would come next.
        seed: of all permutations.
        rank: number of this process.
        world: number of processes.
        accumulation: batches that each process splits its share of an update into.
        first: update to begin with, to go on where a run stopped.

    Raises:
        BadInput: an empty set, or an update that cannot be split into equal parts.
    """

    mixing: str
    sizes: tuple[int, ...]
    pairs_per_update: int
    epochs: float = 1
    seed: int = 42
    rank: int = 0
    world: int = 1
    accumulation: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        if self.mixing not in MIXINGS:
            raise unknown_name("mixing", self.mixing, MIXINGS)
        if not self.sizes or min(self.sizes) < 1:
            raise BadInput(
                f"there is nothing to mix: the sets have {_listed(self.sizes)} pairs; each needs "
                "at least one."
            )
        if self.epochs <= 0:
            raise BadInput(f"training for {self.epochs} epochs does nothing; give more than 0.")
        parts = len(self._streams) * self.world
        if self.pairs_per_update < 1 or self.pairs_per_update % parts:
            raise BadInput(
                f"an update of {self.pairs_per_update} pairs cannot be split equally over "
                f"{len(self._streams)} set(s) and {self.world} process(es); take a multiple of "
                f"{parts}."
            )
        share = self.pairs_per_update // self.world
        if self.accumulation < 1 or share % self.accumulation:
            raise BadInput(
                f"the {share} pairs of an update that each process takes cannot be split into "
                f"{self.accumulation} batches of equal size; take a divisor of {share} as "
                "accumulation."
            )
        if not 0 <= self.rank < self.world:
            raise BadInput(f"process {self.rank} is none of the {self.world} from 0 on.")
        if not 0 <= self.first <= self.updates:
            raise BadInput(
                f"training cannot go on at update {self.first}: there are {self.updates} with "
                "this data and these settings."
            )

    @property
    def updates(self) -> int:
        """Number of updates of the whole training, those before ``first`` included."""
        longest = max(size for _, size in self._streams)
        # Rounded first: 0.1 * 30 is a little more than 3 and would cost one update too many.
        return math.ceil(round(self.epochs * longest / self._per_stream, 9))

    @property
    def batch_size(self) -> int:
        """Pairs in each batch of this process."""
        return self.pairs_per_update // self.world // self.accumulation

    def __len__(self) -> int:
        return (self.updates - self.first) * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.first, self.updates):
            yield from self.batches(number)

    def batches(self, number: int) -> list[list[int]]:
        """This process's batches of update ``number`` (from 0).

        Sets take turns within a share, so that each batch has its part of every set as far as its
        size allows.
        """
        share = self._per_stream // self.world
        mine = [drawn[self.rank * share : (self.rank + 1) * share] for drawn in self.update(number)]
        turns = [index for turn in zip(*mine, strict=True) for index in turn]
        size = self.batch_size
        return [turns[start : start + size] for start in range(0, len(turns), size)]

    def update(self, number: int) -> list[list[int]]:
        """Indices of update ``number`` of all processes, a list for each set (one if shuffled)."""
        begin = number * self._per_stream
        return [
            [offset + i for i in _drawn(self.seed, stream, size, begin, begin + self._per_stream)]
            for stream, (offset, size) in enumerate(self._streams)
        ]

    @property
    def _streams(self) -> list[tuple[int, int]]:
        """(first index, size) of each set that is drawn from on its own."""
        if self.mixing == "shuffled":
            return [(0, sum(self.sizes))]
        return list(zip(accumulate(self.sizes, initial=0), self.sizes, strict=False))

    @property
    def _per_stream(self) -> int:
        return self.pairs_per_update // len(self._streams)


def _drawn(seed: int, stream: int, size: int, begin: int, end: int) -> Iterator[int]:
    """Draws ``begin`` to ``end`` from an endless row of permutations of ``range(size)``."""
    for draw in range(begin, end):
        yield _permutation(seed, stream, draw // size, size)[draw % size]


@lru_cache(maxsize=16)
def _permutation(seed: int, stream: int, turn: int, size: int) -> Sequence[int]:
    # Python promises the same random() for ever, but not the same shuffle().
    rng = random.Random(f"{seed}, set {stream}, round {turn}")
    keys = [rng.random() for _ in range(size)]
    return sorted(range(size), key=keys.__getitem__)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes)) or "no"
