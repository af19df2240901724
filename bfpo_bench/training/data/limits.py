"""How long a pair of token ids may be, and what is cut where it is longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bfpo_bench.common.errors import BadInput


@dataclass(frozen=True)
class Limits:
    """How long a pair may be, in tokens; the defaults are the paper's.

    Attributes:
        max_length: of prompt and one response together.
        max_prompt: of the prompt of a pair that is longer than ``max_length``; other prompts stay
            as they are, as in the authors' code.
    """

    max_length: int = 1024
    max_prompt: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.max_prompt < self.max_length:
            raise BadInput(
                f"max_prompt should be at least 1 and less than max_length, found "
                f"{self.max_prompt} and {self.max_length}."
            )


PAPER = Limits()


class Ids(NamedTuple):
    """Token ids of a pair's texts."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def fit(ids: Ids, limits: Limits, keep_start: int = 0, keep_end: int = 1) -> Ids:
    """Cuts a pair to the limits, by its longer response, so that both keep the same prompt.

    A pair within ``max_length`` stays as it is. Else the prompt is cut to ``max_prompt`` tokens,
    or to fewer where the response needs the room: the response stays whole. Only a response that
    leaves no room even for what the prompt must keep is cut itself, at its end, to what
    ``max_prompt`` leaves, as the paper's code cuts every response.

    Of a prompt the first ``keep_start`` tokens stay, and its end. That is the BOS token, on which
    many models rest much of their attention and without which they never saw a text; a system
    message is cut like the rest, since half of it could say the opposite.

    Args:
        ids: what to cut.
        limits: how long prompt and response may be.
        keep_start: tokens at the start of the prompt that stay.
        keep_end: tokens at its end that stay: what opens the assistant's turn.
    """
    longer = max(len(ids.chosen), len(ids.rejected))
    if len(ids.prompt) + longer <= limits.max_length:
        return ids
    room = limits.max_length - longer
    most = min(len(ids.prompt), limits.max_prompt)
    size = most if room < min(most, keep_start + keep_end) else min(most, room)
    start = ids.prompt[: min(keep_start, size)]
    prompt = start + ids.prompt[len(ids.prompt) - (size - len(start)) :]
    rest = limits.max_length - size
    return Ids(prompt, ids.chosen[:rest], ids.rejected[:rest])
