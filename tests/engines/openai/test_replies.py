"""Reading answers: the shapes that servers are known to send, and broken ones."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from bfpo_bench.client import Malformed
from bfpo_bench.engines.openai.replies import (
    read_chat,
    read_completion,
    read_echo,
    read_next,
    score_by_ids,
)
from bfpo_bench.engines.protocol import Response, Score
from bfpo_bench.models.chat import read_messages, write_messages

ECHO = {
    "choices": [
        {
            "text": "The sky is blue.",
            "logprobs": {
                "tokens": ["<s>", "The", " sky", " is", " blue", "."],
                "token_logprobs": [None, -3.0, -2.0, -0.5, -0.25, -1.0],
                "top_logprobs": [
                    None,
                    {"The": -3.0, "A": -1.0},
                    {" sky": -2.0},
                    {" is": -0.5},
                    {" blue": -0.25},
                    {".": -1.0},
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1},
}


def test_the_generated_token_is_no_part_of_the_prompt() -> None:
    echo = read_echo(ECHO)
    assert echo.tokens == ["<s>", "The", " sky", " is", " blue"]
    assert score_by_ids(echo, [0, 1, 2], [3, 4]) == Score(-0.75, True)
    assert score_by_ids(echo, [0], [1, 2, 3, 4]) == Score(-5.75, False)


@pytest.mark.parametrize("count", [None, 0, -1, 9, 10**30, 5.0, "5", True, math.inf, {}])
def test_without_a_sound_count_of_tokens_one_is_taken_as_generated(count: Any) -> None:
    without = ECHO | {"usage": {"prompt_tokens": count}}
    assert read_echo(without) == read_echo(ECHO)
    assert read_echo({k: v for k, v in ECHO.items() if k != "usage"}) == read_echo(ECHO)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["choices"], []),
        (["choices"], None),
        (["choices", 0, "logprobs"], None),
        (["choices", 0, "logprobs", "tokens"], ["<s>"]),
        (["choices", 0, "logprobs", "token_logprobs"], None),
        (["choices", 0, "logprobs", "token_logprobs", 2], "None"),
        (["choices", 0, "logprobs", "token_logprobs", 2], True),
        (["choices", 0, "logprobs", "token_logprobs", 2], 10**400),
        (["choices", 0, "logprobs", "top_logprobs", 2], {" sky": None}),
        (["choices", 0, "logprobs", "token_logprobs", 2], 2.5),
    ],
)
def test_echoes_that_are_none(path: list[Any], value: Any) -> None:
    broken = copy.deepcopy(ECHO)
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(Malformed):
        read_echo(broken)


def test_echoes_of_other_tokens_are_refused() -> None:
    reply = copy.deepcopy(ECHO)
    reply["choices"][0]["logprobs"]["tokens"] = [f"token_id:{i}" for i in range(6)]
    echo = read_echo(reply)
    assert score_by_ids(echo, [0, 1, 2], [3, 4]) == Score(-0.75, True)
    with pytest.raises(Malformed, match="other tokens"):
        score_by_ids(echo, [0, 1, 2], [3, 9])
    with pytest.raises(Malformed, match="6 tokens came back as 5"):
        score_by_ids(echo, [0, 1, 2, 2], [3, 4])
    with pytest.raises(Malformed, match="no log-probability"):
        score_by_ids(echo, [], [0, 1, 2, 3, 4])


def chat(message: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 9, "completion_tokens": 5}
    return {"choices": [{"message": message, "finish_reason": finish, **more}], "usage": usage}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (chat({"content": "Hello"}), Response("Hello", 5, 9, 0, "stop")),
        # vLLM: `stop_reason` is null at the end of the sequence, which is one of the tokens …
        (chat({"content": "Hello"}, stop_reason=None), Response("Hello", 4, 9, 0, "stop")),
        (chat({"content": "Hello"}, stop_reason=2), Response("Hello", 4, 9, 0, "stop")),
        # … and the text where a stop string ended it.
        (chat({"content": "Hello"}, stop_reason="\n"), Response("Hello", 5, 9, 0, "stop")),
        (chat({"content": "He"}, "length", stop_reason=None), Response("He", 5, 9, 0, "length")),
        (chat({"content": ""}, "length"), Response("", 5, 9, 0, "length")),
        (chat({"content": ""}, "\ud83d" + "x" * 99), Response("", 5, 9, 0, "\ufffd" + "x" * 39)),
        (chat({"content": None}, "length"), Response("", 5, 9, 0, "length", no_content=True)),
        *(
            (
                chat({"content": None, name: "Hm, \ud83d"}, "length"),
                Response("", 5, 9, 0, "length", thought="Hm, \ufffd", no_content=True),
            )
            for name in ("reasoning", "reasoning_content")
        ),
        (
            chat({"content": "No.", "reasoning_content": "Hm."}),
            Response("No.", 5, 9, 0, "stop", thought="Hm."),
        ),
        (chat({"content": None, "refusal": "No."}), Response("No.", 5, 9, 0, "stop")),
        (chat({"content": ""}, "content_filter"), Response("", 5, 9, 0, "content_filter")),
        (chat({"content": "\ud83d, \ud83d\ude00"}), Response("�, 😀", 5, 9, 0, "stop")),
    ],
)
def test_responses(reply: Any, expected: Response) -> None:
    assert read_chat(reply) == expected
    expected.text.encode("utf-8")


@pytest.mark.parametrize(
    "reply",
    [
        chat({"content": 7}),
        chat({"content": [{"type": "text"}]}),
        chat("Hello"),
        chat({"content": "He"}, "abort"),
        {"choices": [{"text": "a"}, {"text": "b"}]},
        {"choices": {}},
        ["Hello"],
        None,
    ],
)
def test_responses_that_are_none(reply: Any) -> None:
    with pytest.raises(Malformed):
        read_chat(reply)
    with pytest.raises(Malformed):
        read_completion(reply)


def test_label_logprobs() -> None:
    listed = {"token_id:7": -0.5, "token_id:9": -2, "token_id:1": math.nan}
    reply = {"choices": [{"logprobs": {"top_logprobs": [listed]}}]}
    assert read_next(reply, [9, 7]) == ([-2.0, -0.5], True)
    assert read_next(reply, [8, 7]) == ([-math.inf, -0.5], False)
    assert math.isnan(read_next(reply, [1])[0][0])
    words = {"choices": [{"logprobs": {"top_logprobs": [{" yes": -0.5}]}}]}
    with pytest.raises(Malformed, match="not as ids"):
        read_next(words, [7])
    with pytest.raises(Malformed):
        read_next({"choices": [{"logprobs": {"top_logprobs": []}}]}, [7])


def test_messages_come_back_as_they_were() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": 'ü "a"\n. '}]
    text = write_messages(messages)
    assert read_messages(text) == (("system", "Be kind."), ("user", 'ü "a"\n. '))
    assert "ü" in text
