"""Whose file is it? Found by what stands in it, and read by the module of its tool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import check_is_file, foreign_json
from bfpo_bench.common.text import valid_text
from bfpo_bench.common.validate import validated
from bfpo_bench.imports import adversariallm, harmbench, inspect_log, lm_eval_log
from bfpo_bench.imports.answers import Answer, Log
from bfpo_bench.imports.json_lines import read_samples
from bfpo_bench.imports.options import ImportOptions

LARGEST = 2**31
"""Bytes of a JSON file, which is in memory as a whole."""

_NAMES = {
    "inspect": "log of inspect_ai",
    "lm-eval": "results or samples file of lm-eval",
    "harmbench": "completions file of HarmBench",
    "adversariallm": "run file of AdversariaLLM",
    "jsonl": "file of JSON lines",
}


_OF_FIELDS = ("jsonl", "lm-eval")
"""Whose fields can be named."""


@dataclass(frozen=True)
class File:
    """A file whose tool is known.

    Attributes:
        kind: one of `FORMATS`.
        content: what it holds where it is JSON as a whole, else None.
    """

    path: Path
    kind: str
    content: Any = None


def look(path: Path, asked: str = "auto") -> File:
    """Whose file it is.

    Args:
        asked: whose it is said to be.

    Raises:
        BadInput: it cannot be read, is of no tool that is known, or of another than is said.
    """
    kind, content = _looked_at(path)
    if asked == "jsonl" and content is None and kind != "inspect":
        return File(path, asked)
    if asked not in ("auto", kind):
        raise BadInput(
            f"{path} is no {_NAMES[asked]}, it looks like a {_NAMES[kind]}; name the right file, "
            "or leave --format out."
        )
    return File(path, kind, content)


def read_logs(files: Sequence[File], options: ImportOptions) -> list[Log]:
    """The answers of all files.

    Raises:
        BadInput: a file is damaged, or holds no answers.
    """
    results: list[tuple[Path, dict[str, Any]]] = []
    for one in files:
        if one.kind == "lm-eval" and one.content is not None:
            configs = validated(dict[str, Any], one.content["configs"], f"{one.path}, configs")
            results.append((one.path, {**one.content, "configs": configs}))
    found: list[Log] = []
    for file in files:
        path, content = file.path, file.content
        if file.kind not in _OF_FIELDS and (options.prompt_field or options.response_field):
            raise BadInput(
                f"{path} is a {_NAMES[file.kind]}, whose fields are known; --prompt-field and "
                "--response-field are of JSON lines, leave them out."
            )
        if file.kind == "jsonl":
            found.append(_json_lines(path, options))
        elif file.kind == "inspect":
            found.append(inspect_log.read(path, content))
        elif file.kind == "harmbench":
            found.append(harmbench.read(path, content))
        elif file.kind == "adversariallm":
            found.append(adversariallm.read(path, content))
        elif content is None:
            found.append(lm_eval_log.read(path, results, options))
    if not found:
        raise BadInput(
            f"{files[0].path} holds lm-eval's numbers and no answers; give its samples_*.jsonl "
            "too, which `lm_eval --log_samples` writes."
        )
    return found


def _looked_at(path: Path) -> tuple[str, Any]:
    """Whose file it is, and what it holds where it is JSON as a whole."""
    try:
        check_is_file(path)
        with path.open("rb") as file:
            first, alone = _first_line(file)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}); name a file with responses."
        ) from error
    if first.startswith(b"PK\x03\x04") or path.suffix == ".eval":
        return "inspect", None
    line = _object(first)
    if line is not None and not (alone and _tool_of(line)):
        return ("lm-eval" if "resps" in line and "arguments" in line else "jsonl"), None
    try:
        content = valid_text(foreign_json(path, LARGEST))
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{path} is neither JSON nor JSON lines ({error}); name a file with responses."
        ) from error
    if isinstance(content, dict) and (tool := _tool_of(content)) is not None:
        return tool, content
    raise BadInput(
        f"{path} is of no tool that is known here ({', '.join(_NAMES)}); write one JSON object "
        "with prompt and response per line."
    )


def _tool_of(content: dict[str, Any]) -> str | None:
    """Whose file a JSON object is, by its keys."""
    if {"eval", "version"} <= content.keys():
        return "inspect"
    if {"results", "configs"} <= content.keys():
        return "lm-eval"
    if {"runs", "config"} <= content.keys():
        return "adversariallm"
    return "harmbench" if harmbench.is_one(content) else None


def _first_line(file: IO[bytes]) -> tuple[bytes, bool]:
    """The first line with something in it, and whether it is the only one."""
    lines = (line for line in iter(lambda: file.readline(LARGEST), b"") if line.strip())
    return next(lines, b""), next(lines, None) is None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _json_lines(path: Path, options: ImportOptions) -> Log:
    def answers() -> Iterator[Answer]:
        for sample in read_samples(path, options.prompt_field, options.response_field):
            exchange = sample.exchange
            yield Answer(f"{path}, line {sample.line}", exchange.prompt, exchange.response)

    return Log(path, "a file of JSON lines", path.stem, None, answers)
