"""Values from outside (YAML, keyword arguments), checked by pydantic; a mistake is one sentence.

@dataclass(frozen=True, config=STRICT)        # pydantic.dataclasses
class Card:
    name: Text
    window: Annotated[int, Field(ge=1)] = 1024

card = validated(Card, yaml_value(text), f"judge card {path}")
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from bfpo_bench.common.errors import BadInput, unknown_name

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True)
"""No unknown keys, and no text that happens to look like a number."""

SEEN = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
"""For a file that holds more than what is looked at."""

WHOLE = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""For a file that a program has written: no unknown keys, and every number is one."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""How many there are of something; up to there every number is a float of its own."""

Text = Annotated[str, Field(pattern=r"\S")]
"""A text with something in it."""


def _listed(value: Any) -> Any:
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
"""A list of texts; one text stands for a list of one."""


def validated(kind: type[T], content: Any, where: str) -> T:
    """A value of a type made from plain content, every part of it checked.

    Args:
        kind: a pydantic dataclass with ``config=STRICT``, or any type of such and plain values.
        content: what was read or given: mappings, lists, texts, numbers. Paths and dates count as
            the texts that they are written as.
        where: what to call the place in messages.

    Raises:
        BadInput: an unknown or missing key, or a value that is not right; says where.
    """
    try:
        # As JSON a list may fill a tuple and a text a path; nothing else is converted.
        return _adapter(kind).validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise sentence(error, kind, where) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{where} holds what no file can ({error}); write plain values.") from None


_adapters: dict[Any, TypeAdapter[Any]] = {}
_making = Lock()


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """What checks values of a type; made once, for that takes longer than most checks."""
    # One thread at a time: pydantic and typing share what they know of a class while they make it.
    with _making:
        if kind not in _adapters:
            _adapters[kind] = TypeAdapter(kind)
        return _adapters[kind]


def joined(where: str, place: Iterable[int | str]) -> str:
    """The name of a place inside another: ``card.yaml, labels[0]``."""
    for step in place:
        where += f"[{step}]" if isinstance(step, int) else f", {step}"
    return where


def sentence(
    error: ValidationError,
    kind: Any,
    where: str,
    joined: Callable[[str, Sequence[int | str]], str] = joined,
) -> BadInput:
    """The first thing that pydantic found, in our words.

    Args:
        joined: names a place inside what `where` names.
    """
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    # A key that nobody knows is named first: a missing one is missing because of it.
    found = min(error.errors(include_url=False), key=lambda one: one["type"] not in unknown)
    place, said, value = found["loc"], found["msg"], found["input"]
    place = tuple(step for step in place if not _TRIED.fullmatch(str(step)))
    *before, last = place or ("",)
    inside = joined(where, before)
    if found["type"] in unknown:
        elsewhere = _places(kind, str(last))[:1]
        return unknown_name(f"setting in {inside}:", str(last), _keys(kind, before), elsewhere)
    if found["type"] in ("missing", "missing_argument"):
        return BadInput(f"{inside}: {last!r} is missing; add it.")
    if found["type"] == "value_error":
        return BadInput(f"{joined(where, place)}: {found['ctx']['error']}")
    if found["type"] == "string_pattern_mismatch":
        said = "Input should be a text that is not empty"
    if found["type"] == "literal_error":
        return unknown_name(f"choice for {joined(where, place)}:", str(value), _choices(found))
    for theirs, ours in _WORDS.items():
        said = said.replace(theirs, ours)
    if found["type"] in ("too_short", "too_long"):
        [limit] = [v for k, v in found["ctx"].items() if k in ("min_length", "max_length")]
        said = f"must be a list of at {'least' if found['type'] == 'too_short' else 'most'} {limit}"
    hint = ""
    if isinstance(value, bool) and "a text" in said:
        hint = " (YAML reads a bare yes or no as true or false: put it in quotes)"
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return BadInput(f"{joined(where, place)} {said}, not {shown}{hint}.")


_TRIED = re.compile(r"(constrained-)?(str|int|float|bool)|(list|dict|tuple|literal)\[.*\]")
"""What pydantic calls the one of several kinds of plain values that it tried."""

_WORDS = {
    "Input should be an object": "must be keys and values",
    "Input should be": "must be",
    "a valid dictionary": "keys and values",
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "an instance of Path": "a path",
    "an array": "a list",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
}


def _choices(found: Mapping[str, Any]) -> list[str]:
    expected = str(found["ctx"]["expected"])
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _keys(kind: Any, place: Sequence[int | str]) -> list[str]:
    """The keys that the record at a place of a type may have."""
    for step in place:
        # Of several kinds, pydantic names the one that it tried.
        tried = [one for one in typing.get_args(kind) if getattr(one, "__name__", "") == step]
        if tried:
            kind = tried[0]
            continue
        kind = _plain(kind)
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind)[str(step)]
        else:  # tuple[X, ...] or dict[str, X]
            kind = [inner for inner in typing.get_args(kind) if inner is not ...][-1]
    return [field.name for field in dataclasses.fields(_plain(kind))]


def _places(kind: Any, key: str, seen: tuple[Any, ...] = ()) -> list[str]:
    """Where in a type a key of that name stands, with dots: ``outer.key``, ``list.N.key``.

    Args:
        seen: types that this one is a part of.
    """
    kind = _plain(kind)
    if not dataclasses.is_dataclass(kind):
        inner = [one for one in typing.get_args(kind) if one is not ...]
        return [f"N.{place}" for place in _places(inner[-1], key, seen)] if inner else []
    if kind in seen:
        return []
    names = [field.name for field in dataclasses.fields(kind)]
    found = [key] if key in names else []
    hints = typing.get_type_hints(kind)
    for name in names:
        found += [f"{name}.{place}" for place in _places(hints[name], key, (*seen, kind))]
    return found


def _plain(kind: Any) -> Any:
    while typing.get_origin(kind) in (Annotated, types.UnionType, typing.Union):
        kind = next(inner for inner in typing.get_args(kind) if inner is not type(None))
    return kind
