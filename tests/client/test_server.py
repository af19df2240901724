"""Addresses, and keys that must not be seen."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle

import pytest

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput

KEY = "sk-planted-0123456789"


def test_a_secret_is_never_written_out() -> None:
    secret = Secret(KEY)
    server = Server("http://localhost:8000/v1", secret)
    copied = copy.deepcopy(server)
    shown = [f"{x!r} {x!s} {x}" for x in (secret, server, copied, dataclasses.asdict(server))]
    assert not any(KEY in text for text in shown)
    assert copied.key is secret
    assert copy.copy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(server)
    assert secret.reveal() == KEY
    assert secret.redact(f"Incorrect API key: {KEY}.") == "Incorrect API key: ***."
    assert Secret("sk/a+b/0123456").redact_bytes(b'"sk\\/a+b\\/0123456"') == b'"***"'
    assert Secret("x").redact("six boxes") == "six boxes"


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    found = Secret.from_environment("MY_KEY")
    assert found is not None
    assert found.reveal() == KEY
    monkeypatch.setenv("MY_KEY", "")
    assert Secret.from_environment("MY_KEY") is None
    monkeypatch.delenv("MY_KEY")
    assert Secret.from_environment("MY_KEY") is None


@pytest.mark.parametrize("value", ["sk-a\nb-0123456789", "sk-ключ-0123456789", "sk a"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(BadInput, match="the key in MY_KEY holds blanks, line breaks or") as caught:
        Secret.from_environment("MY_KEY")
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        (" https://api.openai.com/v1 ", "https://api.openai.com/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_urls(given: str, kept: str) -> None:
    assert Server(given).base_url == kept


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("localhost:8000/v1", "is no base URL"),
        ("ftp://host/v1", "is no base URL"),
        ("http://host:port/v1", "the base URL is malformed"),
        ("http://[::1/v1", "the base URL is malformed"),
        ("", "is no base URL"),
        ("http://host/a b", "holds blanks or letters that a URL must quote"),
        ("http://host/v1?key=sesame", "may not hold a query"),
        ("http://me:sesame@host/v1", "user name or password"),
        ("http://sesame@host/v1", "user name or password"),
    ],
)
def test_base_urls_that_are_none(given: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        Server(given)
    assert "sesame" not in str(caught.value)


def test_a_key_over_an_open_line_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Server("http://localhost/v1", Secret(KEY))
        Server("https://far.example/v1", Secret(KEY))
        Server("http://far.example/v1")
        assert not caplog.records
        Server("http://far.example/v1", Secret(KEY))
    assert "unencrypted" in caplog.text
    assert KEY not in caplog.text
