"""One connection to a server: kept, proxied, encrypted, never showing the key; and when a server is
asked again: closed forms and RFC 9110's examples.
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from bfpo_bench.client import Caller, GaveUp, Server, http
from bfpo_bench.client.http import backoff, retry_after, worth_another_try
from bfpo_bench.common.errors import BadInput
from tests.client.clock import Clock
from tests.client.fake_server import FakeServer, Handler, serving
from tests.client.test_caller import GOOD, impatient, text

CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""Made by `openssl req -x509` for these tests, with its key; trusted by nobody until 2120."""


@pytest.mark.parametrize("attempt", [1, 2, 3, 6, 7, 20, 5000])
def test_backoff_doubles_up_to_a_limit_and_varies(attempt: int) -> None:
    whole = min(60.0, 2.0 ** min(attempt - 1, 60))
    drawn = [backoff(attempt, 1.0, 60.0) for _ in range(200)]
    assert whole / 2 <= min(drawn) < max(drawn) <= whole


def test_waiting_leaves_seeded_random_numbers_alone() -> None:
    import random

    random.seed(7)
    expected = random.random()
    random.seed(7)
    backoff(3, 1.0, 60.0)
    assert random.random() == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("1.5", 1.5), ("-3", 0), ("", None), ("soon", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize("value", ["inf", "nan", "1e999", "Fri, 99 Foo 2026 25:00:00 GMT"])
def test_retry_after_that_is_no_time(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_retry_after_as_a_date_counts_by_the_servers_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = {
        "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
        "date": "Fri, 31 Dec 1999 23:59:29 GMT",
    }
    assert retry_after(headers) == 30
    assert retry_after({"retry-after": headers["retry-after"]}) == 0
    # Where it does not tell the time, ours is the next best.
    monkeypatch.setattr(http, "time", SimpleNamespace(time=lambda: 1_000_000_000.0))
    soon = formatdate(1_000_000_040, usegmt=True)
    assert retry_after({"retry-after": soon}) == 40


def test_which_failures_are_worth_another_try() -> None:
    again = [status for status in range(100, 600) if worth_another_try(status)]
    assert again == [408, 429, 500, *range(502, 600)]


def test_the_connection_is_kept_and_a_stale_one_costs_no_try() -> None:
    ports = set()

    def act(handler: Handler) -> None:
        ports.add(handler.client_address[1])
        handler.reply(GOOD)
        if handler.number == 5:
            # As servers do with idle connections: closed without notice.
            handler.drop()

    with serving(act) as server:
        caller = Caller(impatient(server.url, tries=1))
        for _ in range(10):
            assert caller.get("models", text) == "here"
        assert len(ports) == 2
        caller.close()


def test_endless_answers_are_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1 << 20)
    with (
        serving(lambda handler: handler.reply(b" " * (3 << 20))) as server,
        pytest.raises(GaveUp, match="longer than 1 MiB"),
    ):
        Caller(impatient(server.url, tries=1)).get("models", text)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(json.dumps(GOOD)), json.dumps(GOOD).encode())
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK


DRIPS: dict[str, tuple[bytes, bytes, bool]] = {
    "line": (b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99, False),
    "headers": (HEAD, b"X-A: b\r\n", False),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", False),
    "chunk": (CHUNKED[:-9], b"1\r\n1\r\n", False),
    "body": (HEAD + b"Content-Length: 999\r\n\r\n", b" ", False),
    "end": (HEAD + b"\r\n" + json.dumps(GOOD).encode(), b" ", True),
    "blanks": (CHUNKED, b"1\r\n \r\n", True),
    "trailers": (CHUNKED + b"0\r\n", b"X-A: b\r\n", True),
}
"""What comes at once, what comes drop by drop, and whether an answer is in it."""


@pytest.mark.parametrize(
    ("part", "secure"),
    [*((part, False) for part in DRIPS), ("headers", True), ("trailers", True)],
)
def test_one_deadline_for_an_answer_whatever_is_dripped(
    part: str, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some byte comes every 10 ms, for as long as somebody listens."""
    before, dripped, kept = DRIPS[part]
    monkeypatch.setattr(http, "_trusted", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    clock, over = Clock(monkeypatch), threading.Event()

    def act(handler: Handler) -> None:
        handler.wfile.write(before)
        until = time.monotonic() + 30
        while not over.is_set() and time.monotonic() < until:
            for byte in dripped:
                handler.wfile.write(bytes([byte]))
                # What was there at once has come; now the time is up.
                clock.ahead = 120.0
                over.wait(0.01)
        handler.close_connection = True

    with encrypted(act) if secure else serving(act) as server:
        url = f"https://localhost:{server.server_port}/v1" if secure else server.url
        caller = Caller(impatient(url, tries=1, timeout=60))
        begun = time.monotonic()
        if kept:
            # It is whole, and paid for; only its end is not.
            assert caller.get("models", text) == "here"
        else:
            with pytest.raises(GaveUp, match=r"no answer within 60 s"):
                caller.get("models", text)
        assert time.monotonic() - begun < 20, "the end was waited for"
        over.set()
        assert len(server.seen) == 1


def test_a_deadline_ends_its_own_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection, kept for longer than a single answer may take."""
    clock, ports = Clock(monkeypatch), set()

    def act(handler: Handler) -> None:
        ports.add(handler.client_address[1])
        handler.reply(GOOD)

    with serving(act) as server:
        caller = Caller(impatient(server.url, tries=1, timeout=60))
        for _ in range(4):
            assert caller.get("models", text) == "here"
            clock.ahead += 40
            caller._connection.end_overdue()
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", gzip.compress(json.dumps(GOOD).encode()), ""),
        ("deflate", zlib.compress(json.dumps(GOOD).encode()), ""),
        ("gzip", gzip.compress(b" " * (3 << 20)), "longer than 1 MiB"),
        ("gzip", b"\x1f\x8b no such thing", "incorrect|invalid|unknown"),
        ("br", b"\x00" * 99, "packed as 'br', which was not asked for"),
    ],
)
def test_packed_answers_have_the_limit_of_others(
    encoding: str, body: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1 << 20)
    with serving(lambda handler: handler.reply(body, Content_Encoding=encoding)) as server:
        caller = Caller(impatient(server.url, tries=1))
        if says:
            with pytest.raises(GaveUp, match=says):
                caller.get("models", text)
        else:
            assert caller.get("models", text) == "here"


def test_proxies_of_the_environment_are_used_but_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(lambda handler: handler.reply(GOOD)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:pass%20word@127.0.0.1:{proxy.server_port}")
        far = Server("http://far.example:81/v1", tries=1)
        assert Caller(far).get("models", text) == "here"
        path, headers, _ = proxy.seen[0]
        assert path == "http://far.example:81/v1/models"
        assert headers["host"] == "far.example:81"
        assert headers["proxy-authorization"] == "Basic bWU6cGFzcyB3b3Jk"
        with serving(lambda handler: handler.reply(GOOD)) as near:
            assert Caller(impatient(near.url)).get("models", text) == "here"
            assert "proxy-authorization" not in near.seen[0][1]
        assert len(proxy.seen) == 1


@pytest.mark.parametrize("proxy", ["socks4://me:sesame@127.0.0.1:1", "://sesame"])
def test_other_proxies_are_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(BadInput) as caught:
        Caller(Server("http://far.example/v1", tries=1))
    assert str(caught.value) == (
        "the proxy that the environment names (HTTPS_PROXY and the like) is of a kind that cannot "
        "be used; name an http or https one."
    )


@contextmanager
def encrypted(act: Callable[[Handler], None]) -> Iterator[FakeServer]:
    """A server with a certificate that it has made for itself."""
    with serving(act) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


def test_an_untrusted_certificate_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[object] = []
    monkeypatch.setattr(Caller, "_pause", lambda *args: pauses.append(args))
    with encrypted(lambda handler: handler.reply(GOOD)) as server:
        url = f"https://localhost:{server.server_port}/v1"
        with pytest.raises(GaveUp) as caught:
            Caller(Server(url, tries=5)).get("models", text)
        assert not pauses
        assert not server.seen
        assert f"{url}/models cannot be asked (last: " in str(caught.value)
        assert "certificate" in str(caught.value)
        trusted = ssl.create_default_context(cafile=CERTIFICATE)
        monkeypatch.setattr(http, "_trusted", lambda: trusted)
        assert Caller(Server(url, tries=1)).get("models", text) == "here"
