"""Which items of a task are asked: all at once, or round by round until they are enough.

The items come in the order that the seed draws (the first so many are those of a run with that
``--limit``), and a round ends at a size that is known beforehand. So whoever goes on with a run
that was stopped asks the same parts again, and stops at the same item.
"""

from __future__ import annotations

from collections.abc import Sequence

from bfpo_bench.common.enough import finest, next_size, sizes
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation import stages
from bfpo_bench.run.enough import Enough
from bfpo_bench.run.outcomes import item_values
from bfpo_bench.run.shares import Judges
from bfpo_bench.run.store import Store
from bfpo_bench.tasks.part import part_of
from bfpo_bench.tasks.requests import Task, drawn_positions

NOBODY = Judges()

_COARSEST = 50
"""Percentage points: a number of which no more is known is any number."""


class Rounds:
    """The rounds of one task.

    Args:
        whole: the task with all items that may be asked.
        precision: percentage points within which its number is to be known; None asks everything.
        seed: that draws the order of the items.

    Attributes:
        sizes: how many items are asked before one looks whether they are enough; at last all.
        part: the items of this round with what is asked of them; None when no more are wanted.
        why_whole: why all of its items are asked whatever comes out; None where fewer may do.
    """

    def __init__(self, whole: Task, precision: float | None, seed: int) -> None:
        self.whole = whole
        self.why_whole: str | None = None
        self._precision = precision
        self._seed = seed
        self.sizes: tuple[int, ...] = (whole.size,)
        if precision is not None:
            self.why_whole = _why_whole(whole, precision)
            if self.why_whole is None:
                self.sizes = sizes(whole.size, precision)
        self._n = 0
        self.part: Task | None = None
        self._ask(self.sizes[0])

    @property
    def asked(self) -> Task:
        """The task with the items of all rounds so far."""
        return part_of(self.whole, self._drawn(self._n))

    def begin(self, store: Store, model_key: str) -> None:
        """Notes the items of the part; of a scored task, of all rounds that are answered."""
        while self.part is not None:
            stages.store_items(self.part, store)
            if not self.part.scores or stages.unanswered(self.part, model_key, store):
                return
            self.settle(store)

    def settle(self, store: Store, judges: Judges = NOBODY) -> None:
        """When the part is answered: takes the next one, where more items are wanted.

        Args:
            judges: whose verdicts count.
        """
        if self.part is not None and self.part.scores:
            stages.store_outcomes(self.part, store)
        if self._n == self.whole.size:
            self.part = None
            return
        assert self._precision is not None
        found = item_values(store, self.whole.spec, judges)
        values = [found.get(self.whole.ids[place]) for place in self._drawn(self._n)]
        if set(values) - {0.0, 1.0}:
            unjudged = "no judge says what it counts"
            why = unjudged if None in values else "an item of it can be right in part"
            self.why_whole = f"all its items are asked, as {why}"
            self._ask(self.whole.size)
            return
        larger = next_size(values.count(1.0), self._n, self.whole.size, self._precision)
        # What was begun is ended, though a judge may say otherwise now than when it was begun.
        [(begun,)] = store.select("SELECT COUNT(*) FROM items WHERE task = ?", self.whole.name)
        if larger is None and begun > self._n:
            larger = next(size for size in self.sizes if size >= begun)
        if larger is None:
            self.part = None
        else:
            self._ask(larger)

    def enough(self) -> Enough | None:
        """What the task took; None where no precision was asked for."""
        if self._precision is None:
            return None
        could_stop = [] if self.why_whole is not None else list(self.sizes)
        return Enough(could_stop, *_cost(self.asked), *_cost(self.whole))

    def _ask(self, size: int) -> None:
        before = set(self._drawn(self._n))
        self.part = part_of(self.whole, [p for p in self._drawn(size) if p not in before])
        self._n = size

    def _drawn(self, size: int) -> Sequence[int]:
        """Positions of the first so many items, ascending."""
        if size in (0, self.whole.size):
            return self.whole.positions[:size]
        return drawn_positions(self.whole.name, self.whole.ids, size, self._seed)


def check_precision(precision: float, limit: int | None, tasks: Sequence[Task]) -> None:
    """Refuses what is no precision, and one that lets no task stop before its last item.

    Raises:
        BadInput: says which one would do.
    """
    if not 0 < precision < _COARSEST:
        raise BadInput(
            f"--precision is in percentage points, above 0 and below 50, not {precision:g}; 1 "
            "stops a task when its number is known to ±1."
        )
    if limit is not None:
        raise BadInput(
            f"--precision {precision:g} and --limit {limit} both say how many items are asked; "
            "leave one of them out."
        )
    counted = [task for task in tasks if not task.annotated]
    if not counted:
        raise BadInput(
            "--precision is for shares of items, which a win rate is not; name other tasks too "
            "(--tasks), or leave --precision out."
        )
    if all(_why_whole(task, precision) for task in counted):
        best = min(counted, key=lambda task: finest(task.size))
        if finest(best.size) >= _COARSEST:
            raise BadInput(
                f"--precision {precision:g} cannot be reached with a part of the items of these "
                f"tasks, and no precision can: {best.spec.column} has the most, {best.size}. Leave "
                "--precision out, which asks them all."
            )
        raise BadInput(
            f"--precision {precision:g} cannot be reached with a part of the items of these tasks, "
            f"whatever comes out: {finest(best.size):g} at best ({best.spec.column}, "
            f"{best.size:,} items). Ask for no less, or leave --precision out, which asks them all."
        )


def _why_whole(task: Task, precision: float) -> str | None:
    if task.annotated:
        return "all its items are asked, as a win rate is no share of them"
    if len(sizes(task.size, precision)) > 1:
        return None
    best = finest(task.size)
    return f"all its items are asked, as fewer than {task.size} cannot tell ±{precision:g}" + (
        f"; ±{best:g} at best" if best < _COARSEST else ""
    )


def _cost(task: Task) -> tuple[int, int]:
    """Requests of a task, and the characters of their texts."""
    if task.scores:
        texts = [len(one.context) + len(one.continuation) for one in task.scores]
    else:
        texts = [len(one.prompt) for one in task.prompts]
    return len(texts), sum(texts)
