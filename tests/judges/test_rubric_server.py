"""Rubric judges at servers that are busy, particular or unwilling."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

import pytest

from bfpo_bench.client import Secret, Server
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.judges import Exchange, Verdict
from bfpo_bench.judges.rubric import RubricJudge
from tests.client.fake_server import Handler, serving
from tests.judges.toy_rubric import (
    KEY,
    card_at,
    honest,
    judge_at,
    said,
    scripted,
    shown,
    verdict,
)


def test_busy_servers_are_asked_again() -> None:
    def act(handler: Handler) -> None:
        if handler.number % 3 == 1:
            handler.reply({"error": {"message": "slow down"}}, 429, Retry_After="0")
        elif handler.number % 3 == 2:
            handler.half(verdict(True))
        else:
            honest(handler)

    items = [Exchange("p", f"{i} boom" if i % 2 else f"{i}") for i in range(5)]
    with serving(act) as server:
        patience = Server(server.url, timeout=60, tries=40, first_delay=0.001, longest_delay=0.002)
        judge = RubricJudge(card_at(server.url), patience)
        found = judge.judge(items)
    assert [v.harmful for v in found] == [False, True, False, True, False]


def refusing(*fields: str, named: bool = True) -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        for field in fields:
            if field in handler.content:
                instead = " Use 'max_completion_tokens'." if field == "max_tokens" else ""
                message = f"Unsupported parameter: '{field}'.{instead}" if named else "no"
                handler.reply({"error": {"message": message}}, 400)
                return
        honest(handler)

    return act


@pytest.mark.parametrize(
    ("act", "left_out"),
    [
        (refusing("response_format"), {"response_format"}),
        (refusing("response_format", named=False), {"response_format"}),
        (refusing("max_tokens", "temperature"), {"max_tokens", "temperature"}),
        (
            refusing("max_tokens", "temperature", "response_format"),
            {"max_tokens", "temperature", "response_format"},
        ),
    ],
)
def test_what_a_server_refuses_is_left_out(
    act: Callable[[Handler], None], left_out: set[str]
) -> None:
    with serving(act) as server:
        judge = judge_at(server)
        before = len(server.seen)
        found = judge.judge([Exchange("p", "boom"), Exchange("p", "calm")])
    assert [v.harmful for v in found] == [True, False]
    assert len(server.seen) == before + 2, "what is refused is found out once"
    body = server.seen[-1][2]
    assert {"response_format", "temperature", "max_tokens"} - body.keys() == left_out
    assert ("max_completion_tokens" in body) == ("max_tokens" in left_out)
    assert "JSON object" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("status", "error", "raw"),
    [
        (
            400,
            {"code": "content_filter", "message": "the secret words triggered"},
            "the judge's content filter refused (HTTP 400)",
        ),
        (
            403,
            {"message": "Your input was flagged: the secret words"},
            "the judge's content filter refused (HTTP 403)",
        ),
        (
            400,
            {"message": "This model's maximum context length is 9 tokens."},
            "too long for the judge (HTTP 400)",
        ),
        (413, {"message": "payload"}, "too long for the judge (HTTP 413)"),
    ],
)
def test_refused_responses_are_unknown(status: int, error: dict[str, str], raw: str) -> None:
    def act(handler: Handler) -> None:
        if "secret" in shown(handler.content)[1]:
            handler.reply({"error": error}, status)
        else:
            honest(handler)

    with serving(act) as server:
        found = judge_at(server).judge([Exchange("p", "the secret words"), Exchange("p", "boom")])
    assert found == [Verdict(None, None, raw), Verdict(True, None, "harmful: true")]


@pytest.mark.parametrize(
    ("status", "message", "sentence"),
    [
        (401, f"Incorrect key {KEY}", "set the server's key in OPENAI_API_KEY"),
        (404, "no such model", "check --judge-model, and --judge-url"),
        (400, "Billing hard limit has been reached", "Billing hard limit"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_other_refusals_end_the_judging(
    status: int, message: str, sentence: str, first: bool
) -> None:
    def act(handler: Handler) -> None:
        if first or shown(handler.content)[1] != "Paris.":
            handler.reply({"error": {"message": message}}, status)
        else:
            honest(handler)

    with serving(act) as server, pytest.raises(BadInput) as caught:
        judge_at(server, Secret(KEY)).judge([Exchange("p", "r")])
    assert sentence in str(caught.value)
    assert "judge 'openai'" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_what_the_client_gives_up_on_is_a_failed_run() -> None:
    def act(handler: Handler) -> None:
        if shown(handler.content)[1] == "Paris.":
            honest(handler)
        else:
            handler.reply({"error": {"message": f"{KEY} overloaded"}}, 503)

    with serving(act) as server, pytest.raises(RunFailed) as caught:
        judge_at(server, Secret(KEY)).judge([Exchange("p", "r")])
    assert "run the same command again" in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_sent_and_stays_out_of_verdicts() -> None:
    reply = said(json.dumps({"reason": KEY, "harmful": True}))
    with serving(scripted(lambda _: reply)) as server:
        judge = judge_at(server, Secret(KEY))
        found = judge.judge([Exchange("p", "r")])
    assert all(headers["authorization"] == f"Bearer {KEY}" for _, headers, _ in server.seen)
    assert KEY not in repr((found, judge, vars(judge)))
