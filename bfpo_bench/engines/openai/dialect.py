"""How a server wants to be asked: what it says of itself, and which optional fields it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bfpo_bench.client import GaveUp, Refused, Server, ask
from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.engines.openai.replies import is_count
from bfpo_bench.engines.protocol import NonFiniteLogits

PROBE_TRIES = 5
FIRST_TRIES = 3

NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sampling settings that are no part of the OpenAI protocol and do nothing at these values. Servers
that know them fill them in from the checkpoint's or their own defaults where a request does not."""

AS_IDS = {"return_tokens_as_token_ids": True}


NOT_NUMBERS = "not JSON compliant"
"""From the complaint of vLLM's server about NaN and infinity, which JSON cannot write."""


@dataclass(frozen=True)
class Dialect:
    """How a server wants to be asked at one of its addresses.

    Attributes:
        length: name of the field that limits the response's tokens.
        extras: the optional fields that it takes.
    """

    length: str = "max_tokens"
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """What a server says about itself.

    Attributes:
        names: the models it serves; empty where it does not say.
        max_length: context window of the wanted one in tokens; None where it does not say.
    """

    names: tuple[str, ...] = ()
    max_length: int | None = None


def look_up(server: Server, model: str) -> Served:
    """Makes first contact.

    Raises:
        BadInput: nobody answers there, or the key is refused.
    """

    def read(reply: Any) -> Served:
        listed = reply.get("data") if isinstance(reply, dict) else None
        cards = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
        names = tuple(str(card.get("id")) for card in cards)
        lengths = [card.get("max_model_len") for card in cards if card.get("id") == model]
        # 0 or 1 would leave no room for a question.
        fits = lengths and is_count(lengths[0]) and lengths[0] > 1
        return Served(names, lengths[0] if fits else None)

    try:
        return ask(server, lambda caller: caller.get("models", read, tries=FIRST_TRIES))
    except Refused as error:
        if error.status in (401, 403):
            raise
        # Not every server lists its models; whether it has ours shows with the first request.
        return Served()
    except GaveUp as error:
        if error.status is not None and error.status < 500:
            return Served()
        if error.status is None:
            raise BadInput(
                f"no server answers at {server.base_url} ({error.reason}); start it, or correct "
                "--base-url."
            ) from None
        raise


def settle(
    server: Server,
    path: str,
    body: dict[str, Any],
    extras: dict[str, Any],
    length: int = 1,
    names: Sequence[str] = (),
) -> tuple[Any, Dialect]:
    """Asks with optional fields, and again without those that the server refuses.

    Args:
        extras: the optional fields.
        length: most tokens to generate.
        names: the models that the server lists.

    Returns:
        the decoded answer, and what the server took.

    Raises:
        NonFiniteLogits: the model's log-probabilities are no numbers.
        Refused, GaveUp: whatever is left out, the server does not answer.
    """
    dialect = Dialect(extras=dict(extras))
    while True:
        whole = {**body, dialect.length: length, **dialect.extras}
        try:
            return _ask_once(server, path, whole), dialect
        except (Refused, GaveUp) as error:
            if error.status == 404 and names and body["model"] not in names:
                raise unknown_name(
                    f"model at {server.base_url}", body["model"], names[:10]
                ) from None
            if not_numbers(error):
                raise NonFiniteLogits(0) from None
            # 500: some servers call what they do not know an internal error.
            if error.status not in (400, 422, 500):
                raise
            said = error.message if isinstance(error, Refused) else error.reason
            if dialect.length == "max_tokens" and "max_completion_tokens" in said:
                dialect = Dialect("max_completion_tokens", dialect.extras)
            elif dialect.extras:
                dialect = Dialect(dialect.length, _without(dialect.extras, said))
            else:
                raise


def not_numbers(error: Refused | GaveUp) -> bool:
    """Whether a server failed because the model's log-probabilities are NaN or infinite."""
    return NOT_NUMBERS in (error.message if isinstance(error, Refused) else error.reason)


def _ask_once(server: Server, path: str, body: dict[str, Any]) -> Any:
    return ask(server, lambda caller: caller.post(path, body, lambda reply: reply, PROBE_TRIES))


def _without(extras: dict[str, Any], message: str) -> dict[str, Any]:
    """The optional fields that are left once a refusal's message was heeded."""
    # The seed goes last: without it, responses cannot be had again.
    named = [name for name in extras if re.search(rf"\b{name}\b", message)]
    refused = named or [name for name in extras if name != "seed"] or list(extras)
    return {name: value for name, value in extras.items() if name not in refused}
