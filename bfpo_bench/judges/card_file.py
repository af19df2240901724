"""The file of a judge's card: YAML without repeats, checked by the card's own types."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.validate import validated
from bfpo_bench.common.yaml_text import yaml_file
from bfpo_bench.suites import PromptKind

Count = Annotated[int, Field(ge=1)]
Kinds = Annotated[tuple[PromptKind, ...], Field(min_length=1)]
"""Kinds of prompts whose responses a judge can judge."""

Gives = Annotated[tuple[Literal["harm", "refusal"], ...], Field(min_length=1)]
"""Which verdicts a judge gives."""
HARM: Gives = ("harm",)

C = TypeVar("C")


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a card; one without a value is as good as not there.

    Raises:
        BadInput: the file cannot be read, is no such YAML, or does not say which kind it is.
    """
    try:
        values = yaml_file(path, "judge card")
    except FileNotFoundError:
        raise BadInput(f"there is no judge card {path}; give the path of a YAML file.") from None
    except OSError as problem:
        why = problem.strerror or problem
        raise BadInput(f"judge card {path} cannot be read ({why}); give a YAML file.") from None
    if not isinstance(values, dict):
        raise BadInput(
            f"judge card {path} holds no fields but {type(values).__name__}; "
            "write lines like `field: value`."
        )
    fields = {str(key): value for key, value in values.items() if value is not None}
    if "kind" not in fields:
        raise BadInput(f"judge card {path}: 'kind' is missing; add it.")
    return fields


def checked(card: type[C], path: Path, fields: dict[str, Any]) -> C:
    """A card of these fields; its name is that of its file.

    Raises:
        BadInput: a field is missing, unknown or not right.
    """
    known = {field.name for field in dataclasses.fields(card)} - {"name"}  # type: ignore[arg-type]
    for key in fields:
        if key not in known:
            raise unknown_name(f"field in judge card {path}:", key, known)
    return validated(card, {**fields, "name": path.stem}, f"judge card {path}")


def card_identity(card: Any, implementation: int, content: str) -> dict[str, Any]:
    """What the identity of every card begins with.

    Args:
        card: of any kind; its name, kind and version are looked at.
        implementation: of the code behind that kind of card.
        content: all of the card that could change a verdict.
    """
    # Cards of before December 2026 gave harm alone, and are what they were.
    gives = {} if card.gives == HARM else {"gives": list(card.gives)}
    return {
        "judge": card.name,
        "kind": card.kind,
        "version": card.version,
        "implementation": implementation,
        "card": hashlib.sha256(content.encode()).hexdigest(),
        **gives,
    }
