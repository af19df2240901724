"""Prompts and responses in JSON lines: of lm-eval's samples logs, and anybody's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import check_is_file
from bfpo_bench.judges import Exchange
from bfpo_bench.tasks import advbench


@dataclass(frozen=True)
class Sample:
    """A response in a file.

    Attributes:
        line: of the file, counted from 1.
        index: which of the line's responses it is; lm-eval logs several where it drew several.
    """

    line: int
    index: int
    exchange: Exchange


def read_samples(
    path: Path, prompt_field: str | None = None, response_field: str | None = None
) -> Iterator[Sample]:
    """The responses of a file, one after the other; the file is never in memory as a whole.

    A line of a samples log of lm-eval (``resps`` and ``arguments``) gives the generated responses.
    Its prompt is the one of the item where the task is one of this project's; that of any other
    task is the text the model saw, chat template and all, unless a field is named; of a chat, what
    the user said last. A task with several filters logs each item once for each of them, always
    with the same responses: they are taken once.

    Args:
        prompt_field: dotted path of the prompt in a line, e.g. ``doc.question``, or
            ``messages.0.content`` of a list; default ``prompt``.
        response_field: the same for the response; default ``response``.

    Raises:
        BadInput: the file cannot be read, is no JSON lines, or lacks a field.
    """
    filters: dict[int, Any] = {}
    for number, record in records(path):
        where = f"{path}, line {number}"
        if _is_logged(record):
            # As a number, because a file may have any number of lines.
            of = hash(tuple(str(record.get(name)) for name in _WHICH))
            if filters.setdefault(of, record.get("filter")) != record.get("filter"):
                continue
        prompt, responses = _texts(record, prompt_field, response_field, where)
        for index, response in enumerate(responses):
            yield Sample(number, index, Exchange(prompt, response))


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, one a line, with the line's number.

    Raises:
        BadInput: the file cannot be read, is empty, or holds something else.
    """
    empty = True
    try:
        check_is_file(path)
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    empty = False
                    yield number, _record(line, f"{path}, line {number}")
    except OSError as error:
        raise BadInput(
            f"the samples file {path} cannot be read ({error.strerror}); give a file of JSON lines."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the samples file {path} is not UTF-8 text ({error.reason}); save it as UTF-8."
        ) from None
    if empty:
        raise BadInput(f"the samples file {path} is empty; give one JSON object per line.")


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        hint = " (a JSON array? write one object per line)" if line.lstrip()[:1] == "[" else ""
        raise BadInput(f"{where} is not JSON{hint}; give one JSON object per line.") from None
    if not isinstance(record, dict):
        raise BadInput(f"{where} is no object with fields; give one JSON object per line.")
    return record


_WHICH = ("doc_id", "doc_hash", "prompt_hash")
"""What tells the items of lm-eval's samples apart."""


def _is_logged(record: dict[str, Any]) -> bool:
    """Whether a line is one of lm-eval's samples."""
    return "resps" in record and "arguments" in record


def _texts(
    record: dict[str, Any], prompt_field: str | None, response_field: str | None, where: str
) -> tuple[str, list[str]]:
    """The prompt and the responses of a line."""
    logged = _is_logged(record)
    if logged and response_field is None:
        responses = _logged_responses(record["resps"], where)
    else:
        responses = [_field(record, response_field or "response", "--response-field", where)]
    if prompt_field is not None or not logged:
        return _field(record, prompt_field or "prompt", "--prompt-field", where), responses
    return _logged_prompt(record, where), responses


_NAMED = 12
"""So many fields are named at most."""


def _field(record: dict[str, Any], name: str, option: str, where: str) -> str:
    value: Any = record
    for part in name.split("."):
        if isinstance(value, list) and (place := _place(part, len(value))) is not None:
            value = value[place]
            continue
        if not isinstance(value, dict) or part not in value:
            names = [str(key) for key in value] if isinstance(value, dict) else []
            some = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
            there = f"; there are {some}" if names else ""
            raise BadInput(f"{where} has no field {name!r}{there}. Name another with {option}.")
        value = value[part]
    if not isinstance(value, str):
        raise BadInput(
            f"{where}: field {name!r} is {type(value).__name__}, a text is needed. Name another "
            f"with {option}."
        )
    return value


def _place(part: str, length: int) -> int | None:
    """A step of a path that counts in a list, from 0 or, with a minus, from its end."""
    if not re.fullmatch(r"-?\d{1,9}", part, re.ASCII):
        return None
    return int(part) if -length <= int(part) < length else None


def _logged_responses(resps: Any, where: str) -> list[str]:
    """``resps`` holds a list per request of an item; a generated item has one request."""
    first = resps[0] if isinstance(resps, list) and resps else None
    if isinstance(first, list) and first and all(isinstance(text, str) for text in first):
        return first
    raise BadInput(
        f"{where} logs no generated responses (log-likelihoods, perhaps); only what a model wrote "
        "can be judged."
    )


def _logged_prompt(record: dict[str, Any], where: str) -> str:
    item = record.get("doc")
    if isinstance(item, dict) and "item_id" in item and (prompt := question_of(item)) is not None:
        return prompt
    arguments = record["arguments"]
    # Written by lm-eval as {"gen_args_0": {"arg_0": context, …}}, kept in memory as a list.
    first = next(iter(arguments.values()), None) if isinstance(arguments, dict) else None
    if isinstance(first, dict) and (chat := chat_of(first.get("arg_0"))) is not None:
        return next((said for role, said in reversed(chat) if role == "user"), "")
    if isinstance(arguments, dict):
        return _field(arguments, "gen_args_0.arg_0", "--prompt-field", where)
    if isinstance(arguments, list) and arguments and isinstance(arguments[0], (list, tuple)):
        context = arguments[0][0]
        if isinstance(context, str):
            return context
    raise BadInput(f"{where} does not say what was asked; name the field with --prompt-field.")


def chat_of(context: Any) -> list[tuple[str, str]] | None:
    """Roles and texts of a chat that lm-eval has sent to a server; None of anything else.

    It logs such a one as a list with one text, which holds the messages as JSON.
    """
    if not (isinstance(context, (list, tuple)) and len(context) == 1):
        return None
    try:
        chat = json.loads(context[0])
        found = [(one["role"], one["content"]) for one in chat]
    except (LookupError, RecursionError, TypeError, ValueError):
        return None
    return found if all(isinstance(text, str) for pair in found for text in pair) else None


def question_of(row: dict[str, Any]) -> str | None:
    """What a judge is shown of a row of one of our judged tasks; None of another kind of row."""
    if isinstance(row.get("goal"), str):
        return advbench.prompt(row)
    return str(row["prompt"]) if isinstance(row.get("prompt"), str) else None
