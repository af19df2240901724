"""`run.json` as it is read: what it says may have been cut, edited or come from anywhere."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.json_file import of_kind, read_json
from bfpo_bench.common.validate import SEEN
from bfpo_bench.run.identity import Judge, Model, Suite

SCHEMA_VERSION = 2
"""1: identities of version 0.1, see :mod:`bfpo_bench.run.identity`."""

_AGAIN = "begin the run again with --fresh."


@dataclass(frozen=True, config=SEEN)
class _Content:
    """What has to be right in a ``run.json``, whatever else stands in it."""

    schema: int
    identity: _Identity
    sessions: list[_Session]
    environment: _Environment = field(default_factory=lambda: _Environment())


@dataclass(frozen=True, config=SEEN)
class _Identity:
    tasks: dict[str, _Task]
    data: dict[str, dict[str, Any]]
    also: dict[str, dict[str, Any]] = field(default_factory=dict)
    system_prompt: str | None = None


@dataclass(frozen=True, config=SEEN)
class _Task:
    generation: dict[str, Any] | None = None


@dataclass(frozen=True, config=SEEN)
class _Session:
    seconds: dict[str, float] | None = None


@dataclass(frozen=True, config=SEEN)
class _Environment:
    packages: dict[str, Any] | None = None


@dataclass(frozen=True, config=SEEN)
class _Evaluation:
    """The same of the identity of an evaluation."""

    model: Model
    suite: Suite
    judge: Judge | None = None


def begun(identity: dict[str, Any]) -> dict[str, Any]:
    """What ``run.json`` holds of a run that begins."""
    return {"schema": SCHEMA_VERSION, "identity": identity, "environment": {}, "sessions": []}


def read_run(path: Path) -> dict[str, Any]:
    """The content of a folder's ``run.json``.

    Raises:
        BadInput: the folder is no run, its file is damaged, or of a newer version.
    """
    file = path / "run.json"
    try:
        content = read_json(file)
    except OSError as error:
        raise BadInput(
            f"{path} is no run directory ({file.name}: {error.strerror}); name the --output of an "
            "evaluate command."
        ) from error
    except ValueError as error:
        raise BadInput(f"{file} is damaged ({error}); {_AGAIN}") from error
    return _run(content, file)


def _run(content: Any, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("identity"), dict):
        raise BadInput(f"{file} is not a run of bfpo-bench; use another run directory.")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise BadInput(
            f"{file.parent} was written by a newer bfpo-bench (schema {schema}, this one knows "
            f"{SCHEMA_VERSION}); upgrade bfpo-bench to go on with this run."
        )
    of_kind(_Content, content, file, _AGAIN)
    return dict(content)


def read_evaluation(path: Path) -> dict[str, Any]:
    """The same of a run that is an evaluation, whose identity names its model and suite.

    Raises:
        BadInput: as :func:`read_run`, or it is another kind of run.
    """
    return _evaluation(read_run(path), path / "run.json")


def checked_evaluation(content: Any, file: Path) -> dict[str, Any]:
    """What :func:`read_evaluation` gives, of a content that stood in another file."""
    return _evaluation(_run(content, file), file)


def _evaluation(content: dict[str, Any], file: Path) -> dict[str, Any]:
    identity = content["identity"]
    if "suite" not in identity and "kind" in identity:
        raise BadInput(
            f"{file.parent} is the run of a red teaming, no evaluation; what it has found lies in "
            "its --output, one pair a line."
        )
    of_kind(_Evaluation, identity, file, _AGAIN)
    return content
