"""One keep-alive connection to a server, on httpx2; which failures are worth another try, and when.

Time-outs, TLS and the environment's proxies are httpx2's. No exception that leaves this module was
raised by, or chained to, the HTTP library: its frames hold the request's headers, and with them the
key, and a traceback with locals would show them.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from bfpo_bench.client.deadline import watched
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
        self._lock = threading.Lock()
        self._deadline = math.inf
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
        watched(self)

    def exchange(self, method: str, path: str, body: bytes | None) -> Answer:
        """Sends a request and reads the answer, whatever its status.

        Raises:
            Broken: no answer, or not all of it, within the server's time-out.
        """
        self._set_deadline(time.monotonic() + self._server.timeout)
        answer = self._attempt(method, path, body)
        if isinstance(answer, Broken) and answer.stale:
            # A server may drop an idle connection at any time; that is no failure of the request.
            answer = self._attempt(method, path, body)
        self._set_deadline(math.inf)
        # Raised here, outside every `except`: see the module's text.
        if isinstance(answer, Broken):
            raise answer
        return answer

    def abort(self) -> None:
        """Ends a request under way in another thread, and all later ones."""
        self._aborted = True
        self._cut_off()

    def end_overdue(self) -> None:
        """Ends a request under way in another thread, if its time is up."""
        # Locked: the next request on this connection must not be the one that is hit.
        with self._lock:
            if self._overdue:
                self._cut_off()

    @property
    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline

    def _set_deadline(self, deadline: float) -> None:
        with self._lock:
            self._deadline = deadline

    def _cut_off(self) -> None:
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
                if self._overdue:
                    raise TimeoutError

        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= {"User-Agent": "bfpo-bench", "Content-Type": "application/json"}
        if self._server.key is not None:
            headers["Authorization"] = f"Bearer {self._server.key.reveal()}"
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
                return self._read(response)
        except Exception as error:
            stale = reused and not answered and not (self._aborted or self._overdue)
            return Broken(
                self._one_line(error),
                hopeless=_distrusted(error),
                stale=stale and isinstance(error, NetworkError | RemoteProtocolError),
            )

    def _read(self, response: httpx2.Response) -> Answer:
        body = bytearray()
        try:
            # As it came: a library that unpacks it would do so without a limit.
            for piece in response.iter_raw():
                body += piece
                if len(body) > MOST_BYTES:
                    raise _too_long()
            content = _unpacked(bytes(body), response.headers.get("content-encoding", ""))
        except Exception:
            content = bytes(body)
            # What was paid for is kept, though what should come after it does not.
            if not _is_whole(content):
                raise
        # A server that quotes the key, in an answer or in a complaint, must not get it into the
        # run directory or a traceback.
        redact = self._server.redact
        headers = {name.lower(): redact(value) for name, value in response.headers.multi_items()}
        return Answer(response.status_code, headers, self._server.redact_bytes(content))

    def _one_line(self, error: Exception) -> str:
        import httpx2

        if isinstance(error, httpx2.ConnectTimeout):
            return f"no connection within {CONNECT_SECONDS:g} s"
        if self._overdue or isinstance(error, TimeoutError | httpx2.TimeoutException):
            return f"no answer within {self._server.timeout:g} s"
        text = " ".join(str(error).split()) or type(error).__name__
        return self._server.redact(text)[:200]


def _too_long() -> ValueError:
    return ValueError(f"an answer longer than {MOST_BYTES >> 20} MiB")


def _unpacked(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was packed, which nobody asked for and some servers do."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"an answer packed as {encoding[:20]!r}, which was not asked for")
    # 32: zlib's and gzip's headers are told apart by zlib itself.
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise _too_long()
    return unpacked


def _is_whole(body: bytes) -> bool:
    """Whether a body is a JSON object, of which no beginning is one."""
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


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
