"""Weights of segments of a response: from characters, as data write them, to tokens.

After the message-wise alignment of Equilibrate RLHF (Tan et al. 2025, arXiv 2502.11555), which
masks the gradient of segments that a reward model finds irrelevant. Here the data say which
segments weigh how much, or a recipe weighs the opening of every response.

A segment is ``[start, end, weight]``, in characters of the response; characters in none weigh 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.fields import shown
from bfpo_bench.training.data.preferences import Segments

COLUMN = "segment_weights"
"""Of a row of preference data (a list for each response) or of a conversation (one list)."""


def read_segments(row: Record, responses: Sequence[str]) -> tuple[Segments, ...]:
    """The segments of each response; none where the row has no such column.

    Raises:
        BadInput: they are not written as :data:`COLUMN` has them.
    """
    found = row.values.get(COLUMN)
    if found is None:
        return ((),) * len(responses)
    lists = [found] if len(responses) == 1 else found
    if not isinstance(lists, list | tuple) or len(lists) != len(responses):
        raise BadInput(
            f"{row.at}: field {COLUMN!r} should be a list of two, the segments of either response, "
            f"found {shown(found)}."
        )
    return tuple(_segments(row, one, text) for one, text in zip(lists, responses, strict=True))


def _segments(row: Record, found: Any, text: str) -> Segments:
    segments: list[tuple[int, int, float]] = []
    reached = 0
    for one in found if isinstance(found, list | tuple) else [] if found is None else [found]:
        if not (
            isinstance(one, list | tuple)
            and len(one) == 3
            and all(isinstance(x, int | float) and not isinstance(x, bool) for x in one)
            and all(isinstance(x, int) or x.is_integer() for x in one[:2])
            and 0 <= one[2] <= sys.float_info.max
        ):
            raise BadInput(
                f"{row.at}: a segment in field {COLUMN!r} should be [start, end, weight], two "
                f"numbers of characters and a weight of 0 or above, found {shown(one)}."
            )
        # In a table (Parquet, the hub) all numbers of a list have one format.
        start, end, weight = int(one[0]), int(one[1]), one[2]
        if not reached <= start < end <= len(text):
            raise BadInput(
                f"{row.at}: the segment {shown(one)} in field {COLUMN!r} should lie behind the one "
                f"before it and within the {len(text)} characters of its response."
            )
        segments.append((start, end, float(weight)))
        reached = end
    return tuple(segments)


def opening(text: str, words: int, weight: float, rest: float = 1.0) -> Segments:
    """The first words of a text as a segment of its own, and what follows as another.

    Args:
        words: how many; a text that has fewer is all opening.
        weight: of the first segment.
        rest: of the second.
    """
    ends = [found.end() for found in re.finditer(r"\S+", text)][:words]
    end = ends[-1] if ends else 0
    return tuple(
        one for one in ((0, end, float(weight)), (end, len(text), float(rest))) if one[0] < one[1]
    )


def written_weights(text: str, written: str, segments: Segments) -> list[float]:
    """The weight of each character of a response as a chat template has written it.

    What stands before the text weighs as its first character, what follows (the end of the turn)
    as its last.

    Args:
        text: the response as it is in the data, which the segments count in.
        written: what the template has made of it.

    Raises:
        BadInput: the text is not found there.
    """
    weights = [1.0] * len(text)
    for start, end, weight in segments:
        weights[start:end] = [weight] * (end - start)
    place = written.find(text)
    if place < 0:  # templates may leave out blanks around it
        before = len(text) - len(text.lstrip())
        text = text.strip()
        weights = weights[before : before + len(text)]
        place = written.find(text)
    if place < 0:
        raise BadInput(
            f"the chat template changes a response that has {COLUMN}, so that its segments cannot "
            "be found again; take another template, or leave the weights out."
        )
    after = len(written) - place - len(text)
    return [weights[0]] * place + weights + [weights[-1]] * after


def token_weights(
    written: str, weights: Sequence[float], offsets: Sequence[tuple[int, int]]
) -> list[float]:
    """The weight of each token: the mean of its characters, blanks aside.

    Args:
        written: the text.
        weights: of each of its characters.
        offsets: first character of each token, and the one behind its last.
    """
    found = []
    for start, end in offsets:
        inside = [weights[i] for i in range(max(start, 0), end) if not written[i].isspace()]
        inside = inside or [weights[max(end - 1, 0)]]
        found.append(inside[0] if len(set(inside)) == 1 else fmean(inside))
    return found
