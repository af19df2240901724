"""A causal transformers model over requests one by one, for what cannot be packed.

Each request is computed from its first token, padded on the right, with nothing but its token ids:
the way that every causal model understands, and the yardstick for packed scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from bfpo_bench.engines.prefix.packed import Logprobs, Query
from bfpo_bench.engines.prefix.tree import Row


class PlainModel:
    """Reads log-probabilities like :class:`bfpo_bench.engines.prefix.packed.PackedModel`.

    Args:
        model: any causal transformers model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._can_keep = "logits_to_keep" in inspect.signature(model.forward).parameters

    def read(self, rows: Sequence[Row], queries: Sequence[Sequence[Query]]) -> Logprobs:
        """Log-probabilities of the wanted targets.

        Args:
            rows: one request each.
            queries: for each row what is wanted of its request, ``[rows][1]``.
        """
        device = self.model.device
        width = max(len(row) for row in rows)
        # Padding stands on the right, where causal attention cannot see it: no mask needed.
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.from_numpy(row.ids)
        wants = [want for [want] in queries]
        first = min(want.start for want in wants)
        if self._can_keep:
            keep = torch.arange(first, width, device=device)
            logits = self.model(ids.to(device), use_cache=False, logits_to_keep=keep).logits
        else:
            logits = self.model(ids.to(device), use_cache=False).logits[:, first:]
        logprobs, greedy, owners = [], [], []
        for i, want in enumerate(wants):
            count = len(want.targets)
            steps = torch.arange(1 if want.labels else count, device=device)
            some = logits[i, want.start - first + steps].float()
            targets = torch.tensor(want.targets, device=device)
            at = torch.zeros_like(targets) if want.labels else steps
            logprobs.append(torch.log_softmax(some, dim=-1)[at, targets])
            greedy.append(some.argmax(dim=-1)[at] == targets)
            owners.append(torch.full((count,), i, device=device))
        return Logprobs(torch.cat(logprobs), torch.cat(greedy), torch.cat(owners), len(rows))
