"""YAML that people write, within limits: no key given twice, no alias bomb, plain values alone.

Everything that is read as YAML is read by :func:`yaml_file` or :func:`yaml_value`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.foreign import MIB, foreign_text
from bfpo_bench.common.text import valid_text

MOST_BYTES = MIB
"""Longest file that is read; the longest recipe here has 3,000 bytes."""

MOST_PARTS = 25_000
"""Most keys and values in all: PyYAML takes a second for as many."""

MOST_VALUE = 2 * MIB
"""Characters of the longest value, written out: an alias may stand for what is full of aliases."""

MOST_KEYS = 10_000
"""Most keys at one place: numbers can be chosen so that each is compared with all before it."""

MOST_LEVELS = 100
_TOO_DEEP = f"it is nested in more than {MOST_LEVELS} levels"
LONGEST_NUMBER = 64
"""Characters of a number: parts of 1:59:59 are multiplied out, each with a longer one."""

_NAMES = "tag:yaml.org,2002:"
_NO_PLAIN_VALUES = frozenset(_NAMES + name for name in ("binary", "omap", "pairs", "set"))


class YamlFault(ValueError):
    """Why a text is no YAML that is read here.

    Attributes:
        where: ``", line 3"``, empty where nobody knows.
        why: a clause.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where
        self.why = why


class NoRepeats(yaml.SafeLoader):
    """Plain YAML without Python objects; a key given twice is an error, not a silent last-wins.

    All is checked as it is written, before anything is built of it.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._extent: dict[int, tuple[int, int]] = {}
        self._parts = 0
        self._levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Any part of the text."""
        self._parts += 1
        self._levels += 1
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        # Before what is in it is read, which takes its time.
        if self._levels > MOST_LEVELS:
            raise _fault(_TOO_DEEP, event)
        if self._parts > MOST_PARTS:
            raise _fault(f"it holds more than {MOST_PARTS:,} keys and values", event)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        """A text, number or the like."""
        node: Any = super().compose_scalar_node(anchor)
        if node.tag == _NAMES + "value":  # a mere "=", for which PyYAML has no constructor
            node.tag = _NAMES + "str"
        if node.tag in (_NAMES + "int", _NAMES + "float") and len(node.value) > LONGEST_NUMBER:
            raise _fault(f"a number of {len(node.value):,} digits", node)
        if not node.value.isascii() and valid_text(node.value) != node.value:
            raise _fault("half a surrogate pair is no text", node)
        return self._measured(node, ())

    def compose_sequence_node(self, anchor: Any) -> Any:
        """A list."""
        node = super().compose_sequence_node(anchor)
        return self._measured(node, node.value)

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Keys and values."""
        node = super().compose_mapping_node(anchor)
        if len(node.value) > MOST_KEYS:
            raise _fault(f"{len(node.value):,} keys at one place, more than {MOST_KEYS:,}", node)
        keys = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        for key, times in keys.items():
            if times > 1:
                raise _fault(f"the field {key!r} is there twice", node)
        return self._measured(node, [part for pair in node.value for part in pair])

    def _measured(self, node: Any, parts: Any) -> Any:
        """A node, once it is seen to be of a known kind, and neither too long nor too deep."""
        known = node.tag in self.yaml_constructors or node.tag == _NAMES + "merge"
        if not known or node.tag in _NO_PLAIN_VALUES:
            raise _fault(f"{node.tag.replace(_NAMES, '!!')} is no plain value", node)
        try:
            extents = [self._extent[id(part)] for part in parts]
        except KeyError:  # it is not complete yet
            raise _fault("an alias (*name) stands for what it is a part of", node) from None
        size = 1 + (sum(size for size, _ in extents) if parts else len(node.value))
        depth = 1 + max((depth for _, depth in extents), default=0)
        if size > MOST_VALUE:
            raise _fault("its aliases (*name) stand for millions of characters", node)
        if depth > MOST_LEVELS:
            raise _fault(_TOO_DEEP, node)
        self._extent[id(node)] = size, depth
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            kind = node.tag.replace(_NAMES, "!!")
            raise _fault(f"{node.value!r} is not what {kind} can be", node) from None


def _fault(why: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


def yaml_value(text: str, loader: type[NoRepeats] = NoRepeats) -> Any:
    """What a text in YAML says.

    Raises:
        YamlFault: it is none, or beyond a limit.
    """
    try:
        return yaml.load(text, loader)
    except RecursionError:
        raise YamlFault("", _TOO_DEEP) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or first_line(error)
        if why.startswith("but "):
            why = f"{error.context}, {why}"  # type: ignore[attr-defined]
        where = f", line {mark.line + 1}" if mark else ""
    raise YamlFault(where, why if len(why) <= 200 else why[:199] + "…")


def yaml_file(path: Path, what: str, loader: type[NoRepeats] = NoRepeats) -> Any:
    """What a YAML file says.

    Args:
        what: kind of file, for the sentence: ``"judge card"``.

    Raises:
        OSError: it cannot be read.
        BadInput: it is no YAML, or beyond a limit.
    """
    try:
        return yaml_value(foreign_text(path, MOST_BYTES), loader)
    except ValueError as error:
        where = error.where if isinstance(error, YamlFault) else ""
        raise BadInput(
            f"{what} {path}{where} is no YAML that can be read ({error}); mend it."
        ) from None
