"""YAML within limits: plain values as YAML 1.1 has them, one sentence for all that is beyond."""

from __future__ import annotations

import datetime
import re
import time
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.yaml_text import YamlFault, yaml_file, yaml_value

# The examples of yaml.org's pages on merge keys and on aliases.
MERGED = """
- &CENTER { x: 1, y: 2 }
- &LEFT { x: 0, y: 2 }
- &BIG { r: 10 }
- &SMALL { r: 1 }
- { << : *CENTER, r: 10, label: center/big }
- { << : [ *CENTER, *BIG ], label: center/big }
- { << : [ *BIG, *LEFT, *SMALL ], x: 1, label: center/big }
"""
BIG = {"x": 1, "y": 2, "r": 10, "label": "center/big"}
COPIED = "base: &base {a: 1, b: 2}\nover: &over {<<: *base, b: 3}\nlast: {<<: *over, c: *base}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: =", {"a": "="}),
        ("[1:30, 0x1F, 1_000, -.inf, 2.5]", [90, 31, 1000, float("-inf"), 2.5]),
        ("2001-12-14", datetime.date(2001, 12, 14)),
        ("!!str 5", "5"),
        ("? [1]\n: 2", None),
        (MERGED, None),
        (COPIED, None),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    if text == MERGED:
        assert yaml_value(text)[4:] == [BIG, BIG, BIG]
    elif text == COPIED:
        base, over = {"a": 1, "b": 2}, {"a": 1, "b": 3}
        last = over | {"c": base}
        assert yaml_value(text) == {"base": base, "over": over, "last": last}
    elif text.startswith("?"):
        with pytest.raises(YamlFault, match="unhashable key"):
            yaml_value(text)
    else:
        assert yaml_value(text) == value


def bomb(first: str, again: str) -> str:
    """Ten lines, each of ten times the one before it."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} " + again.replace("%", f"*a{i - 1}") for i in range(1, 10)]
    return "\n".join(lines)


BOMBS = {
    "lists": bomb("[x, y]", f"[{', '.join('%' * 10)}]"),
    "keys": bomb("{x: y}", "{" + ", ".join(f"k{i}: %" for i in range(10)) + "}"),
    "merges": bomb("{x: y}", f"{{<<: [{', '.join('%' * 10)}]}}"),
    "text": f"a: &a {'x' * 3000}\nb: [{', '.join(['*a'] * 1000)}]",
}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((bombs, "its aliases .* stand for millions of characters") for bombs in BOMBS.values()),
        ("&a [1, *a]", "an alias .* stands for what it is a part of"),
        ("&a {b: *a}", "an alias .* stands for what it is a part of"),
        ("a: *b", "found undefined alias 'b'"),
        ("a: 1\na: 2", "the field 'a' is there twice"),
        ("[" * 400, "nested in more than 100 levels"),
        ("[" * 101 + "]" * 101, "nested in more than 100 levels"),
        ("\n".join(" " * i + "a:" for i in range(150)), "nested in more than 100 levels"),
        ("\n".join(f"- &a{i} [*a{i - 1}]" if i else "- &a0 x" for i in range(120)), "100 levels"),
        ("9" * 1_000_000, "a number of 1,000,000 digits"),
        ("1" + ":1" * 50_000, "a number of 100,001 digits"),
        ("".join(f"{i}: 1\n" for i in range(10_001)), "10,001 keys at one place"),
        ("!!binary aGk=", "!!binary is no plain value"),
        ("!!set {a}", "!!set is no plain value"),
        ("!!python/object/apply:os.system [id]", "!!python/object/apply:os.system is no plain"),
        ("!mine x", "!mine is no plain value"),
        ('"\\ud800"', "half a surrogate pair is no text"),
        ("!!bool maybe", "'maybe' is not what !!bool can be"),
        ("!!int x", "'x' is not what !!int can be"),
        ("!!int ''", "'' is not what !!int can be"),
        ("!!timestamp soon", "'soon' is not what !!timestamp can be"),
        ("2001-13-45", "'2001-13-45' is not what !!timestamp can be"),
        ("1:1" + ":1" * 29 + ".5", None),
        ("a\0", "special characters are not allowed"),
        ("--- 1\n--- 2", "expected a single document in the stream, but found another"),
    ],
    ids=lambda value: "" if value is None else value[:20],
)
def test_what_is_no_plain_value_is_told_at_once(text: str, why: str | None, tmp_path: Path) -> None:
    begun = time.process_time()
    if why is None:
        assert isinstance(yaml_value(text), float)
    else:
        with pytest.raises(YamlFault, match=why) as caught:
            yaml_value(text)
        assert len(str(caught.value)) <= 200
        assert "\n" not in str(caught.value)
    assert time.process_time() - begun < 5


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * (1 << 20))
    with pytest.raises(BadInput) as caught:
        yaml_file(path, "judge card")
    said = f"judge card {path} is no YAML that can be read (it is longer than 1 MiB); mend it."
    assert str(caught.value) == said
    path.write_bytes(b"a: 1\r\nb: [\r\nc")
    with pytest.raises(BadInput, match="line 3 is no YAML that can be read"):
        yaml_file(path, "judge card")
    path.write_bytes(b"a: \xff")
    with pytest.raises(BadInput, match=r"\(it is not UTF-8 text\)"):
        yaml_file(path, "judge card")
    with pytest.raises(OSError, match="a pipe or a device"):
        yaml_file(Path("/dev/zero"), "judge card")


def test_all_yaml_is_read_within_the_limits() -> None:
    package = Path(bfpo_bench.__file__).parent
    reading = re.compile(r"\byaml\.(\w+_)?load(_all)?\(")
    found = [path.name for path in package.rglob("*.py") if reading.search(path.read_text("utf-8"))]
    assert found == ["yaml_text.py"]
