"""Values from outside (YAML, keyword arguments), checked against the types of dataclasses."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bfpo_bench.common.errors import BadInput, unknown_name

WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def typed(kind: Any, content: Any, where: str) -> Any:
    """A value of a type made from plain content, every part of it checked.

    Args:
        kind: a plain type, ``Path``, ``Literal``, ``X | None``, ``tuple[X, ...]``, ``dict``,
            ``dict[str, X]`` or a dataclass of such.
        content: what was read or given.
        where: what to call the place in messages.

    Raises:
        BadInput: an unknown or missing key, or a value of another type; says where.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if content is None and type(None) in arguments:
            return None
        [only] = [a for a in arguments if a is not type(None)]
        return typed(only, content, where)
    if dataclasses.is_dataclass(kind):
        return _typed_record(kind, content, where)
    if origin is tuple:
        rows = [content] if isinstance(content, str) else content
        if not isinstance(rows, list | tuple):
            raise BadInput(f"{where} must be a list of entries, not {content!r}.")
        return tuple(typed(arguments[0], row, f"{where}[{n}]") for n, row in enumerate(rows))
    if origin is Literal:
        if content not in arguments:
            raise unknown_name(f"choice for {where}:", str(content), map(str, arguments))
        return content
    if kind is float and isinstance(content, int) and not isinstance(content, bool):
        return float(content)
    if kind is Path and isinstance(content, str):
        return Path(content)
    plain = dict if origin is dict else kind
    if not isinstance(content, plain) or (isinstance(content, bool) and kind is not bool):
        words = {**WORDS, Path: "a path"}.get(plain, "keys and values")
        raise BadInput(f"{where} must be {words}, not {content!r}.")
    if origin is dict and arguments[1] is not Any:
        return {
            str(key): typed(arguments[1], value, f"{where}, {key}")
            for key, value in content.items()
        }
    return content


def _typed_record(kind: Any, content: Any, where: str) -> Any:
    if not isinstance(content, Mapping):
        raise BadInput(f"{where} must be keys and values, not {content!r}.")
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in content.items():
        if key not in hints:
            raise unknown_name(f"setting in {where}:", str(key), hints)
        values[key] = typed(hints[key], value, f"{where}, {key}")
    for field in dataclasses.fields(kind):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if not optional and field.name not in values:
            raise BadInput(f"{where}: {field.name!r} is missing; add it.")
    return kind(**values)
