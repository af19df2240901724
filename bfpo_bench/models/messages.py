"""Chat messages on their way to a server that applies the chat template itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message, in order."""


def write_messages(messages: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Messages as a text, in the place of a chat template: one JSON list.

    Takes what a chat renderer takes, so that it can be handed to lm-eval as one. The text is what
    the run directory shows as the prompt, and what the key of the answer is made of.
    """
    return json.dumps(
        [{"role": m["role"], "content": m["content"]} for m in messages], ensure_ascii=False
    )


def read_messages(text: str) -> Messages:
    """The messages in a text that :func:`write_messages` wrote."""
    return tuple((message["role"], message["content"]) for message in json.loads(text))
