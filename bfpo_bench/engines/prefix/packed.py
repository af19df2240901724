"""A causal transformers model over packed rows: log-probabilities where they are asked for.

The rows of :mod:`bfpo_bench.engines.prefix.tree` go through the model's own layers with position
ids and an attention mask that lets each token see its ancestors in the prefix tree. The vocabulary
projection then runs only at the places whose prediction somebody wants, a chunk of them at a time,
so that no tensor of tokens × vocabulary exists. The same forward serves scoring and judging
(without gradients) and training (with them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint

from bfpo_bench.engines.prefix.attention import (
    FLEX,
    TILES,
    block_mask,
    dense_mask,
    layer_windows,
    padded_width,
)
from bfpo_bench.engines.prefix.tiles import tile_mask
from bfpo_bench.engines.prefix.tree import Row

LOGITS_BYTES = 64 << 20
"""Float32 logits that exist at one time on a CPU, in bytes: they stay near its caches."""

GPU_LOGITS_BYTES = 512 << 20
"""The same on a GPU, whose matrix products want more rows at a time."""


@dataclass(frozen=True)
class Query:
    """Which predictions of one request are wanted.

    Attributes:
        start: position of the first token whose next-token prediction is wanted.
        targets: ``[positions]``: token ids whose log-probability is wanted, one after each
            position from `start` on; or, with `labels`, ``[labels]``: ids that are all wanted
            after the position `start`.
        labels: whether `targets` are alternatives at one position.
    """

    start: int
    targets: Sequence[int]
    labels: bool = False


@dataclass(frozen=True)
class Logprobs:
    """Log-probabilities read off a batch.

    Attributes:
        logprobs: natural-log probabilities of all targets, request after request, float32
            ``[targets]``.
        greedy: whether the target was the most probable token, ``[targets]``.
        owners: number of the request (in the order given) of each target, ``[targets]``.
        requests: number of requests.
    """

    logprobs: Tensor
    greedy: Tensor
    owners: Tensor
    requests: int

    def sums(self, weights: Tensor | None = None) -> Tensor:
        """Log-likelihood of each request's targets, float32 ``[requests]``.

        Args:
            weights: of the targets, ``[targets]``; None weighs all alike.
        """
        logprobs = self.logprobs if weights is None else self.logprobs * weights
        return logprobs.new_zeros(self.requests).index_add(0, self.owners, logprobs)


class PackedModel:
    """Runs packed rows through a causal model.

    Args:
        model: a transformers causal language model whose attention takes a 4-dimensional mask
            and whose positions come from ``position_ids``. Whether that is so can be seen by
            comparing with plain scores: :mod:`bfpo_bench.engines.prefix.self_check`. Where its
            attention is transformers' ``flex_attention``, it gets a block mask, else a dense one.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config.get_text_config()
        self.backbone = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
        self._head = model.get_output_embeddings()
        self._windows = layer_windows(self.config)

    # ------------------------------------------------------------------ readings

    def read(self, rows: Sequence[Row], queries: Sequence[Sequence[Query]]) -> Logprobs:
        """Log-probabilities of the wanted targets.

        Gradients flow when they are enabled; the logits are then computed again in the backward
        pass instead of being kept.

        Args:
            rows: the packed requests.
            queries: for each row those of its requests, in ``row.requests``' order.
        """
        device = self.backbone.device
        width = max(len(row) for row in rows)
        if self._flex:
            width = padded_width(width)
        places, targets, owners = [], [], []
        owner = 0
        for number, (row, asked) in enumerate(zip(rows, queries, strict=True)):
            for path, want in zip(row.paths, asked, strict=True):
                count = len(want.targets)
                if want.labels:
                    at = np.full(count, path[want.start])
                else:
                    at = path[want.start : want.start + count]
                places.append(number * width + at)
                targets.append(np.asarray(want.targets, dtype=np.int64))
                owners.append(np.full(count, owner))
                owner += 1
        # One place is projected once, however many targets are wanted after it.
        nodes, which = np.unique(np.concatenate(places), return_inverse=True)
        hidden = self._hidden(rows, width)
        states = hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(nodes).to(device)]
        logprobs, greedy = self._project(
            states,
            torch.from_numpy(which.astype(np.int64)).to(device),
            torch.from_numpy(np.concatenate(targets)).to(device),
        )
        return Logprobs(
            logprobs, greedy, torch.from_numpy(np.concatenate(owners)).to(device), owner
        )

    def _hidden(self, rows: Sequence[Row], width: int) -> Tensor:
        """The last layer's states (after the final norm), ``[rows, width, hidden]``."""
        device = self.backbone.device
        ids = np.zeros((len(rows), width), dtype=np.int64)
        positions = np.zeros((len(rows), width), dtype=np.int64)
        # Padding is a token that sees nothing but itself.
        ends = np.tile(np.arange(1, width + 1), (len(rows), 1))
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row.ids
            positions[i, : len(row)] = row.positions
            ends[i, : len(row)] = row.ends
        at = torch.from_numpy(positions).to(device)
        output = self.backbone(
            input_ids=torch.from_numpy(ids).to(device),
            position_ids=at,
            attention_mask=self._masks(rows, at, torch.from_numpy(ends).to(device)),
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state
        return states

    @property
    def _flex(self) -> bool:
        return bool(self.config._attn_implementation == FLEX)

    def _masks(self, rows: Sequence[Row], positions: Tensor, ends: Tensor) -> Any:
        """What the layers take as attention mask: one for all, or one per kind of layer."""

        def mask(window: int | None) -> Tensor | BlockMask:
            if self._flex:
                return block_mask(positions, ends, window)
            if self.config._attn_implementation == TILES:
                return tile_mask(positions, ends, window, self.backbone.dtype)
            return dense_mask(positions, ends, window, self.backbone.dtype)

        if isinstance(self._windows, dict):
            return {kind: mask(window) for kind, window in self._windows.items()}
        return mask(self._windows)

    # ---------------------------------------------------------------- projection

    def _project(self, states: Tensor, which: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of targets after states.

        Args:
            states: ``[nodes, hidden]``.
            which: node of each target, ``[targets]``.
            targets: token ids, ``[targets]``.

        Returns:
            float32 log-probabilities and whether each is the largest, ``[targets]`` both.
        """
        order = torch.argsort(which, stable=True)
        sorted_which, sorted_targets = which[order], targets[order]
        limit = LOGITS_BYTES if states.device.type == "cpu" else GPU_LOGITS_BYTES
        # Not the weight's shape: DeepSpeed takes weights away between their uses.
        rows = max(1, limit // (4 * self.config.vocab_size))
        bounds = torch.arange(0, len(states) + rows, rows, device=which.device)
        splits = torch.searchsorted(sorted_which, bounds).tolist()
        found, best = [], []
        for chunk, (low, high) in enumerate(pairwise(splits)):
            first = chunk * rows
            arguments = (
                states[first : first + rows],
                sorted_which[low:high] - first,
                sorted_targets[low:high],
            )
            # A single chunk's logits are no more than the backward pass would hold at a time.
            if len(splits) > 2 and torch.is_grad_enabled() and states.requires_grad:
                logprobs, top = checkpoint(self._project_chunk, *arguments, use_reentrant=False)
            else:
                logprobs, top = self._project_chunk(*arguments)
            found.append(logprobs)
            best.append(top)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return torch.cat(found)[back], torch.cat(best)[back]

    def _project_chunk(
        self, states: Tensor, which: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = self._logits(states)
        chosen = logits[which, targets]
        best, top = logits.detach().max(dim=-1)
        if logits.requires_grad:
            total = torch.logsumexp(logits, dim=-1)
        else:
            # The same in place: a second tensor of this size would double the time it takes.
            total = logits.sub_(best[:, None]).exp_().sum(dim=-1).log_().add_(best)
        return chosen - total[which], top[which] == targets

    def _logits(self, states: Tensor) -> Tensor:
        """Float32 logits as the model's own forward makes them, ``[nodes, vocabulary]``."""
        logits: Tensor = self._head(states).float()
        scale = getattr(self.config, "logit_scale", None)  # Cohere
        if scale is not None:
            logits = logits * scale
        divisor = getattr(self.config, "logits_scaling", None)  # Granite
        if divisor is not None:
            logits = logits / divisor
        cap = getattr(self.config, "final_logit_softcapping", None)  # Gemma 2 and 3
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits
