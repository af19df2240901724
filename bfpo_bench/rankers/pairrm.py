"""PairRM (Jiang, Ren, Lin 2023, arXiv 2306.02561) through transformers' own DeBERTa-v2.

The model reads prompt and both responses at once, each as a sequence of its own with a mark at its
beginning::

    [CLS] <|source|> prompt [SEP] [CLS] <|candidate1|> first [SEP] [CLS] <|candidate2|> second [SEP]

and gives each response a score from the hidden states of two marks, the prompt's and its own::

    s_k = W2 · tanh(W1 · [h(source); h(candidate k)] + b1) + b2        mean over the n_tasks rows

Format, lengths and weights' names are those of the checkpoint llm-blender/PairRM-hf and its model
card; no code of the checkpoint is run. Which response stands first sways the model a little, so
both orders are asked and the difference of scores is averaged over them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from bfpo_bench.common.batches import in_order
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.batching import plan_batches
from bfpo_bench.engines.plan import Answers, Order, Plan, answers_here
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.checkpoint import ModelFiles, find_model
from bfpo_bench.models.fingerprint import checkpoint_identity
from bfpo_bench.rankers.protocol import ChosenModel, Comparison, RankerOptions, Ranking, of_both

PAIRRM = "llm-blender/PairRM-hf"

SOURCE, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"

LONGEST = 2048
"""Tokens of the whole input; the two responses share evenly what the prompt leaves."""

LONGEST_PROMPT = 1224

BATCH_SEQUENCES = 32
BATCH_TOKENS = 8192
"""Of a batch once padded. Attention is quadratic: four inputs of full length are 1 GB a layer."""

IMPLEMENTATION = 1
"""Raised whenever the code changes so that the same weights rank otherwise."""


@dataclass(frozen=True)
class ChosenPairRM(ChosenModel):
    """A PairRM checkpoint that was found."""

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenRanker`."""
        return {
            "ranker": self.name,
            "kind": "pairrm",
            "implementation": IMPLEMENTATION,
            **checkpoint_identity(self.files, templates=False),
            "dtype": self.dtype,
        }

    def load(self, options: EngineOptions) -> PairRM:
        """See :class:`ChosenModel`."""
        return PairRM(self.files, self.dtype, options.device, self.options.loading.batch_size)

    def ranker(self, answers: Answers) -> Pairs:
        """See :class:`ChosenModel`."""
        return Pairs(answers)


def choose_pairrm(options: RankerOptions, folder: str | None) -> ChosenPairRM:
    """Finds the checkpoint: a folder, or None for the published one on the hub.

    Raises:
        BadInput: it is not there, or it is no PairRM.
    """
    files = find_model(folder or PAIRRM)
    if "n_tasks" not in files.config or files.config.get("model_type") != "deberta-v2":
        raise BadInput(
            f"{files.folder} is no PairRM (a deberta-v2 with n_tasks in its config.json); give a "
            f"copy of {PAIRRM}, or reward:PATH for a reward model."
        )
    return ChosenPairRM(options.ranker, options, files)


class Pairs:
    """Rankings from what the model answers to comparisons in both orders."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        """See :class:`Ranker`."""
        return in_order(self.in_batches(items), len(items))

    def in_batches(
        self, items: Sequence[Comparison], known: Container[int] = ()
    ) -> Iterator[list[tuple[int, Ranking]]]:
        """See :class:`~bfpo_bench.common.batches.Batched`."""
        both = [*items, *(Comparison(i.prompt, i.second, i.first) for i in items)]
        order = Order("logits", (both,), len(both))
        for batch in of_both(len(items), known, partial(self._answers, [order])):
            yield [
                (number, Ranking((one - two) / 2, f"{one:.4f} / {-two:.4f}"))
                for number, (one, two) in batch
            ]


class PairRM(Pairs):
    """The loaded model.

    Args:
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        device: as for an engine.
        batch_size: sequences of a batch; None goes by `BATCH_TOKENS`.
    """

    limits: tuple[int, ...] = ()

    def __init__(
        self, files: ModelFiles, dtype: str, device: str, batch_size: int | None = None
    ) -> None:
        import torch

        from bfpo_bench.engines.hf.load import torch_device
        from bfpo_bench.engines.tokenization import load_tokenizer
        from bfpo_bench.rankers.pairrm_model import load_pairrm

        super().__init__(partial(answers_here, self))
        self._tokenizer = load_tokenizer(files.folder)
        self._marks = {mark: self._id(mark, files) for mark in (SOURCE, FIRST, SECOND)}
        specials = {*self._tokenizer.all_special_tokens, *self._marks, "<|candidate|>"}
        self._special = re.compile("|".join(re.escape(s) for s in sorted(specials, key=len)[::-1]))
        self._device = torch_device(device)
        self._model = load_pairrm(files).to(self._device, getattr(torch, dtype)).eval()
        self._batch_size = batch_size or BATCH_SEQUENCES

    def logits(self, items: Sequence[Comparison]) -> list[float]:
        """Score of the first response minus that of the second, in the order given."""
        return in_order(self.plan_logits(items).run(), len(items))

    def plan_logits(self, items: Sequence[Comparison]) -> Plan[float]:
        """The batches of these scores."""
        from bfpo_bench.engines.batching import halve_when_full

        encoded = [self.encode(item) for item in items]
        batches = plan_batches([len(ids) for ids, _ in encoded], self._batch_size, BATCH_TOKENS)

        def run(part: list[int]) -> Iterator[list[tuple[int, float]]]:
            yield list(zip(part, self._batch([encoded[i] for i in part]), strict=True))

        def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, float]]]:
            for number in numbers:
                yield from halve_when_full(run, batches[number])

        return Plan(batches, compute)

    def encode(self, item: Comparison) -> tuple[list[int], list[int]]:
        """Tokens of a comparison, and the positions of its three marks."""
        prompt = self._part(SOURCE, item.prompt, LONGEST_PROMPT)
        room = (LONGEST - len(prompt)) // 2
        ids: list[int] = []
        places = []
        first, second = (
            self._part(mark, text, room)
            for mark, text in ((FIRST, item.first), (SECOND, item.second))
        )
        for mark, part in ((SOURCE, prompt), (FIRST, first), (SECOND, second)):
            places.append(len(ids) + part.index(self._marks[mark]))
            ids += part
        return ids, places

    def _part(self, mark: str, text: str, most: int) -> list[int]:
        # A mark or [SEP] that stands in a text must not be read as one of the input's own.
        text = mark + self._special.sub(" ", text)
        ids: list[int] = self._tokenizer.encode(text, max_length=most, truncation=True)
        return ids

    def _batch(self, encoded: list[tuple[list[int], list[int]]]) -> list[float]:
        import torch

        width = max(len(ids) for ids, _ in encoded)
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(encoded), width), padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (tokens, _) in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        places = torch.tensor([where for _, where in encoded])
        with torch.inference_mode():
            scores = self._model(*(t.to(self._device) for t in (ids, mask, places)))
        return [float(value) for value in scores.float().cpu()]

    def _id(self, mark: str, files: ModelFiles) -> int:
        found = self._tokenizer.encode(mark, add_special_tokens=False)
        if len(found) != 1 or found[0] == self._tokenizer.unk_token_id:
            raise BadInput(
                f"the tokenizer in {files.folder} does not know PairRM's mark {mark}; copy the "
                f"tokenizer of {PAIRRM} again."
            )
        return int(found[0])
