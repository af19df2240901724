"""One keep-alive connection to a server.

No exception that leaves this module was raised by, or chained to, the HTTP library: its frames
hold the request's headers, and with them the key, and a traceback with locals would show them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from bfpo_bench.client.server import Server
from bfpo_bench.common.errors import BadInput

CONNECT_SECONDS = 15.0
MOST_BYTES = 64 << 20
"""Longest body that is read: an echoed prompt of 100,000 tokens is a quarter of that."""


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
        connected: the server was reached.
    """

    def __init__(self, reason: str, hopeless: bool = False, connected: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hopeless = hopeless
        self.connected = connected


class Connection:
    """Sends one request at a time; :meth:`abort` may be called from another thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._url = urlsplit(server.base_url)
        self._proxy = None if server.is_local else _proxy(self._url)
        self._http: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._aborted = False

    def exchange(self, method: str, path: str, body: bytes | None) -> Answer:
        """Sends a request and reads the answer, whatever its status.

        Raises:
            Broken: no answer, or not all of it, within the server's time-out.
        """
        kept_alive = self._http is not None
        answer, closed_on_us = self._attempt(method, path, body)
        if kept_alive and closed_on_us:
            # A server may drop an idle connection at any time; that is no failure of the request.
            answer, _ = self._attempt(method, path, body)
        # Raised here, outside every `except`: see the module's text.
        if isinstance(answer, Broken):
            raise answer
        return answer

    def abort(self) -> None:
        """Ends a request under way in another thread, and all later ones."""
        self._aborted = True
        # The other thread may close the connection at this very moment.
        line = self._socket
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
        self._http = self._socket = None

    def _attempt(self, method: str, path: str, body: bytes | None) -> tuple[Answer | Broken, bool]:
        """The answer or what went wrong, and whether the server had closed the connection."""
        connected = self._http is not None
        deadline = time.monotonic() + self._server.timeout
        try:
            if self._http is None:
                self._http = self._open()
                self._http.connect()
                connected = True
            self._socket = self._http.sock
            if self._aborted:
                raise ConnectionAbortedError("stopped")
            self._socket.settimeout(self._server.timeout)
            self._send(self._http, method, path, body)
            answer = self._read(self._http, self._socket, deadline)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            return Broken(self._one_line(error, connected), connected=connected), True
        except Exception as error:
            self.close()
            hopeless = isinstance(error, ssl.SSLCertVerificationError)
            return Broken(self._one_line(error, connected), hopeless, connected), False
        return answer, False

    def _open(self) -> http.client.HTTPConnection:
        encrypted = self._url.scheme == "https"
        host = self._url.hostname or ""
        port = self._url.port or (443 if encrypted else 80)
        proxy = self._proxy
        near = (host, port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
        if not encrypted:
            return http.client.HTTPConnection(*near, timeout=CONNECT_SECONDS)
        line = http.client.HTTPSConnection(
            *near, timeout=CONNECT_SECONDS, context=ssl.create_default_context()
        )
        if proxy is not None:
            line.set_tunnel(host, port, headers=_proxy_headers(proxy))
        return line

    def _send(
        self, line: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> None:
        target = f"{self._url.path}/{path}"
        headers = {"Accept": "application/json", "User-Agent": "bfpo-bench"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        proxy = self._proxy
        if proxy is not None and self._url.scheme == "http":
            target = f"http://{self._url.netloc}{target}"
            headers |= _proxy_headers(proxy)
            headers["Host"] = self._url.netloc
        if self._server.key is not None:
            headers["Authorization"] = f"Bearer {self._server.key.reveal()}"
        line.request(method, target, body=body, headers=headers)

    def _read(
        self, line: http.client.HTTPConnection, sock: socket.socket, deadline: float
    ) -> Answer:
        response = line.getresponse()
        pieces: list[bytes] = []
        size = 0
        # Piece by piece: the socket's time-out starts anew with every byte, the deadline does not.
        while piece := response.read1(1 << 16):
            pieces.append(piece)
            size += len(piece)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if size > MOST_BYTES:
                raise ValueError(f"the answer is longer than {MOST_BYTES >> 20} MiB")
            sock.settimeout(left)
        if response.length:
            raise ValueError(f"the answer broke off after {size} bytes, {response.length} missing")
        response.close()
        if response.will_close:
            self.close()
        # A server that quotes the key, in an answer or in a complaint, must not get it into the
        # run directory or a traceback.
        redact = self._server.redact
        headers = {name.lower(): redact(value) for name, value in response.getheaders()}
        return Answer(response.status, headers, self._server.redact_bytes(b"".join(pieces)))

    def _one_line(self, error: Exception, connected: bool) -> str:
        if isinstance(error, TimeoutError):
            what, limit = (
                ("answer", self._server.timeout) if connected else ("connection", CONNECT_SECONDS)
            )
            return f"no {what} within {limit:g} s"
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, http.client.HTTPException):
            text = f"{type(error).__name__}: {text}"
        return self._server.redact(text)[:200]


def _proxy(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY …)."""
    host = url.hostname or ""
    named = urllib.request.getproxies().get(url.scheme)
    if not named or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http":
        raise BadInput(
            f"the {url.scheme} proxy of the environment is of kind {proxy.scheme!r}; only http "
            "proxies can be used."
        )
    return proxy


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode('ascii')}"}
