"""Logs of inspect_ai, ``.eval`` and ``.json``: their samples, and what is our own among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.validate import SEEN, Count, validated
from bfpo_bench.export.inspect_log import HEADER, SAMPLES, SCHEMA, START
from bfpo_bench.export.inspect_samples import OURS
from bfpo_bench.imports.answers import Answer, Log, settings_of
from bfpo_bench.imports.zip_log import opened

TOOL = "inspect_ai"

_FINISHES = {"max_tokens": "length", "model_length": "length"}

_SEEN = ("image", "audio", "video", "document")
"""Parts of a question that are no text."""


@dataclass(frozen=True, config=SEEN)
class _Message:
    role: str
    content: str | list[dict[str, Any]]


@dataclass(frozen=True, config=SEEN)
class _Choice:
    message: _Message
    stop_reason: str = "unknown"


@dataclass(frozen=True, config=SEEN)
class _Usage:
    input_tokens: Count = 0
    output_tokens: Count = 0


@dataclass(frozen=True, config=SEEN)
class _Output:
    choices: list[_Choice] = field(default_factory=list)
    usage: _Usage | None = None


@dataclass(frozen=True, config=SEEN)
class Sample:
    """What is read of a sample.

    Attributes:
        metadata: of our own logs with all that a run holds, under our key.
    """

    input: str | list[_Message]
    messages: list[_Message] = field(default_factory=list)
    output: _Output = field(default_factory=_Output)
    metadata: dict[str, Any] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def text(self, content: str | list[dict[str, Any]]) -> str:
        """The text of a message; long ones may stand in the sample's attachments."""
        if isinstance(content, str):
            name = content.removeprefix("attachment://")
            return self.attachments.get(name, content) if name != content else content
        parts = [part.get("text") for part in content if part.get("type") == "text"]
        return "\n".join(self.text(part) for part in parts if isinstance(part, str))


@dataclass(frozen=True, config=SEEN)
class _Spec:
    task: str
    model: str
    metadata: dict[str, Any] | None = None
    model_generate_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, config=SEEN)
class _Header:
    version: int
    eval: _Spec
    status: str = "started"


def read(path: Path, content: Any = None) -> Log:
    """The answers of a log.

    Args:
        content: of a ``.json`` log, which is in memory as a whole.

    Raises:
        BadInput: it is damaged, of a newer schema, or has no samples.
    """
    about = header(path, content)
    spec = about.eval
    task = spec.task.rpartition("/")[2]

    def answers() -> Iterator[Answer]:
        with samples(path, content) as found:
            for place, sample in found:
                yield from _answers(sample, f"{path}, {place}")

    names = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_new_tokens"}
    sampling = settings_of(spec.model_generate_config, names)
    cut = f"inspect_ai's log of {task} is not whole: its status is {about.status}"
    notes = () if about.status == "success" else (cut,)
    return Log(path, TOOL, task, spec.model, answers, sampling, notes)


def header(path: Path, content: Any = None) -> _Header:
    """What a log says of itself.

    Raises:
        BadInput: it is no log, damaged, or of a newer schema.
    """
    if content is None:
        with opened(path) as log:
            name = next((name for name in (HEADER, START) if name in log.names), None)
            if name is None:
                raise BadInput(
                    f"{path} is no log of inspect_ai (it is a ZIP without {HEADER}); name one."
                )
            content = log.json(name)
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise BadInput(
            f"{path} is a log of a newer inspect_ai (schema {version}, this bfpo-bench knows "
            f"{SCHEMA}); upgrade bfpo-bench to read it."
        )
    # Its samples are checked as they are read.
    parts = ("version", "eval", "status")
    about = {part: content[part] for part in parts if part in content} if version else content
    return validated(_Header, about, str(path))


@contextmanager
def samples(path: Path, content: Any = None) -> Iterator[Iterator[tuple[str, Sample]]]:
    """The samples of a log with their places in it, one after the other.

    Raises:
        BadInput: one is not what inspect_ai writes.
    """
    if content is not None:
        every = content.get("samples") or ()
        if not isinstance(every, list | tuple):
            raise BadInput(f"{path} has no list of samples; log it again.")
        yield (
            (f"sample {number}", validated(Sample, one, f"{path}, sample {number}"))
            for number, one in enumerate(every, 1)
        )
        return
    with opened(path) as log:
        names = [name for name in log.names if name.startswith(SAMPLES) and name.endswith(".json")]
        yield ((name, validated(Sample, log.json(name), f"{path}, {name}")) for name in names)


def ours(path: Path, content: Any = None) -> dict[str, Any] | None:
    """What bfpo-bench itself has put into a log's header; None in a log of somebody else's."""
    found = (header(path, content).eval.metadata or {}).get(OURS)
    return found if isinstance(found, dict) else None


def _answers(sample: Sample, where: str) -> Iterator[Answer]:
    """What the model said to a sample; one without a response where that ended before."""
    asked = sample.input
    users = () if isinstance(asked, str) else [one for one in asked if one.role == "user"]
    question = asked if isinstance(asked, str) else users[-1].content if users else ""
    if isinstance(question, list) and any(part.get("type") in _SEEN for part in question):
        raise BadInput(
            f"{where} asks about more than a text, and only texts can be judged here; leave such "
            "samples out."
        )
    text = sample.text(question)
    choices = sample.output.choices if sample.error is None else []
    if not choices:
        yield Answer(where, text, None)
    said = [(one.role, sample.text(one.content)) for one in sample.messages]
    # Up to the last answer, with what else stood before it.
    given = said[:-1] if said and said[-1][0] == "assistant" else said
    plain = not given or given == [("user", text)]
    prompt = None if plain else "\n\n".join(f"{role}: {words}" for role, words in given)
    usage = sample.output.usage or _Usage()
    for choice in choices:
        content = choice.message.content
        thoughts = [
            str(part.get("reasoning") or "")
            for part in (content if isinstance(content, list) else ())
            if part.get("type") == "reasoning"
        ]
        yield Answer(
            *(where, text, sample.text(content), prompt),
            thought="\n".join(thoughts) if thoughts else None,
            finish=_FINISHES.get(choice.stop_reason, choice.stop_reason),
            prompt_tokens=usage.input_tokens,
            # Of several answers nobody says how many are whose.
            tokens=usage.output_tokens if len(choices) == 1 else 0,
        )
