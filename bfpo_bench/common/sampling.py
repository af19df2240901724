"""How a response is drawn: what suites and red teamings ask for, and engines do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sampling:
    """How a response is drawn: ``temperature == 0`` is greedy, ``top_p == 1`` keeps all tokens."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON has them: part of what an answer depends on."""
        return {**vars(self), "stop": list(self.stop)}
