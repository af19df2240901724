"""An HTTP server on this machine that behaves, or misbehaves, as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """One request; the actions that a test can take on it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeServer
    content: Any = None
    number = 0

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.content = json.loads(self.rfile.read(size)) if size else None
        self.number = self.server.note(self)
        try:
            self.server.act(self)
        except OSError:
            self.close_connection = True

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        """A whole answer: JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        """Closes the connection without a word."""
        self.close_connection = True

    def half(self, content: Any) -> None:
        """The first half of an answer."""
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def half_chunked(self, content: Any) -> None:
        """The same in the other way that HTTP has to send a body."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"40\r\n" + json.dumps(content).encode()[:16])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class FakeServer(ThreadingHTTPServer):
    """Counts and keeps what it is asked; `act` answers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, act: Callable[[Handler], None], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.act = act
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def note(self, handler: Handler) -> int:
        with self._lock:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.seen.append((handler.path, headers, handler.content))
            return len(self.seen)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests hang up all the time."""


@contextmanager
def serving(act: Callable[[Handler], None]) -> Iterator[FakeServer]:
    server = FakeServer(act)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
