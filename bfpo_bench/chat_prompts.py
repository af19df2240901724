"""How the prompts of chat tasks are written for one target: its template, and what that is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bfpo_bench.chat_template import DATE, Chat


@dataclass(frozen=True)
class ChatPrompts:
    """A chat template, and what goes into it besides the prompts.

    Attributes:
        tokenizer: folder of the tokenizer whose special tokens the template names.
        template: Jinja text.
        date: what the template's clock says.
        system_prompt: what stands before the user's turn.
    """

    tokenizer: Path
    template: str
    date: str = DATE
    system_prompt: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def chat(self) -> Chat:
        """The template at work.

        Raises:
            BadInput: the tokenizer cannot be read.
        """
        from bfpo_bench.engines.tokenization import load_tokenizer

        return Chat(
            load_tokenizer(self.tokenizer, self.trust_remote_code), self.template, self.date
        )

    @cached_property
    def date_used(self) -> str | None:
        """The date that prompts hold; None where they hold none."""
        return self.chat.date(self.system_prompt)

    def identity(self) -> dict[str, Any]:
        """What prompts depend on besides the user's text and the system prompt.

        A date is named only where prompts hold one: other runs are what they were before there was
        a choice of it.
        """
        own = {"chat_template": hashlib.sha256(self.template.encode()).hexdigest()[:16]}
        return own if self.date_used is None else {**own, "date": self.date_used}

    @property
    def marks(self) -> list[str]:
        """What a reader of the results must know."""
        if self.date_used is None:
            return []
        return [f"the chat template writes a date into prompts: {self.date_used} (--date)"]
