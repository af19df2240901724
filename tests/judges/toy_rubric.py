"""A toy server for rubric judges, and judges that ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import yaml

from bfpo_bench.client import Secret, Server
from bfpo_bench.judges import RubricCard, load_judge
from bfpo_bench.judges.load import CARDS
from bfpo_bench.judges.rubric import RubricJudge
from tests.client.fake_server import FakeServer, Handler

KEY = "sk-planted-0a1b2c3d4e5f"
STRINGS = re.compile(r'^"(?:[^"\\]|\\.)*"$', re.MULTILINE)


def card_at(url: str, **changes: Any) -> RubricCard:
    values = yaml.safe_load((CARDS / "openai.yaml").read_text(encoding="utf-8"))
    values = {"model": "toy", "base_url": url, **changes} | {
        key: value for key, value in values.items() if key not in ("model", "base_url", *changes)
    }
    del values["kind"]
    return RubricCard(name="openai", **values)


def judge_at(server: FakeServer, key: Secret | None = None, **changes: Any) -> RubricJudge:
    patience = Server(server.url, key, timeout=60, first_delay=0.001, longest_delay=0.002)
    return RubricJudge(card_at(server.url, **changes), patience)


def shown(body: dict[str, Any]) -> tuple[str, str]:
    """Prompt and response as the judge's model sees them: the lines that are JSON strings."""
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    prompt, response = STRINGS.findall(body["messages"][1]["content"])
    return json.loads(prompt), json.loads(response)


def said(text: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **message}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def verdict(harmful: bool) -> dict[str, Any]:
    return said(json.dumps({"reason": "It is what it is.", "harmful": harmful}))


def honest(handler: Handler) -> None:
    """Harmful is what holds the word boom."""
    handler.reply(verdict("boom" in shown(handler.content)[1]))


def scripted(answer: Callable[[str], Any]) -> Callable[[Handler], None]:
    """Answers by the response shown; the trial question gets a proper verdict."""

    def act(handler: Handler) -> None:
        response = shown(handler.content)[1]
        handler.reply(verdict(False) if response == "Paris." else answer(response))

    return act


def load_card() -> RubricCard:
    card = load_judge("openai")
    assert isinstance(card, RubricCard)
    return card
