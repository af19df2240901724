"""Where a server is, how patiently it is asked, and its key, which can be used but is not shown."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from bfpo_bench.common.errors import BadInput

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")

SHORTEST_KEY = 12
"""Shorter ones stand in for a key where none is needed (``x``, ``EMPTY``, ``secret``): no secrets,
and hiding them would hide words."""


class Secret:
    """An API key. Printed, logged, formatted or rendered in a traceback it reads ``***``.

    It cannot be pickled, so it does not get into a file or another process by accident; copies of
    whatever holds it hold the same object.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def from_environment(cls, name: str) -> Secret | None:
        """The key in an environment variable; None where it is unset or empty.

        Raises:
            BadInput: it holds characters that cannot be sent.
        """
        value = os.environ.get(name, "").strip()
        # Checked here because the HTTP library's own complaint would quote the key.
        if any(not "!" <= character <= "~" for character in value):
            # Not among the locals of the frames that a traceback renders.
            del value
            raise BadInput(
                f"the key in {name} holds blanks, line breaks or other characters that no key "
                "has; set it again."
            )
        return cls(value) if value else None

    def reveal(self) -> str:
        """The key itself. Only for the line that sends it."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` with the key blotted out: servers quote it in their complaints."""
        for form in self._forms():
            text = text.replace(form, "***")
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for what came over the line."""
        for form in self._forms():
            data = data.replace(form.encode("ascii"), b"***")
        return data

    def _forms(self) -> tuple[str, ...]:
        """The key as it stands in a text; JSON may write a slash in two ways."""
        if len(self._value) < SHORTEST_KEY:
            return ()
        return (self._value, self._value.replace("/", "\\/"))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


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
        gone: says why it will not answer any more, None while it may; for one that we have started.
    """

    base_url: str
    key: Secret | None = None
    timeout: float = 300.0
    tries: int = 10
    first_delay: float = 1.0
    longest_delay: float = 60.0
    gone: Callable[[], str | None] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _checked(self.base_url))
        if self.key is not None and self.base_url.startswith("http:") and not self.is_local:
            log.warning("the API key goes to %s unencrypted; use https if it can", self.base_url)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return urlsplit(self.base_url).hostname in LOOPBACK

    @property
    def lacks_key(self) -> bool:
        """Whether it will want a key and none is given; one on this machine may do without."""
        return self.key is None and not self.is_local

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
