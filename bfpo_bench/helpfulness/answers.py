"""What an annotator's answer says about the two outputs that it was shown.

The readers have the names and the results of alpaca_eval's completion parsers (0.6.6), for one pair
per question: a preference from 1 (the first output shown) to 2 (the second), 1.5 for a draw. Where
upstream would drop the pair, ``None`` is returned, and the pair is counted.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bfpo_bench.client import Malformed
from bfpo_bench.engines.openai.replies import clean, finish_reason, log_probability, usage
from bfpo_bench.helpfulness.annotation import TIE

Step = tuple[str, Mapping[str, Any]]
"""A reader by name, with its settings."""

# What a text that is not what it should be makes of a reader; some parsers report depth so.
_UNREADABLE = (
    *(ArithmeticError, LookupError, MemoryError, RecursionError),
    *(SyntaxError, TypeError, ValueError),
)

_FENCED = re.compile(r"```json(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What came back for one pair.

    Attributes:
        preference: 1 (the first output shown) to 2 (the second); None: no usable answer.
        raw: the answer, plain JSON values; where it was refused, why.
        declined: refused, by the endpoint's filter or by the model; another try may do better.
        read, written: tokens that the endpoint counted; None where it does not say.
    """

    preference: float | None
    raw: Any
    declined: bool = False
    read: int | None = None
    written: int | None = None


def read_preference(steps: Sequence[Step], choice: Mapping[str, Any]) -> float | None:
    """The preference that a choice amounts to, None where it says none.

    Args:
        steps: readers, each of which is given what the one before it has found.
        choice: what :func:`read_choice` returns.
    """
    found: Any = choice if steps[0][0] == "logprob_parser" else choice["text"]
    try:
        for name, settings in steps:
            found = READERS[name](found, **settings)
    except _UNREADABLE:
        return None
    if found is None or isinstance(found, bool) or not isinstance(found, int | float):
        return None
    value = TIE if found == 0 else found
    return float(value) if 1 <= value <= 2 else None


def read_choice(reply: Any, with_logprobs: bool) -> dict[str, Any]:
    """A chat completion's answer in the shape of AlpacaEval's ``raw_completion``.

    Raises:
        Malformed: it is none, or has no log-probabilities although they were asked for.
    """
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise Malformed("no single choice in the answer")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Malformed("the choice has no message")
    finish = finish_reason(choice)
    found: dict[str, Any] = {"finish_reason": finish, "index": 0}
    text = _text(message)
    if with_logprobs:
        found["logprobs"] = None
        if finish != "content_filter" and not message.get("refusal"):
            found["logprobs"] = {"content": _logprobs(choice.get("logprobs"))}
    found["message"] = {"content": text, "role": "assistant"}
    if message.get("refusal"):
        found["message"]["refusal"] = str(message["refusal"])
    found["text"] = text
    return found | {k: v for k, v in usage(reply).items() if k == "total_tokens"}


def declined(choice: Mapping[str, Any]) -> bool:
    """Whether the endpoint refused to answer; asked again, it may not."""
    return choice["finish_reason"] == "content_filter" or "refusal" in choice["message"]


def _text(message: Mapping[str, Any]) -> str:
    """What the annotator wrote, or the arguments with which it called the function it was given."""
    calls = message.get("tool_calls")
    call: Any = calls[0] if isinstance(calls, list) and calls else None
    function = call.get("function") if isinstance(call, dict) else message.get("function_call")
    written = function.get("arguments") if isinstance(function, dict) else message.get("content")
    return clean(written) if isinstance(written, str) else ""


def _logprobs(given: Any) -> list[dict[str, Any]]:
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, list):
        raise Malformed("no log-probabilities in the answer")
    return [{**_token(t), "top_logprobs": [_token(o) for o in _top(t)]} for t in content]


def _top(token: Any) -> list[Any]:
    top = token.get("top_logprobs") if isinstance(token, dict) else None
    if not isinstance(top, list):
        raise Malformed("a token without the alternatives that were asked for")
    return top


def _token(given: Any) -> dict[str, Any]:
    text, value = (given.get("token"), given.get("logprob")) if isinstance(given, dict) else ("", 0)
    if not isinstance(text, str):
        raise Malformed("a token is no text")
    return {"token": text, "logprob": log_probability(value)}


# ----------------------------------------------------------------------- readers


def logprob_parser(
    choice: Mapping[str, Any],
    numerator_token: str,
    denominator_tokens: Sequence[str],
    is_binarize: bool = True,
    log_prob_index: int | str = "batch",
) -> float | None:
    """2 − P(the first is better), from the log-probabilities of the labels at one position.

    A label that is not among the alternatives has probability 0; where none is, there is no answer.

    Args:
        numerator_token: the label of the first output.
        denominator_tokens: all labels.
        is_binarize: 1 or 2, whichever label is likelier, instead of the probability.
        log_prob_index: which of the answer's tokens; ``"batch"``: the only one.
    """
    content = choice["logprobs"]["content"]
    if log_prob_index == "batch" and len(content) != 1:
        return None
    token = content[0 if log_prob_index == "batch" else int(log_prob_index)]
    found: dict[str, float] = {}
    for other in token["top_logprobs"]:
        if other["token"] in (*denominator_tokens, numerator_token):
            # Several tokens may read alike; the likeliest is the one that is meant.
            found[other["token"]] = max(other["logprob"], found.get(other["token"], -math.inf))
    if not found:
        return None
    first = found.get(numerator_token, -math.inf)
    if is_binarize:
        others = [found.get(t, -math.inf) for t in denominator_tokens if t != numerator_token]
        return 1.0 if all(first > other for other in others) else 2.0
    highest = max(found.values())
    total = math.fsum(math.exp(found[t] - highest) for t in denominator_tokens if t in found)
    return 2 - math.exp(first - highest) / total


def ranking_parser(completion: Any, model_1_name: str = "model_1") -> Any:
    """The rank of the first output in a list such as ``[{'model': 'm', 'rank': 1}, …]``."""
    ranked = ast.literal_eval(completion) if isinstance(completion, str) else completion
    rank, *_ = [entry["rank"] for entry in ranked if entry["model"] == model_1_name]
    return rank if rank in (1, 2) else None


def regex_parser(completion: str, outputs_to_match: Mapping[Any, str]) -> Any:
    """The key of the one pattern that matches the text, once."""
    found = []
    rest = completion
    patterns = {key: re.compile(pattern) for key, pattern in outputs_to_match.items()}
    while True:
        matches = {key: match for key, one in patterns.items() if (match := one.search(rest))}
        if not matches:
            break
        key = min(matches, key=lambda key: matches[key].start())
        found.append(key)
        if not matches[key].end():
            return None
        rest = rest[matches[key].end() :]
    return found[0] if len(found) == 1 else None


def lmsys_parser(completion: str) -> Any:
    """Two scores in the first line; equal ones are a draw."""
    first, second = map(float, completion.split("\n")[0].replace(",", " ").split(" "))
    return TIE if first == second else 1 if first > second else 2


def json_parser(completion: str, annotation_key: str | None = None) -> Any:
    """A field of a JSON object, which may stand in a code fence."""
    fenced = _FENCED.search(completion)
    content = json.loads(fenced[1] if fenced else completion)
    if isinstance(content, list):
        [content] = content
    return content if annotation_key is None else content[annotation_key]


READERS: dict[str, Callable[..., Any]] = {
    reader.__name__: reader
    for reader in (logprob_parser, ranking_parser, regex_parser, lmsys_parser, json_parser)
}
