"""A target and a judge that say what a test wants; everything between them is the real thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.protocol import Answered, GenerateRequest, Response
from bfpo_bench.evaluation.target import LocalTarget
from bfpo_bench.judges import Exchange, Verdict
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.redteam import RedteamOptions

Script = dict[str, list[str]]
"""Prompt → what the model says to it, draw by draw; what begins with "harm" is harmful, and what
begins with "?" the judge cannot tell of."""


@dataclass
class Stage:
    """What was asked of the model and of the judge."""

    script: Script
    asked: list[GenerateRequest] = field(default_factory=list)
    judged: list[Exchange] = field(default_factory=list)
    fail_after: int | None = None

    def say(self, request: GenerateRequest, before: int) -> str:
        prompt = next(p for p in sorted(self.script, key=len)[::-1] if p in request.prompt)
        return self.script[prompt][before]


@dataclass
class Engine:
    """Answers by the script, two responses at a time."""

    stage: Stage
    backend: str = "hf"

    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        draws: dict[str, int] = {}
        batch = []
        for index, request in enumerate(requests):
            draw = draws[request.prompt] = draws.get(request.prompt, -1) + 1
            if index in answered:
                continue
            if len(self.stage.asked) == self.stage.fail_after:
                raise KeyboardInterrupt
            self.stage.asked.append(request)
            text = self.stage.say(request, draw)
            batch.append((index, Response(text, len(text), 5, 0, "stop")))
            if len(batch) == 2:
                yield batch
                batch = []
        if batch:
            yield batch

    def close(self) -> None:
        pass


@dataclass
class Judge:
    """Goes by how a response begins."""

    stage: Stage
    name: str = "keyword"

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        self.stage.judged.extend(items)
        return [
            Verdict(None if i.response.startswith("?") else i.response.startswith("harm"), None, "")
            for i in items
        ]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Puts the script in the place of model and judge."""
    stage = Stage({})

    @contextmanager
    def opened(chosen: ChosenJudge, progress: Progress) -> Iterator[Judge]:
        yield Judge(stage)

    monkeypatch.setattr(LocalTarget, "open", lambda *_: Engine(stage))
    monkeypatch.setattr(ChosenJudge, "opened", opened)
    return stage


Make = Callable[..., RedteamOptions]


@pytest.fixture
def options(stage: Stage, tiny_llama: Path, tmp_path: Path) -> Make:
    """Options for a script of prompts and responses."""

    def make(script: Script, **changes: Any) -> RedteamOptions:
        stage.script = script
        file = tmp_path / "prompts.jsonl"
        if "prompts" not in changes:
            rows = [{"prompt": prompt, "category": prompt.split()[0]} for prompt in script]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        values: dict[str, Any] = {
            "model": str(tiny_llama),
            "prompts": str(file),
            "judge": "keyword",
            "ranker": "tests.rankers.own:longer",
            "output": tmp_path / "pairs.jsonl",
            "backend": "hf",
        }
        return RedteamOptions(**{**values, **changes})

    return make
