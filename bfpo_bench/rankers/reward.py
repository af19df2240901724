"""Any reward model that is a sequence classifier: ``reward:PATH``, ``reward:PATH#OBJECTIVE``.

The preference is the difference of the two rewards.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bfpo_bench.common.batches import in_order
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.plan import Answers, Order
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.clock import told_date
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.models.template_files import read_chat_template
from bfpo_bench.rankers.protocol import ChosenModel, Comparison, RankerOptions, Ranking, of_both

if TYPE_CHECKING:
    from torch import Tensor

    from bfpo_bench.engines.reward_model import RewardModel, RewardModelFiles

IMPLEMENTATION = 2
"""Raised whenever the code changes so that the same weights rank otherwise."""


@dataclass(frozen=True)
class ChosenReward(ChosenModel):
    """A reward model that was found.

    Attributes:
        column: which of its outputs ranks.
    """

    found: RewardModelFiles
    column: int

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenRanker`."""
        return {
            "ranker": self.name,
            "kind": "reward",
            "implementation": IMPLEMENTATION,
            **checkpoint_identity(self.files),
            "objective": self.found.objectives[self.column],
            "dtype": self.dtype,
            **told_date(read_chat_template(self.files.folder), self.options.loading.date),
        }

    def load(self, options: EngineOptions) -> RewardModel:
        """See :class:`ChosenModel`."""
        from bfpo_bench.engines.reward_model import load_reward_model

        return load_reward_model(self.found, self.dtype, self.options.loading.date, options)

    def ranker(self, answers: Answers) -> Reward:
        """See :class:`ChosenModel`."""
        return Reward(answers, self.column)


def choose_reward(options: RankerOptions, argument: str) -> ChosenReward:
    """Finds the checkpoint.

    Args:
        argument: folder or hub id, and behind a ``#`` the objective where there are several.

    Raises:
        BadInput: it is not there, is no reward model, or has no such objective.
    """
    from bfpo_bench.engines.reward_model import find_reward_model

    model, _, objective = argument.partition("#")
    found = find_reward_model(model)
    if not objective and len(found.objectives) > 1:
        raise BadInput(
            f"the head of {found.files.name} gives {len(found.objectives)} numbers; say which one "
            f"ranks with reward:{model}#OBJECTIVE, one of {', '.join(found.objectives)}."
        )
    return ChosenReward(
        options.ranker, options, found.files, found, found.column(objective or None)
    )


class Reward:
    """What a reward model answers, and the output that counts."""

    def __init__(self, answers: Answers, column: int) -> None:
        self._answers = answers
        self._column = column

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        """See :class:`Ranker`."""
        return in_order(self.in_batches(items), len(items))

    def in_batches(
        self, items: Sequence[Comparison], known: Container[int] = ()
    ) -> Iterator[list[tuple[int, Ranking]]]:
        """See :class:`~bfpo_bench.common.batches.Batched`."""
        prompts = [(("user", item.prompt),) for item in items]
        texts = [item.first for item in items] + [item.second for item in items]
        order = Order("rewards", (prompts * 2, texts), len(texts))
        for batch in of_both(len(items), known, partial(self._answers, [order])):
            yield [(number, self._ranking(*rows)) for number, rows in batch]

    def _ranking(self, first: Tensor, second: Tensor) -> Ranking:
        one, two = (float(row[self._column]) for row in (first, second))
        return Ranking(one - two, f"{one:.4f} / {two:.4f}")
