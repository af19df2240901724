"""Whether a reasoning model is to think before it answers, and how it is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.thoughts import HARMONY, Marks

_WRITTEN = re.compile(r"budget[ :=](\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Thinking:
    """What ``--thinking`` asks for.

    Attributes:
        mode: ``"auto"``: whatever the model does by itself.
        tokens: with ``"budget"``: the room of a thought, beyond that of the answer.
    """

    mode: Literal["auto", "on", "off", "budget"] = "auto"
    tokens: int = 0

    @classmethod
    def parse(cls, text: str) -> Thinking:
        """``auto``, ``on``, ``off`` or ``budget:N`` (``budget N``).

        Raises:
            BadInput: it is none of these.
        """
        if text in ("auto", "on", "off"):
            return cls(text)  # type: ignore[arg-type]
        found = _WRITTEN.fullmatch(text)
        if found is None or int(found[1]) < 1:
            raise BadInput(
                f"--thinking is auto, on, off or budget:N with at least 1 token, not {text!r}."
            )
        return cls("budget", int(found[1]))

    @property
    def wanted(self) -> bool:
        """Whether the model is told to think, where it is told anything."""
        return self.mode != "off"

    def identity(self) -> dict[str, str]:
        """The part of an identity that it is: nothing where nothing was asked for."""
        if self.mode == "auto":
            return {}
        return {"thinking": f"budget {self.tokens}" if self.tokens else self.mode}

    def to_server(self) -> list[dict[str, Any]]:
        """Fields of a request that tell a server, the ones that most servers know first."""
        told = {"enable_thinking": self.wanted, "thinking": self.wanted}
        efforts = ("medium",) if self.wanted else ("none", "minimal")
        return [{"chat_template_kwargs": told}, *({"reasoning_effort": one} for one in efforts)]


AUTO = Thinking()

_SWITCHES: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("enable_reasoning", True, False),
    ("thinking_mode", "on", "off"),
    ("thinking_budget", -1, 0),
    ("reasoning_effort", "high", "none"),
)
"""Variables of chat templates with what turns thoughts on and off."""


def switch(
    write: Callable[[dict[str, Any]], str], template: str, thinking: Thinking, marks: Marks | None
) -> dict[str, Any]:
    """The variables by which a chat template is told whether to have the model think.

    Args:
        write: renders a trial message with such variables.
        marks: of the model's thoughts; None where none are known.

    Raises:
        BadInput: the template has no such variable, so that it cannot be told.
    """
    if thinking.mode == "auto":
        return {}
    for name, on, off in _SWITCHES:
        if not re.search(rf"\b{name}\b", template):
            continue
        if name == "reasoning_effort" and marks is HARMONY:
            # It knows how much to think, and not how not to.
            continue
        if write({name: on}) == write({name: off}):
            continue
        if name == "thinking_budget" and thinking.tokens:
            return {name: thinking.tokens}
        return {name: on if thinking.wanted else off}
    if thinking.mode == "off":
        raise BadInput(
            "the chat template knows no switch for thoughts (enable_thinking or the like), so "
            "--thinking off cannot be told to the model; leave it out, or give a template that "
            "does with --chat-template FILE."
        )
    if marks is None:
        raise BadInput(
            f"neither the chat template nor the tokenizer knows thoughts, so --thinking "
            f"{thinking.mode} has nothing to switch on; leave it out."
        )
    return {}
