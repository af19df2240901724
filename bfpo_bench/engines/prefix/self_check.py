"""Does a model give the same log-probabilities packed as plain?

Packing needs attention that takes any mask and positions that can be given. ALiBi, state spaces
and learned positions counted inside the model do without the one or the other, and a new
architecture may do anything: so a few sequences are computed both ways when a model is loaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bfpo_bench.common.errors import first_line
from bfpo_bench.engines.prefix.attention import BLOCK, FLEX, attention, layer_windows
from bfpo_bench.engines.prefix.bins import WIDTHS
from bfpo_bench.engines.prefix.packed import Logprobs, PackedModel, Query
from bfpo_bench.engines.prefix.plain import PlainModel
from bfpo_bench.engines.prefix.tree import pack

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference of a log-probability, relative to the largest of them."""

COARSE_TOLERANCE = 5e-2
"""The same for 16-bit numbers, whose rounding depends on how a matrix product is cut up."""

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers that masks are made for."""

LONGEST = {"cpu": 128, "cuda": 8192}
"""Sliding windows up to this size are tried out with a sequence that is longer."""

WANTED = 16
"""Predictions at the end of each sequence that are compared."""

WIDE = WIDTHS[-1]
"""Tokens of a row that is as wide as those of a run. Layers that count distances in the row and
not by position (GPT-Neo's local attention, whose window is 256) show it there only."""


@torch.inference_mode()
def packing_fault(model: Any, kind: str | None = None) -> str | None:
    """Why packed scores of a model cannot be trusted; None when they can.

    Args:
        model: a causal transformers model in evaluation mode.
        kind: attention to compute them with, e.g.
            :data:`bfpo_bench.engines.prefix.attention.FLEX`; None for the model's own.

    Returns:
        the reason, as the end of a sentence.
    """
    config = model.config.get_text_config()
    # GPT-Neo has its own name for the list; what its local layers do would hide in 16 bits.
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    unknown = set(kinds or ()) - KNOWN_LAYERS
    if unknown:
        return f"it has layers of a kind that cannot be packed ({', '.join(sorted(unknown))})"
    long = _long_sequence(config, kind, model.device.type)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    requests = _sequences(vocabulary, long)
    # FlexAttention sees by the block mask alone; a wide row would be one more kernel to compile.
    answers = _answers(vocabulary) if kind != FLEX else []
    try:
        with attention(model, kind):
            found = _packed(model, requests, list(map(_last, requests)), 48 + long)
            if answers:
                # Of all but the last one something cheap is asked, the same of each.
                asked = [Query(0, [0])] * (len(answers) - 1) + [_last(answers[-1])]
                found.append(_packed(model, answers, asked, len(answers) * WANTED)[-1])
    except Exception as error:
        first = first_line(error)
        return f"its layers refuse the mask ({first[:120]})"
    plain = PlainModel(model)
    expected = []
    for ids in [*requests, *answers[-1:]]:
        alone = plain.read(pack([ids[:-1]], max_tokens=1), [[_last(ids)]])
        expected.append(alone.logprobs.double().cpu())
    right = torch.cat(expected)
    if not torch.isfinite(right).all():
        # Nothing to compare; the stages say what such weights are.
        return None
    worst = float((torch.cat(found) - right).abs().max() / right.abs().max())
    allowed = TOLERANCE.get(model.dtype, COARSE_TOLERANCE)
    # Written so that NaN fails too.
    if not worst <= allowed:
        return f"packed and plain log-probabilities differ by {worst:.1%}"
    return None


def _long_sequence(config: Any, kind: str | None, device: str) -> int:
    """Tokens that a sequence needs to show all that the masks do; 0 where short ones do."""
    windows = layer_windows(config)
    sizes = windows.values() if isinstance(windows, dict) else [windows]
    limit = LONGEST.get(device, LONGEST["cpu"])
    window = max((size for size in sizes if size is not None and size <= limit), default=0)
    longest = max(window, 3 * BLOCK if kind == FLEX else 0)
    room = getattr(config, "max_position_embeddings", None) or longest + WANTED
    return max(0, min(longest, room - WANTED))


def _packed(
    model: Any, requests: list[list[int]], queries: list[Query], max_tokens: int
) -> list[Tensor]:
    """Log-probabilities of what is wanted of each sequence, computed in rows of such length."""
    rows = pack([ids[:-1] for ids in requests], max_tokens)
    asked = [[queries[i] for i in row.requests] for row in rows]
    readings = PackedModel(model).read(rows, asked)
    return _by_request(readings, [i for row in rows for i in row.requests])


def _last(ids: list[int]) -> Query:
    start = max(0, len(ids) - 1 - WANTED)
    return Query(start, ids[start + 1 :])


def _by_request(readings: Logprobs, order: list[int]) -> list[Tensor]:
    """Log-probabilities of each request, in the order of the requests."""
    counts = torch.bincount(readings.owners, minlength=readings.requests).tolist()
    parts = torch.split_with_sizes(readings.logprobs.double().cpu(), counts)
    return [parts[order.index(i)] for i in range(len(order))]


def _sequences(vocabulary: int, long: int) -> list[list[int]]:
    """Questions with a common beginning and answers of different lengths, as token ids.

    Args:
        long: tokens of one more question; 0 for none.
    """
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    start = tokens(5)
    questions = [start + tokens(length) for length in (3, 6, 9)]
    found = [question + tokens(length) for question in questions for length in (2, 4, 7)]
    if long:
        question = tokens(long)
        found += [question + tokens(length) for length in (3, 9)]
    return found


def _answers(vocabulary: int) -> list[list[int]]:
    """Short answers to one short question, as token ids: together a row of more than `WIDE` tokens.

    The last one stands at the row's end, far from the question that it begins with.
    """
    generator = torch.Generator().manual_seed(1)
    question = torch.randint(vocabulary, (WANTED // 2,), generator=generator).tolist()
    length = WANTED - 1
    count = -(-WIDE // (length - 1)) + 1
    # Answers are laid out in the order of their token ids.
    firsts = torch.linspace(0, vocabulary - 1, count).long().tolist()
    others = torch.randint(vocabulary, (count, length - 1), generator=generator).tolist()
    return [[*question, first, *more] for first, more in zip(firsts, others, strict=True)]
