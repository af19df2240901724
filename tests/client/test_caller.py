"""One question to a server that misbehaves."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bfpo_bench.client import Caller, GaveUp, Malformed, Refused, Secret, Server
from tests.client.fake_server import Handler, serving

GOOD = {"choices": [{"text": "here"}]}


def text(reply: Any) -> str:
    """Reads the good answer; anything else is none."""
    try:
        return str(reply["choices"][0]["text"])
    except (KeyError, IndexError, TypeError):
        raise Malformed("no text") from None


def impatient(url: str, tries: int = 3, timeout: float = 60.0) -> Server:
    return Server(url, None, timeout=timeout, tries=tries, first_delay=0.01, longest_delay=0.02)


def test_a_caller_that_was_stopped_while_it_waits_asks_no_more() -> None:
    stop = threading.Event()

    def act(handler: Handler) -> None:
        handler.reply(b"", 503, Retry_After="600")
        threading.Timer(0.1, stop.set).start()

    with serving(act) as server:
        # Nobody aborts the connection: that comes a moment after the event.
        with pytest.raises(GaveUp):
            Caller(impatient(server.url), stop).post("completions", {}, text)
        assert len(server.seen) == 1


def faults() -> dict[str, Callable[[Handler], None]]:
    return {
        "dropped": Handler.drop,
        "429": lambda h: h.reply({"error": {"message": "slow down"}}, 429, Retry_After="0"),
        "408": lambda h: h.reply(b"", 408),
        "500": lambda h: h.reply(b"<html>oops</html>", 500),
        "503": lambda h: h.reply({"message": "loading"}, 503),
        "half": lambda h: h.half(GOOD),
        "half of a chunk": lambda h: h.half_chunked(GOOD),
        "no JSON": lambda h: h.reply(b"<html>welcome</html>"),
        "JSON cut off": lambda h: h.reply(b'{"choices": [{"te'),
        "no UTF-8": lambda h: h.reply(b'{"choices": "\xff\xfe"}'),
        "too deep": lambda h: h.reply(b"[" * 200_000),
        "other JSON": lambda h: h.reply([1, 2]),
        "no choices": lambda h: h.reply({"choices": []}),
        "error within 200": lambda h: h.reply({"error": {"message": "upstream"}}),
        "no content": lambda h: h.reply(b"", 204),
        "no HTTP": lambda h: (h.wfile.write(b"220 mail.example ESMTP\r\n\r\n"), h.drop())[1],
    }


@pytest.mark.parametrize("fault", faults())
def test_faults_are_overcome(fault: str) -> None:
    def act(handler: Handler) -> None:
        if handler.number <= 2:
            faults()[fault](handler)
        else:
            handler.reply(GOOD)

    with serving(act) as server:
        assert Caller(impatient(server.url)).post("completions", {"a": 1}, text) == "here"
        assert [content for _, _, content in server.seen] == [{"a": 1}] * 3


@pytest.mark.parametrize("fault", faults())
def test_faults_that_stay_end_the_run_and_say_what_they_were(fault: str) -> None:
    with serving(lambda handler: faults()[fault](handler)) as server:
        with pytest.raises(GaveUp, match="2 times without a usable answer") as caught:
            Caller(impatient(server.url, tries=2)).post("completions", {}, text)
        assert f"{server.url}/completions" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(server.seen) == 2


def test_slow_answers_are_given_up_by_the_clock() -> None:
    release = threading.Event()

    def trickle(handler: Handler) -> None:
        """Byte after byte, so that the socket never times out; whole, and good, in the end."""
        body = json.dumps(GOOD).encode().ljust(1200)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            release.wait(0.05)

    def late(handler: Handler) -> None:
        release.wait(60)
        handler.reply(GOOD)

    for act in (trickle, late):
        with serving(act) as server:
            # Whoever waits for the end gets the good answer.
            with pytest.raises(GaveUp, match=r"no answer within 0\.4 s"):
                Caller(impatient(server.url, tries=1, timeout=0.4)).get("models", text)
            release.set()
            release.clear()


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999", "NaN"])
def test_an_absurd_number_does_not_cost_the_answer(number: str) -> None:
    body = json.dumps(GOOD)[:-1] + f', "created": {number}}}'
    with serving(lambda handler: handler.reply(body.encode())) as server:
        assert Caller(impatient(server.url, tries=1)).get("models", text) == "here"


def test_nobody_there() -> None:
    with serving(Handler.drop) as server:
        url = server.url
    with pytest.raises(GaveUp, match="Connection refused"):
        Caller(impatient(url, tries=2)).get("models", text)


def test_retry_after_is_waited_for() -> None:
    def act(handler: Handler) -> None:
        if handler.number == 1:
            handler.reply(b"", 429, Retry_After="1")
        elif handler.number == 2:
            now, then = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:51:37 GMT"
            handler.reply(b"", 503, Date=now, Retry_After=then)
        else:
            handler.reply(GOOD)

    class Clock(threading.Event):
        """Lets no time pass."""

        def __init__(self) -> None:
            super().__init__()
            self.waits: list[float | None] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout)
            return self.is_set()

    clock = Clock()
    with serving(act) as server:
        assert Caller(impatient(server.url), clock).get("models", text) == "here"
    assert clock.waits == [1.0, 120.0]


def test_an_empty_purse_is_not_waited_for() -> None:
    quota = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    acts: list[tuple[Callable[[Handler], None], str]] = [
        (lambda h: h.reply(b"", 429, Retry_After="86400"), "asks to wait 86,400 s"),
        (lambda h: h.reply(b"", 503, Retry_After="9" * 300), "asks to wait 1e\\+300 s"),
        (lambda h: h.reply(quota, 429), "no quota left"),
    ]
    for act, says in acts:
        with serving(act) as server:
            with pytest.raises(GaveUp, match=says):
                Caller(impatient(server.url)).get("models", text)
            assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ({"error": {"message": "no\n such  thing", "code": "gone"}}, "gone", "no such thing"),
        ({"object": "error", "message": "no", "type": "Bad", "code": 400}, "400", "no"),
        ({"error": "no"}, "", "no"),
        ({"detail": [{"loc": ["body", "seed"]}]}, "", '[{"loc": ["body", "seed"]}]'),
        (b"<h1>\x1b[31mno</h1>", "", "<h1>[31mno</h1>"),
        (b"", "", ""),
        (b"x" * 5000, "", "x" * 300 + "…"),
    ],
)
def test_a_refusal_ends_it_at_once(content: Any, code: str, message: str) -> None:
    with serving(lambda handler: handler.reply(content, 422)) as server:
        with pytest.raises(Refused) as caught:
            Caller(impatient(server.url)).post("completions", {}, text)
        assert len(server.seen) == 1
        assert (caught.value.status, caught.value.code) == (422, code)
        assert caught.value.message == message
        assert caught.value.exit_code == 2
        shown = f": {message}" if message else ""
        assert f"/completions refused the request (HTTP 422{shown})" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "says"), [(401, "OPENAI_API_KEY"), (404, "/v1"), (302, "sends on to /elsewhere")]
)
def test_refusals_say_what_to_do(status: int, says: str) -> None:
    with (
        serving(lambda handler: handler.reply(b"", status, Location="/elsewhere")) as server,
        pytest.raises(Refused, match=says),
    ):
        Caller(impatient(server.url)).get("models", text)


def test_trouble_is_logged_once_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with (
        serving(lambda handler: handler.reply(b"", 500)) as server,
        caplog.at_level(logging.DEBUG, "bfpo_bench"),
        pytest.raises(GaveUp),
    ):
        Caller(impatient(server.url, tries=5)).get("models", text)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["DEBUG", "DEBUG", "WARNING", "WARNING"]
    assert "HTTP 500" in caplog.text


def test_the_key_is_sent() -> None:
    with serving(lambda handler: handler.reply(GOOD)) as server:
        Caller(Server(server.url, Secret("sk-open-sesame"))).get("models", text)
        assert server.seen[0][1]["authorization"] == "Bearer sk-open-sesame"
        Caller(Server(server.url)).get("models", text)
        assert "authorization" not in server.seen[1][1]
