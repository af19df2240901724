"""The corpus: every hostile thing ends in one clean sentence, or in a right result.

By hand, each thing by each command: ``BFPO_ATTACK=1 python -m pytest tests/attack``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.client import Server
from bfpo_bench.leaderboard.report import write
from bfpo_bench.models import chat
from tests.attack import corpus_files, corpus_models, corpus_runs
from tests.attack.attempt import Case, attack
from tests.attack.corpus_servers import LINES, SERVERS
from tests.client.fake_server import serving


@pytest.fixture(scope="module")
def good(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound things of every kind."""
    folder = tmp_path_factory.mktemp("good")
    shutil.copytree(tiny_llama, folder / "model")
    tasks = ("advbench", "alert", "winogrande")
    synthetic_run(folder / "run", limit=6, tasks=tasks)
    (folder / "labels.csv").write_text("prompt,response,l\nq,no,harmless\nr,sure,harmful\n")
    (folder / "samples.jsonl").write_text('{"prompt": "q", "response": "I cannot."}\n')
    annotation = {"instruction": "i", "output_1": "a", "output_2": "b", "annotator": "x"}
    names = {"generator_1": "a", "generator_2": "b", "preference": 1.5}
    (folder / "annotations.json").write_text(json.dumps([annotation | names]))
    return folder


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@each(corpus_files.cases())
def test_files(case: Case, good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    attack(case, good, tmp_path, capfd)


@each(corpus_models.cases())
def test_models(
    case: Case,
    good: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.5)
    attack(case, good, tmp_path, capfd)


@each(corpus_runs.cases())
def test_runs(
    case: Case,
    good: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write, "draw_all", lambda entries, folder: [])
    attack(case, good, tmp_path, capfd)


def asked() -> Iterable[Case]:
    """Each server by one command in turn."""
    lines = list(LINES.items())
    for number, what in enumerate(SERVERS):
        for place, (who, line) in enumerate(lines):
            if corpus_files.EVERY or number % len(lines) == place:
                yield Case(f"{what}, as {who}", line, code=-1)


@each(asked())
def test_servers(
    case: Case,
    good: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Server.__init__, "__defaults__", (None, 0.5, 2, 0.01, 0.02, None))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    with serving(SERVERS[case.name.rpartition(", as ")[0]]) as server:
        ended = attack(replace(case, url=server.url), good, tmp_path, capfd)
    assert "sk-0123" not in ended.out + ended.err
