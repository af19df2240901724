"""Does a model give the same log-probabilities packed as plain?

Packing needs attention that takes any mask and positions that can be given. ALiBi, state spaces
and learned positions counted inside the model do without the one or the other, and a new
architecture may do anything: so a few sequences are computed both ways when a model is loaded.
"""

from __future__ import annotations

from typing import Any

import torch

from bfpo_bench.engines.packed_model import PackedModel, Wanted
from bfpo_bench.engines.packing import pack
from bfpo_bench.engines.plain_model import PlainModel

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference of a log-probability, relative to the largest of them."""

COARSE_TOLERANCE = 5e-2
"""The same for 16-bit numbers, whose rounding depends on how a matrix product is cut up."""


@torch.inference_mode()
def packing_fault(model: Any) -> str | None:
    """Why packed scores of a model cannot be trusted; None when they can.

    Args:
        model: a causal transformers model in evaluation mode.

    Returns:
        the reason, as the end of a sentence.
    """
    requests = _sequences(int(model.get_input_embeddings().weight.shape[0]))
    try:
        packed = PackedModel(model)
        rows = pack([ids[:-1] for ids in requests], max_tokens=48)
        asked = [[Wanted(0, requests[i][1:]) for i in row.requests] for row in rows]
        found = packed.read(rows, asked).logprobs.double().cpu()
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"its layers refuse the mask ({first[:120]})"
    order = [i for row in rows for i in row.requests]
    singles = [pack([requests[i][:-1]], max_tokens=1)[0] for i in order]
    plain = PlainModel(model).read(singles, [[Wanted(0, requests[i][1:])] for i in order])
    expected = plain.logprobs.double().cpu()
    if not torch.isfinite(expected).all():
        # Nothing to compare; the stages say what such weights are.
        return None
    worst = float((found - expected).abs().max() / expected.abs().max())
    allowed = TOLERANCE.get(model.dtype, COARSE_TOLERANCE)
    # Written so that NaN fails too.
    if not worst <= allowed:
        return f"packed and plain log-probabilities differ by {worst:.1%}"
    return None


def _sequences(vocabulary: int) -> list[list[int]]:
    """Questions with a common beginning and answers of different lengths, as token ids."""
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    start = tokens(5)
    questions = [start + tokens(length) for length in (3, 6, 9)]
    return [question + tokens(length) for question in questions for length in (2, 4, 7)]
