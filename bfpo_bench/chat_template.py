"""Messages written with a chat template: a program of its author's, in which all can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bfpo_bench.errors import BadInput


def chat_renderer(tokenizer: Any, template: str | None) -> Callable[..., str]:
    """A function that writes messages with a chat template.

    Args:
        template: Jinja text to use instead of the tokenizer's own.
    """

    def write(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        try:
            text: str = tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                chat_template=template,
            )
        except Exception as error:  # whatever a template can raise
            hint = (
                "it may not take a system prompt: leave --system-prompt out"
                if any(m["role"] == "system" for m in messages)
                else "give another one with --chat-template FILE, or never"
            )
            raise BadInput(f"the chat template refuses the messages ({error}); {hint}.") from error
        if not text:
            raise BadInput(
                "the chat template writes nothing at all; give another one with --chat-template "
                "FILE, or never."
            )
        return text

    return write
