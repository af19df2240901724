"""alpaca_eval's own annotator configurations, read from the installed package without importing it.

The prompts belong to that package (Apache-2.0) and stay there. Of its configurations those can be
used that ask a chat model about one pair at a time and whose answer one of
:mod:`bfpo_bench.helpfulness.answers` reads: all of AlpacaEval 2's weighted ones among them.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import MIB, foreign_text
from bfpo_bench.common.packages import find_spec
from bfpo_bench.common.yaml_text import yaml_file
from bfpo_bench.helpfulness.answers import READERS, Step
from bfpo_bench.judges.protocol import valid_unicode

OFFICIAL = "weighted_alpaca_eval_gpt4_turbo"
"""AlpacaEval 2's own; its model, gpt-4-1106-preview, was shut down in 2026."""

OFFICIAL_MODEL = "gpt-4-1106-preview"
TEXTS = ("instruction", "output_1", "output_2")

# What upstream's client makes of a request besides what a configuration says.
DEFAULTS: dict[str, Any] = {"temperature": 0.7, "top_p": 1.0}
_REQUEST = ("temperature", "top_p", "logprobs", "top_logprobs", "tools", "tool_choice")
_OF_THE_CLIENT = ("model_name", "max_tokens", "client_kwargs", "requires_chatml", "price_per_token")

_PLACEHOLDER = re.compile(r"\{(" + "|".join(TEXTS) + r")\}")
_TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>\s*", re.DOTALL)


@dataclass(frozen=True)
class AnnotatorConfig:
    """How an annotator is asked and what its answer means.

    Attributes:
        name: of the configuration.
        package: version of alpaca_eval that it was read from.
        model: the model that it was made for.
        base_url: its server, where the configuration names one.
        turns: (role, text) of each message; the texts hold ``{instruction}``, ``{output_1}`` and
            ``{output_2}``, once each.
        fields: of the request, besides model, messages and ``max_tokens``.
        max_tokens: most tokens of an answer.
        steps: readers of the answer, see :func:`~bfpo_bench.helpfulness.answers.read_preference`.
        randomised: whether the outputs' order is drawn for each instruction.
    """

    name: str
    package: str
    model: str
    base_url: str | None
    turns: tuple[tuple[str, str], ...]
    fields: dict[str, Any]
    max_tokens: int
    steps: tuple[Step, ...]
    randomised: bool

    @property
    def weighted(self) -> bool:
        """Whether the answer is read off log-probabilities."""
        return self.steps[0][0] == "logprob_parser"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of an answer of one token that is read off their log-probabilities."""
        if not self.weighted or self.max_tokens != 1:
            return ()
        settings = self.steps[0][1]
        both = (settings["numerator_token"], *settings["denominator_tokens"])
        return tuple(dict.fromkeys(both))

    @property
    def needs_server(self) -> str | None:
        """What of an answer only a server can give; None where a model that is loaded here can."""
        if self.weighted and not self.labels:
            return "the log-probabilities of an answer that is first reasoned about"
        return "calls of functions" if "tools" in self.fields else None

    def messages(self, instruction: str, first: str, second: str) -> list[dict[str, str]]:
        """What the annotator is shown; nothing that is put in is looked at again."""
        values = dict(zip(TEXTS, map(valid_unicode, (instruction, first, second)), strict=True))
        return [
            {"role": role, "content": _PLACEHOLDER.sub(lambda mark: values[mark[1]], text)}
            for role, text in self.turns
        ]

    def fingerprint(self) -> str:
        """Changes with everything of the configuration that could change an answer."""
        content = [self.turns, self.fields, self.max_tokens, self.steps, self.randomised]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def is_swapped(instruction: str, seed: int) -> bool:
    """Whether the model's output is shown first, by alpaca_eval's rule (its seed is 0).

    The rule reproduces all published annotations that were tried (docs/helpfulness.md).
    """
    drawn = random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)
    return drawn[0]


def config_names() -> list[str]:
    """The configurations that can be used.

    Raises:
        BadInput: alpaca_eval is not installed.
    """
    names = []
    for path in sorted(_folder().glob("*/configs.yaml")):
        try:
            names.append(_read(path).name)
        except BadInput:
            continue
    return names


def load_config(name: str) -> AnnotatorConfig:
    """Reads a configuration by its name.

    Raises:
        BadInput: alpaca_eval is not installed, has no such configuration, or one that asks in a
            way that is not supported.
    """
    path = _folder() / name / "configs.yaml"
    if Path(name).name != name or not path.is_file():
        raise unknown_name("annotator configuration of alpaca_eval", name, config_names())
    return _read(path)


def _folder() -> Path:
    found = find_spec("alpaca_eval")
    if found is None or not found.submodule_search_locations:
        raise BadInput(
            "the annotators' prompts are those of the alpaca_eval package, which is not installed: "
            "pip install 'bfpo-bench[alpaca]' (or alpaca-eval==0.6.6)."
        )
    return Path(found.submodule_search_locations[0]) / "evaluators_configs"


def _version() -> str:
    try:
        return metadata.version("alpaca-eval")
    except metadata.PackageNotFoundError:
        return "unknown"


def _read(path: Path) -> AnnotatorConfig:
    name = path.parent.name
    try:
        content = yaml_file(path, "the annotator configuration")
        [(_, found)] = content.items()
        template = foreign_text(path.parents[1] / found["prompt_template"], MIB)
        asked = dict(found["completions_kwargs"])
        model, max_tokens = str(asked["model_name"]), int(asked.get("max_tokens", 2048))
        steps = _steps(found)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise BadInput(
            f"the annotator configuration {name} of alpaca_eval is not one question about one pair "
            f"({type(error).__name__}); use another, such as {OFFICIAL}."
        ) from error
    why = _unsupported(found, asked, template, steps)
    if why:
        raise BadInput(
            f"the annotator configuration {name} of alpaca_eval cannot be used here: it {why}; use "
            f"another, such as {OFFICIAL}."
        )
    client = asked.get("client_kwargs") or {}
    return AnnotatorConfig(
        name=name,
        package=_version(),
        model=model,
        base_url=client.get("base_url"),
        turns=tuple((role, text.strip()) for role, text in _TURN.findall(template.strip())),
        fields=DEFAULTS | {key: asked[key] for key in _REQUEST if key in asked},
        max_tokens=max_tokens,
        steps=steps,
        randomised=bool(found.get("is_randomize_output_order", True)),
    )


def _steps(found: Mapping[str, Any]) -> tuple[Step, ...]:
    name = found.get("fn_completion_parser") or "regex_parser"
    settings = found.get("completion_parser_kwargs") or {}
    if name == "pipeline_meta_parser":
        return tuple((step, own or {}) for step, own in settings["parsers_to_kwargs"].items())
    return ((str(name), settings),)


def _unsupported(
    found: Mapping[str, Any], asked: Mapping[str, Any], template: str, steps: Sequence[Step]
) -> str:
    """What of a configuration is beyond this program; empty where nothing is."""
    strange = [key for key in asked if key not in _REQUEST + _OF_THE_CLIENT]
    unread = [name for name, _ in steps if name not in READERS]
    if found.get("fn_completions") != "openai_completions":
        return f"does not ask an OpenAI-compatible endpoint ({found.get('fn_completions')})"
    if found.get("batch_size", 1) != 1:
        return f"asks about {found['batch_size']} pairs at once"
    if strange:
        return f"sets {strange[0]!r}"
    if unread:
        return f"reads its answers with {unread[0]!r}"
    if _TURN.sub("", template.strip()):
        return "is not written as a chat"
    if sorted(_PLACEHOLDER.findall(template)) != sorted(TEXTS):
        return "does not show an instruction and two outputs once each"
    return ""
