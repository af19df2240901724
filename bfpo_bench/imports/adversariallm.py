"""AdversariaLLM's ``run.json``: the steps of attacks on prompts, each with the model's completions.

Its records are ``{"config": …, "runs": [{"original_prompt": [messages], "steps": [{"model_input":
[messages], "model_completions": [texts]}]}]}``. A judge is shown the original prompt, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from bfpo_bench.common.validate import SEEN, validated
from bfpo_bench.imports.answers import Answer, Log, settings_of

TOOL = "AdversariaLLM"


@dataclass(frozen=True, config=SEEN)
class _Message:
    role: str
    content: str


@dataclass(frozen=True, config=SEEN)
class _Step:
    model_completions: list[str]
    model_input: list[_Message] | None = None


@dataclass(frozen=True, config=SEEN)
class _Run:
    original_prompt: list[_Message]
    steps: list[_Step] = field(default_factory=list)


def read(path: Path, content: dict[str, Any]) -> Log:
    """The completions of the last step of each attack.

    Raises:
        BadInput: it is not laid out so.
    """
    runs = validated(list[_Run], content["runs"], f"{path}, runs")
    config = content["config"] if isinstance(content["config"], dict) else {}
    several = max((len(run.steps) for run in runs), default=0)

    def answers() -> Iterator[Answer]:
        for number, run in enumerate(runs):
            # The assistant's part of it is what an attack aims at.
            asked = "\n\n".join(one.content for one in run.original_prompt if one.role == "user")
            answered = [step for step in run.steps if step.model_completions][-1:]
            if not answered:
                yield Answer(f"{path}, run {number}", asked, None)
            for step in answered:
                given = "\n\n".join(one.content for one in step.model_input or () if one.content)
                for text in step.model_completions:
                    yield Answer(f"{path}, run {number}", asked, text, given or None)

    attack = str(config.get("attack") or "attack")
    notes = [f"the prompts are those of AdversariaLLM's attack {attack!r}"]
    if several > 1:
        notes.append(f"of up to {several} steps of an attack the last is taken")
    return Log(
        path,
        TOOL,
        f"{config.get('dataset') or path.stem} {attack}",
        _model(config),
        answers,
        _sampling(config),
        tuple(notes),
    )


def _model(config: dict[str, Any]) -> str | None:
    params = config.get("model_params")
    found = params.get("id") if isinstance(params, dict) else None
    name = found or config.get("model")
    return name if isinstance(name, str) else None


def _sampling(config: dict[str, Any]) -> dict[str, Any]:
    params = config.get("attack_params")
    drawn = params.get("generation_config") if isinstance(params, dict) else None
    return settings_of(drawn, {name: name for name in ("temperature", "top_p", "max_new_tokens")})
