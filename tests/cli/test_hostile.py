"""Foreign texts in what the command line writes: they steer no terminal and are never endless."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.cli import main
from bfpo_bench.common.text import LONGEST

CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07\x1b]0;title\x07\x9b2J\u202egnp.exe\r"
IN_A_NAME = CLIPBOARD.replace("/", "_")
ORDINARY = "Größe 模型 😀"

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs a command here; its exit code and all it wrote, which was looked through."""
    monkeypatch.setenv("COLUMNS", "200")
    factory = logging.getLogRecordFactory()

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bfpo-bench", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        done = capsys.readouterr()
        written = done.out + done.err
        steering = {
            character
            for character in written
            if unicodedata.category(character) in ("Cc", "Cf") and character != "\n"
        }
        assert not steering, written[:1000]
        assert max(map(len, done.err.splitlines()), default=0) <= LONGEST
        return int(code or 0), written  # type: ignore[call-overload]

    yield run
    logging.setLogRecordFactory(factory)


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
    assert "[… cut …]" in written


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"dtype": CLIPBOARD}),
        ("config.json", {"model_type": ORDINARY + CLIPBOARD * 5_000}),
        ("tokenizer_config.json", {"chat_template": f"{{{{ raise_exception('{CLIPBOARD}') }}}}"}),
        ("tokenizer_config.json", {"chat_template": f"{{{{ {CLIPBOARD} }}}}"}),
        ("model.safetensors.index.json", {"weight_map": {"a": f"{IN_A_NAME}.safetensors"}}),
    ],
)
def test_a_checkpoint_with_hostile_texts(
    file: str, content: dict[str, str], tiny_llama: Path, tmp_path: Path, command: Command
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    if "index" in file:
        (model / "model.safetensors").unlink()
    place = model / file
    before = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps(before | content))
    if "chat_template" in content:
        (model / "chat_template.jinja").unlink(missing_ok=True)
    code, written = command(*asked(model, "--dry-run"))
    assert code == 2, written
    assert r"\x1b" in written


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


def test_what_libraries_log_is_cleaned(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    command("--version")
    logging.getLogger("of.a.library").warning("value %s %s", ORDINARY, CLIPBOARD * 5_000)
    (said,) = caplog.messages
    assert said.startswith(rf"value {ORDINARY} \x1b]52")
    assert len(said) <= LONGEST
    assert "\x1b" not in said
