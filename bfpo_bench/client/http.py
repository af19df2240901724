"""One keep-alive connection to a server, on httpx2; which failures are worth another try, and when.

Time-outs, TLS and the environment's proxies are httpx2's. No exception that leaves this module was
raised by, or chained to, the HTTP library: its frames hold the request's headers, and with them the
key, and a traceback with locals would show them.
"""

from __future__ import annotations

import functools
import logging
import random
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from bfpo_bench.client.server import Server
from bfpo_bench.common.errors import BadInput

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 15.0
MOST_BYTES = 64 << 20
"""Longest body that is read: an echoed prompt of 100,000 tokens is a quarter of that."""

_chance = random.Random()
"""Own generator: waiting must not disturb anybody's seeded random numbers."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response, whole. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Broken(Exception):
    """No whole answer came.

    Attributes:
        reason: one line.
        hopeless: another try will end the same (an untrusted certificate).
        stale: an idle connection was closed before anything came back on it.
    """

    def __init__(self, reason: str, hopeless: bool, stale: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hopeless = hopeless
        self.stale = stale


class Connection:
    """Sends one request at a time; :meth:`abort` may be called from another thread.

    Raises:
        BadInput: the environment names a proxy that cannot be used.
    """

    def __init__(self, server: Server) -> None:
        import httpx2

        # Neither a line for every request nor, in detail, the headers of every answer.
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._server = server
        self._socket: socket.socket | None = None
        self._aborted = False
        try:
            self._client = httpx2.Client(
                verify=_trusted() if server.base_url.startswith("https:") else False,
                # A proxy does not know this machine's own servers.
                trust_env=not server.is_local,
            )
        except (ImportError, ValueError):
            # Its text is left out: it may hold the proxy's password.
            raise BadInput(
                "the proxy that the environment names (HTTPS_PROXY and the like) is of a kind that "
                "cannot be used; name an http or https one."
            ) from None
        # Taking a URL apart takes as long as all the rest of a small request.
        self._url = functools.cache(httpx2.URL)
        self._timeout = httpx2.Timeout(server.timeout, connect=CONNECT_SECONDS).as_dict()

    def exchange(self, method: str, path: str, body: bytes | None) -> Answer:
        """Sends a request and reads the answer, whatever its status.

        Raises:
            Broken: no answer, or not all of it, within the server's time-out.
        """
        answer = self._attempt(method, path, body)
        if isinstance(answer, Broken) and answer.stale:
            # A server may drop an idle connection at any time; that is no failure of the request.
            answer = self._attempt(method, path, body)
        # Raised here, outside every `except`: see the module's text.
        if isinstance(answer, Broken):
            raise answer
        return answer

    def abort(self) -> None:
        """Ends a request under way in another thread, and all later ones."""
        self._aborted = True
        line = self._socket
        if line is not None:
            # The other thread may close the connection at this very moment.
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _attempt(self, method: str, path: str, body: bytes | None) -> Answer | Broken:
        from httpx2 import NetworkError, RemoteProtocolError, Request

        reused, answered = True, False

        def notice(event: str, info: Mapping[str, Any]) -> None:
            """Keeps the line that is being opened: :meth:`abort` needs it."""
            nonlocal reused
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                reused = False
                self._socket = info["return_value"].get_extra_info("socket")
                if self._aborted:
                    raise ConnectionAbortedError("stopped")

        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= {"User-Agent": "bfpo-bench", "Content-Type": "application/json"}
        if self._server.key is not None:
            headers["Authorization"] = f"Bearer {self._server.key.reveal()}"
        deadline = time.monotonic() + self._server.timeout
        try:
            if self._aborted:
                raise ConnectionAbortedError("stopped")
            request = Request(
                *(method, self._url(f"{self._server.base_url}/{path}")),
                headers=headers,
                content=body,
                extensions={"timeout": self._timeout, "trace": notice},
            )
            response = self._client.send(request, stream=True)
            answered = True
            with closing(response):
                return self._read(response, deadline)
        except Exception as error:
            stale = reused and not answered and not self._aborted
            return Broken(
                self._one_line(error),
                hopeless=_distrusted(error),
                stale=stale and isinstance(error, NetworkError | RemoteProtocolError),
            )

    def _read(self, response: httpx2.Response, deadline: float) -> Answer:
        pieces: list[bytes] = []
        size = 0
        # Piece by piece: the library's time-out starts anew with every piece, the deadline not.
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if time.monotonic() > deadline:
                raise TimeoutError
            if size > MOST_BYTES:
                raise ValueError(f"an answer longer than {MOST_BYTES >> 20} MiB")
        # A server that quotes the key, in an answer or in a complaint, must not get it into the
        # run directory or a traceback.
        redact = self._server.redact
        headers = {name.lower(): redact(value) for name, value in response.headers.multi_items()}
        return Answer(response.status_code, headers, self._server.redact_bytes(b"".join(pieces)))

    def _one_line(self, error: Exception) -> str:
        import httpx2

        if isinstance(error, httpx2.ConnectTimeout):
            return f"no connection within {CONNECT_SECONDS:g} s"
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return f"no answer within {self._server.timeout:g} s"
        text = " ".join(str(error).split()) or type(error).__name__
        return self._server.redact(text)[:200]


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that this machine trusts; reading them takes longer than a request."""
    return ssl.create_default_context()


def _distrusted(error: BaseException | None) -> bool:
    """Whether a certificate is what an exception of the HTTP library is about."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def worth_another_try(status: int) -> bool:
    """Whether an HTTP status can be different next time (501 says that it will not)."""
    return status in (408, 429) or (status >= 500 and status != 501)


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1).

    Exponential, with up to half of it taken off at random so that many clients that failed
    together do not come back together.
    """
    # The exponent is bounded: 2.0 ** 1024 overflows.
    whole = min(longest, first * 2.0 ** min(attempt - 1, 60))
    return whole * (0.5 + 0.5 * _chance.random())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, 10.2.3); None where it does not, or unclearly.

    Args:
        headers: names in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = _seconds(text)
        # Counted by the server's own clock where it shows it: ours may be wrong.
        now = _seconds(headers.get("date", ""))
        if date is None:
            return None
        seconds = date - (time.time() if now is None else now)
    # NaN and infinity are floats too, but no time to wait.
    return max(0.0, seconds) if seconds < float("inf") else None


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
