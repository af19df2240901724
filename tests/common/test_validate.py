"""Values from outside: each mistake is one sentence with the place and what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.validate import STRICT, Text, Texts, validated


@dataclass(frozen=True, config=STRICT)
class Part:
    name: Text
    rate: Annotated[float, Field(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if self.name == "never":
            raise ValueError("a part cannot be called never; choose another name.")


@dataclass(frozen=True, config=STRICT)
class Whole:
    parts: tuple[Part, ...]
    kind: Literal["one", "two"] = "one"
    files: Texts = ()
    folder: Path | None = None
    named: dict[str, Part] | None = None
    on: bool = False
    count: int = 1
    either: bool | Literal["some"] = False
    lines: tuple[Text | Part, ...] = ()


def test_plain_content_becomes_the_type() -> None:
    content = {
        "parts": [{"name": "a", "rate": 2}, {"name": "b"}],
        "files": "x.jsonl",
        "folder": "/somewhere",
        "named": {"c": {"name": "c"}},
    }
    whole = validated(Whole, content, "recipe r")
    assert whole.parts == (Part("a", 2.0), Part("b"))
    assert (whole.files, whole.folder) == (("x.jsonl",), Path("/somewhere"))
    assert whole.named == {"c": Part("c")}


PART = {"name": "a"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kinds": "one"}, "unknown setting in recipe r: 'kinds'; did you mean 'kind'?"),
        ({"rate": 2}, "unknown setting in recipe r: 'rate'; did you mean 'parts.N.rate'?"),
        (
            {"parts": [PART | {"count": 2}]},
            "unknown setting in recipe r, parts[0]: 'count'; did you mean 'count'?",
        ),
        (
            {"parts": [PART, {"name": "a", "rat": 1}]},
            "unknown setting in recipe r, parts[1]: 'rat'; did you mean 'rate'?",
        ),
        (
            {"named": {"c": {"nam": "c"}}},
            "unknown setting in recipe r, named, c: 'nam'; did you mean 'name'?",
        ),
        ({"parts": [{}]}, "recipe r, parts[0]: 'name' is missing; add it."),
        ({"parts": 3}, "recipe r, parts must be a list, not 3."),
        ({"either": 3}, "recipe r, either must be true or false, not 3."),
        ({"lines": ["a", 3]}, "recipe r, lines[1] must be a text, not 3."),
        (
            {"parts": [{"name": True}]},
            "recipe r, parts[0], name must be a text, not True (YAML reads a bare yes or no as "
            "true or false: put it in quotes).",
        ),
        ({"parts": [{"name": " "}]}, "recipe r, parts[0], name must be a text that is not empty"),
        ({"parts": [{"name": "a", "rate": 0}]}, "parts[0], rate must be more than 0, not 0"),
        ({"parts": [{"name": "never"}]}, "parts[0]: a part cannot be called never; choose another"),
        ({"kind": "on"}, "unknown choice for recipe r, kind: 'on'; did you mean 'one'?"),
        ({"files": [1]}, "recipe r, files[0] must be a text, not 1."),
        ({"on": "yes"}, "recipe r, on must be true or false, not 'yes'."),
        ({"count": "2"}, "recipe r, count must be a whole number, not '2'."),
        ({"count": 2.5}, "recipe r, count must be a whole number, not 2.5."),
    ],
)
def test_a_mistake_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        validated(Whole, {"parts": [PART], **change}, "recipe r")
    assert sentence in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_no_mapping_at_all() -> None:
    with pytest.raises(BadInput, match="recipe r must be keys and values, not 'nothing'"):
        validated(Whole, "nothing", "recipe r")
