"""Foreign texts in what the command line writes: they steer no terminal and are never endless."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.loggers import clean_messages
from bfpo_bench.common.text import LONGEST
from tests.attack.attempt import check, run_here
from tests.attack.texts import CLIPBOARD

IN_A_NAME = CLIPBOARD.replace("/", "_")
ORDINARY = "Größe 模型 😀"

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command here; its exit code and all it wrote, which was looked through."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str]:
        ended = run_here(list(arguments), capfd)
        check(ended)
        return ended.code, ended.out + ended.err

    return run


def asked(model: Path, *more: str) -> list[str]:
    return [
        *("evaluate", "--model", str(model), "--suite", "mini", "--tasks", "advbench"),
        *("--judge", "keyword", *more),
    ]


def test_a_model_folder_of_a_hostile_name(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / f"{ORDINARY}{IN_A_NAME}"
    shutil.copytree(tiny_llama, model)
    for more in (["--dry-run"], []):
        code, written = command(*asked(model, "--limit", "2", *more))
        assert code == 0, written
        assert ORDINARY in written
        assert r"\x1b]52;c;" in written
        assert r"\u202egnp.exe" in written
    code, written = command(*asked(tmp_path / (CLIPBOARD * 5_000)))
    assert code, written
    assert "…" in written


def test_tables_and_remarks_of_hostile_runs(tmp_path: Path, command: Command) -> None:
    name = f"{ORDINARY} {CLIPBOARD}"
    run = synthetic_run(tmp_path / "run", name, limit=10, tasks=("alert", "winogrande"))
    code, written = command("leaderboard", str(run), "--full")
    assert code == 0
    assert ORDINARY in written
    other = tmp_path / IN_A_NAME
    other.mkdir()
    code, written = command("leaderboard", str(run), str(other))
    assert code == 1
    assert r"\x1b]52;c;" in written


def test_what_libraries_log_is_cleaned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    factory = logging.getLogRecordFactory()
    clean_messages()
    logging.getLogger("of.a.library").warning("value %s %s", ORDINARY, CLIPBOARD * 5_000)
    (said,) = caplog.messages
    logging.setLogRecordFactory(factory)
    assert said.startswith(rf"value {ORDINARY} \x1b]52")
    assert len(said) <= LONGEST
    assert "\x1b" not in said
