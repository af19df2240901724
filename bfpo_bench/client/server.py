"""Where a server is, and how patiently it is asked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from bfpo_bench.client.secret import Secret
from bfpo_bench.common.errors import BadInput

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Server:
    """A server that speaks the OpenAI protocol.

    Attributes:
        base_url: what stands before ``/completions``, usually ending in ``/v1``; kept without a
            slash at the end, and never with a user name or key in it.
        key: sent as bearer token; None sends none.
        timeout: seconds an answer may take.
        tries: attempts at one request before it is given up.
        first_delay: seconds before the second attempt; doubled for each further one.
        longest_delay: seconds that this doubling stops at.
    """

    base_url: str
    key: Secret | None = None
    timeout: float = 300.0
    tries: int = 10
    first_delay: float = 1.0
    longest_delay: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _checked(self.base_url))
        if self.key is not None and self.base_url.startswith("http:") and not self.is_local:
            log.warning("the API key goes to %s unencrypted; use https if it can", self.base_url)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    def redact(self, text: str) -> str:
        """`text` without the key."""
        return self.key.redact(text) if self.key is not None else text

    def redact_bytes(self, data: bytes) -> bytes:
        """`data` without the key."""
        return self.key.redact_bytes(data) if self.key is not None else data


def _checked(url: str) -> str:
    example = "give one such as http://localhost:8000/v1 or https://api.openai.com/v1."
    try:
        parts = urlsplit(url.strip())
        # Looked at for its ValueError: a port that is no number.
        _ = parts.port
    except ValueError as error:
        raise BadInput(f"the base URL is malformed ({error}); {example}") from None
    if parts.username is not None or parts.password is not None:
        raise BadInput(
            "the base URL holds a user name or password, which would end up in the run directory; "
            "put the server's key into the environment variable OPENAI_API_KEY instead."
        )
    if parts.query or parts.fragment:
        raise BadInput(
            "the base URL may not hold a query (?…) or fragment (#…); give what stands before "
            "/chat/completions, such as http://localhost:8000/v1."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{url!r} is no base URL; {example}")
    if any(not "!" <= character <= "~" for character in parts.netloc + parts.path):
        raise BadInput(f"{url!r} holds blanks or letters that a URL must quote; {example}")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
