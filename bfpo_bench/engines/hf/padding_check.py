"""Do rows of different lengths answer as they would alone?

Prompts of a batch are filled up on the left. Attention is told not to look there; a model that
carries a state from token to token may take the filling in, and its responses then depend on the
neighbours. So a few steps are computed in company and alone before the first batch is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.decode import Decoding
from bfpo_bench.engines.hf.unfinished import Unfinished, cache_of, is_filled
from bfpo_bench.engines.prefix.self_check import COARSE_TOLERANCE, TOLERANCE

STEPS = 3
SHORT, NARROW, WIDE = 4, 21, 250
"""Tokens of the prompts: of the one that is filled up, and of its neighbour where the model keeps
keys and values alone, or also a state (MiniMax's decays over blocks of 256)."""

ANY, EQUAL, ALONE = "any", "equal", "alone"
"""Which rows may be computed together: all, those of one length, or none."""

Decode = Callable[[list[list[int]], Decoding, int], Iterator[Any]]


def company(decode: Decode, vocabulary: int, dtype: torch.dtype, longest: int) -> str:
    """Which rows may be computed together: :data:`ANY`, :data:`EQUAL` or :data:`ALONE`.

    Args:
        decode: decodes token ids, ``(prompts, decoding, new tokens)``, filling them up as a run
            does.
        vocabulary: tokens that the model knows.
        dtype: of its weights.
        longest: tokens of its context window.
    """
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    # Everybody goes on with the same tokens, whatever they think of them.
    forced = tokens(STEPS)

    def watched(*prompts: list[int]) -> _Watched:
        run = _Watched(forced)
        list(decode(list(prompts), run, STEPS))
        return run

    short = tokens(SHORT)
    first = watched(short)
    allowed = TOLERANCE.get(dtype, COARSE_TOLERANCE)
    if first.recurrent:
        # What the filling leaves in a state may be small, and grows from token to token.
        allowed = min(allowed, COARSE_TOLERANCE / 5)
    width = min(WIDE if first.recurrent else NARROW, longest - STEPS)
    long, other = tokens(width), tokens(width)
    for rows, result in (((short, long), ANY), ((long, other), EQUAL)):
        expected = first.logprobs() if result == ANY else watched(long).logprobs()
        if not torch.isfinite(expected).all():
            # Nothing to compare; the stages say what such weights are.
            return ANY
        found = watched(*rows).logprobs()
        # Written so that NaN fails too.
        if float((found[0] - expected[0]).abs().max() / expected.abs().max()) <= allowed:
            return result
    return ALONE


class _Watched(Decoding):
    """Takes the tokens it is told, and notes what the model thought of all others."""

    def __init__(self, forced: list[int]) -> None:
        super().__init__([0, 0], Sampling(len(forced)), (), None, Unfinished(None, None))
        self._forced = forced
        self._seen: list[torch.Tensor] = []
        self.recurrent = False

    def logprobs(self) -> torch.Tensor:
        """``[rows, steps, vocabulary]``."""
        return torch.stack(self._seen, dim=1)

    def _step(self, model: Any, batch: Any) -> None:
        super()._step(model, batch)
        cache = cache_of(batch.state)
        layers = getattr(cache, "layers", None)
        # A cache of keys and values alone has one kind of layer, and all of them are in use.
        self.recurrent = not layers or any(
            hasattr(layer, "recurrent_states") or not is_filled(layer) for layer in layers
        )

    def _choose(self, logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        self._seen.append(torch.log_softmax(logits.double(), dim=-1).cpu())
        return torch.full((len(rows),), self._forced[step], device=logits.device)
