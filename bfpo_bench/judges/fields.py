"""Reads a judge card's YAML and checks each field, so that a mistake in it becomes one sentence."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.judges.protocol import PROMPT_KINDS


class _NoRepeats(yaml.SafeLoader):
    """Plain YAML without Python objects; a key given twice is an error, not a silent last-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


class Fields:
    """The fields of one card; every method returns one of them with its type checked.

    Raises:
        BadInput: naming the file, the field, what was found and what to write instead.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = _read(path)

    def allow(self, known: Iterable[str]) -> None:
        """Refuses fields that are not in ``known``, naming the nearest one that is."""
        known = set(known)
        for key in self._values:
            if key not in known:
                raise unknown_name(f"field in judge card {self.path}:", str(key), known)

    def text(self, key: str, default: str | None = None) -> str:
        """A text with something in it; required where there is no default."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(key, value, "it must be a text" + _bare_word_hint(value))
        if not value.strip() and value != default:
            raise self.error(key, value, "it must not be empty")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of texts, each with something in it; required where there is no default."""
        value = self._get(key, default)
        if default is not None and value is default:
            return default
        if not isinstance(value, list) or not value:
            raise self.error(key, value, "it must be a list of texts")
        for entry in value:
            if not isinstance(entry, str) or not entry.strip():
                hint = _bare_word_hint(entry)
                raise self.error(key, entry, "every entry must be a text that is not empty" + hint)
        return tuple(value)

    def kinds(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Kinds of prompts: the field ``fits``."""
        value = self.texts("fits", default=default)
        for kind in value:
            if kind not in PROMPT_KINDS:
                raise self.error("fits", kind, f"the kinds are {' and '.join(PROMPT_KINDS)}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(key, value, "it must be a whole number of at least 1")
        return value

    def share(self, key: str, default: float) -> float:
        """A number from 0 to 1."""
        value = self._get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise self.error(key, value, "it must be a number from 0 to 1")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, value, "it must be true or false")
        return value

    def error(self, key: str, found: object, what_to_do: str) -> BadInput:
        """The sentence for a field that is there but not right."""
        shown = repr(found)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return BadInput(f"judge card {self.path}: field {key!r} is {shown}; {what_to_do}.")

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key)
        if value is not None:
            return value
        if default is None:
            raise BadInput(f"judge card {self.path}: the field {key!r} is missing; add it.")
        return default


def _read(path: Path) -> dict[Any, Any]:
    try:
        # The subclass only refuses more than SafeLoader does; it builds no Python objects.
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoRepeats)
    except FileNotFoundError:
        raise BadInput(f"there is no judge card {path}; give the path of a YAML file.") from None
    except OSError as problem:
        why = problem.strerror or problem
        raise BadInput(f"judge card {path} cannot be read ({why}); give a YAML file.") from None
    except UnicodeDecodeError:
        raise BadInput(f"judge card {path} is not UTF-8 text; save the card as UTF-8.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        why = (
            getattr(problem, "problem", None)
            or (str(problem) or type(problem).__name__).splitlines()[0]
        )
        raise BadInput(f"judge card {path}{where} is not valid YAML: {why}; mend it.") from None
    if not isinstance(values, dict):
        raise BadInput(
            f"judge card {path} holds no fields but {type(values).__name__}; "
            "write lines like `field: value`."
        )
    return values


def _bare_word_hint(value: object) -> str:
    """Why a word that looks like text is none: YAML reads a bare yes, no, on or off as a flag."""
    if isinstance(value, bool):
        return ' (YAML reads a bare yes or no as true or false: put it in quotes, like "yes")'
    return ""
