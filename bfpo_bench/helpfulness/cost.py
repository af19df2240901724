"""What annotation costs, said before it is paid for, and where it stops."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.engines.tokenization import GUESS
from bfpo_bench.helpfulness.annotation import Instruction
from bfpo_bench.helpfulness.annotator_config import AnnotatorConfig
from bfpo_bench.models.chat import Messages

MILLION = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """Tokens that an annotator reads and writes."""

    read: int = 0
    written: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.read + other.read, self.written + other.written)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.read - other.read, self.written - other.written)


@dataclass(frozen=True)
class Prices:
    """Prices and the most that one command may spend.

    Attributes:
        price_in, price_out: USD per million tokens read and written; None counts tokens.
        max_cost: in USD where there are prices, else in tokens; None: no limit.
    """

    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if (self.price_in is None) != (self.price_out is None):
            raise BadInput(
                "--price-in goes with --price-out: USD per million tokens read, and per million "
                "written."
            )
        for name in ("price_in", "price_out", "max_cost"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise BadInput(f"--{name.replace('_', '-')} must be 0 or more, not {value:g}.")

    def cost(self, tokens: Tokens) -> float:
        """USD, or tokens where no prices are known."""
        if self.price_in is None or self.price_out is None:
            return float(tokens.read + tokens.written)
        return (tokens.read * self.price_in + tokens.written * self.price_out) / MILLION

    def text(self, cost: float) -> str:
        """A cost with its unit."""
        return f"{cost:,.0f} tokens" if self.price_in is None else f"{cost:,.2f} USD"


def guessed_tokens(messages: Messages, max_tokens: int) -> Tokens:
    """Tokens of one question, guessed from its characters, and of its answer, at most."""
    characters = sum(len(message["content"]) for message in messages)
    return Tokens(characters // GUESS + 1, max_tokens)


def expected_tokens(
    config: AnnotatorConfig, instructions: Iterable[Instruction], new_tokens: int
) -> tuple[Tokens, Tokens]:
    """Tokens for annotating responses that are not there yet.

    Args:
        new_tokens: most tokens of a response.

    Returns:
        with responses as long as the reference's outputs, and with all of them at their limit.
    """
    likely, most = Tokens(), Tokens()
    for one in instructions:
        texts = (one.instruction, one.reference_output)
        likely += guessed_tokens(config.messages(*texts, one.reference_output), config.max_tokens)
        most += guessed_tokens(config.messages(*texts, ""), config.max_tokens)
        most += Tokens(new_tokens)
    return likely, most


class Budget:
    """Keeps one command below its limit, with questions under way counted as guessed.

    Questions are promised by one thread and paid by many.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._lock = threading.Lock()
        self.spent = Tokens()
        self._promised = Tokens()

    def require(self, tokens: Tokens, pairs: int) -> None:
        """Raises BadInput where the whole work would cost more than the limit."""
        limit = self.prices.max_cost
        cost = self.prices.cost(tokens)
        if limit is not None and cost > limit:
            raise BadInput(
                f"annotating {pairs:,} pairs takes about {tokens.read:,} tokens to read and at "
                f"most {tokens.written:,} to write, {self.prices.text(cost)} in all, more than "
                f"--max-cost {limit:g}; raise it, or annotate a sample with --limit."
            )

    def reached(self, left: int) -> RunFailed:
        """What is to be said where so many pairs are left when the limit is reached."""
        return RunFailed(
            f"--max-cost {self.prices.max_cost:g} is reached: {self.spent_text()} were spent and "
            f"{left} pairs are not annotated yet; what was paid for is kept, so raise the limit "
            "and run the same command again."
        )

    def spent_text(self) -> str:
        """What was spent, with its unit; empty where nothing was."""
        cost = self.prices.cost(self.spent)
        return self.prices.text(cost) if cost else ""

    def promise(self, tokens: Tokens) -> bool:
        """Whether a question may be asked; it then counts until :meth:`pay`."""
        limit = self.prices.max_cost
        with self._lock:
            due = self.spent + self._promised + tokens
            if limit is not None and self.prices.cost(due) > limit:
                return False
            self._promised += tokens
        return True

    def pay(self, promised: Tokens, read: int | None, written: int | None) -> None:
        """A question was answered; what the endpoint counted takes the guess's place."""
        counted = Tokens(
            promised.read if read is None else read,
            (0 if read == 0 else promised.written) if written is None else written,
        )
        with self._lock:
            self._promised -= promised
            self.spent += counted
