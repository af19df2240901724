"""The program as its users meet it; where processes matter, in one of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from tests.cli.program import run
from tests.paced import Paced

PROGRAM = [sys.executable, "-m", "bfpo_bench"]

COMMANDS = [
    *([], ["evaluate"], ["judge"], ["show"], ["export"], ["tasks"], ["demo"]),
    *(["train"], ["recipes"], ["merge"], ["redteam"], ["illustrate"]),
    *(["leaderboard"], ["compare"]),
    *(["judges"], ["judges", "list"], ["judges", "check"]),
    *(["data"], ["data", "list"], ["data", "check"]),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert "-completion" not in done.stdout
    if command not in ([], ["data"], ["judges"]):
        assert f"bfpo-bench {' '.join(command)}" in done.stdout.split("Usage:")[1]
        assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("evaluate --model m --limit x", "invalid value for '--limit': it must be a whole number"),
        ("data check --nope", "no such option: --nope"),
    ],
)
def test_what_cannot_be_typed_is_told_in_one_sentence(typed: str, said: str) -> None:
    done = run(*typed.split())
    assert done.returncode == 2
    assert done.stderr.startswith(f"bfpo-bench: {said}; see `")
    assert done.stderr.count("\n") == 1


def test_nothing_heavy_is_imported_for_help_or_by_the_package() -> None:
    code = (
        "import importlib, sys, bfpo_bench.cli.app\n"
        "assert 'pydantic' not in sys.modules\n"
        "import bfpo_bench.suites, bfpo_bench.data\n"
        "for name in bfpo_bench.cli.app.COMMANDS:\n"
        "    importlib.import_module(f'bfpo_bench.cli.{name}')\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'vllm', 'pandas', 'numpy',\n"
        "         'scipy', 'jinja2', 'httpx2', 'matplotlib', 'trl', 'peft'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_finished_run_loads_no_torch(tiny_llama: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"suite": "mini", "tasks": ["toxigen"], "backend": "hf", "limit": 8}
    asked["output"] = str(tmp_path)
    results = bfpo_bench.evaluate(str(tiny_llama), **asked)
    code = (
        "import sys, bfpo_bench\n"
        f"print(bfpo_bench.evaluate({str(tiny_llama)!r}, **{asked!r}))\n"
        "print(sorted({'torch', 'transformers', 'lm_eval'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{results}\n[]\n"


def test_tasks_and_their_folder() -> None:
    done = run("tasks", "--suite", "mini")
    assert "bfpo_hhh_alignment" in done.stdout
    assert "T 0.7, top-p 0.95, 64 tokens" in done.stdout  # piped: no cell is cut
    folder = run("tasks", "--path").stdout.strip()
    assert len(list(Path(folder).glob("bfpo_*.yaml"))) == 45  # 40 tasks, 5 groups


def test_dry_run_shows_every_task_and_loads_no_weights(tiny_llama: Path, tmp_path: Path) -> None:
    done = run(
        *("evaluate", "--model", str(tiny_llama), "--suite", "mini", "--dry-run"),
        *("--judge", "harmbench-llama2-13b", "--judge-model", str(tiny_llama)),
        *("--output", str(tmp_path / "never")),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("── bfpo_") == 16
    assert "tokens to read" in done.stdout
    assert "target tiny-llama: needs about" in done.stdout
    assert "judge harmbench-llama2-13b: needs about" in done.stdout
    assert done.stdout.count("\n   fits.\n") == 2
    assert "--measure" in done.stdout
    assert not (tmp_path / "never").exists()


BAD = [
    (["--model", "./nowhere"], "no model folder './nowhere'"),
    (["--suite", "papr"], "did you mean 'paper'"),
    (["--chat-template", "missing.jinja"], "cannot read the chat template"),
    (["--tokenizer", "./nowhere"], "no tokenizer folder"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_gets_one_sentence_and_exit_code_2(
    tiny_llama: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    defaults = ["--model", str(tiny_llama), "--suite", "mini", "--output", str(tmp_path / "run")]
    done = run("evaluate", *defaults, *arguments)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_process_of_its_own_says_the_same_and_debug_shows_the_traceback() -> None:
    options = ("--judge", "keyword", "--data-dir", "./nowhere")
    command = [*PROGRAM, "evaluate", "--model", "./nowhere", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = run("evaluate", "--model", "./nowhere", *options).stderr
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert "BadInput" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a read-only folder that root respects")
def test_a_folder_that_cannot_be_written(tiny_llama: Path) -> None:
    done = run(
        *("evaluate", "--model", str(tiny_llama), "--suite", "mini", "--output", "/proc/run"),
    )
    assert done.returncode == 2
    assert "choose another run directory" in done.stderr


SENDS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
INTERRUPTS = {
    "the exec() of a text": f"exec({SENDS!r})",
    "an import that makes another error of it": (
        f"try:\n    exec({SENDS!r})\nexcept KeyboardInterrupt:\n    raise ImportError('numpy')"
    ),
    "twice, before the first was dealt with": (
        f"try:\n    exec({SENDS!r})\nexcept KeyboardInterrupt:\n    exec({SENDS!r})"
    ),
}


@pytest.mark.parametrize("command", INTERRUPTS.values(), ids=INTERRUPTS.keys())
def test_an_interrupt_ends_with_130_wherever_it_falls(command: str) -> None:
    code = (
        "import sys, types, bfpo_bench.cli\n"
        f"def app():\n    exec(compile({command!r}, 'command', 'exec'))\n"
        "sys.modules['bfpo_bench.cli.app'] = types.SimpleNamespace(app=app, COMMANDS=())\n"
        "bfpo_bench.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_after_the_end_changes_no_exit_code() -> None:
    code = (
        "import os, signal, sys, types, bfpo_bench.cli\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):\n"
        "        kill(pid, number)\n"
        "def app():\n    sys.late = Late()\n    sys.exit(2)\n"
        "sys.modules['bfpo_bench.cli.app'] = types.SimpleNamespace(app=app, COMMANDS=())\n"
        "bfpo_bench.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at /proc")
def test_interrupts_during_the_imports_of_a_run(tiny_llama: Path, tmp_path: Path) -> None:
    """torch and transformers execute hundreds of texts while they are imported."""
    command = [*PROGRAM, "evaluate", "--model", str(tiny_llama), "--suite", "mini", "--dry-run"]
    for wait in (0.0, 0.5):
        for _ in range(3):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            maps = Path(f"/proc/{process.pid}/maps")
            while process.poll() is None and "libtorch_cpu" not in maps.read_text():
                time.sleep(0.01)
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=100)
            code = process.returncode
            if code:  # else it may have been through before we had our turn
                break
        assert code == 130, errors


@pytest.mark.slow
def test_signals_then_the_same_command_finishes(tiny_llama: Path, tmp_path: Path) -> None:
    """What kill -9 leaves is tested in tests/crash."""
    command = [
        *("evaluate", "--model", str(tiny_llama), "--suite", "mini", "--judge", "keyword"),
        *("--tasks", "toxigen,winogrande,advbench,alert", "--limit", "12"),
        *("--backend", "hf", "--batch-size", "2", "--output", str(tmp_path / "run")),
    ]
    known = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        started = Paced(command)
        while started.waits() and (answers := _answers(tmp_path / "run")) < known + 8:
            started.go_on()
        started.go_on()  # it stores, or computes, when the signal comes
        started.process.send_signal(number)
        errors = started.end()
        assert started.process.returncode == 130, errors
        assert "Traceback" not in errors
        assert errors.strip().endswith("Run the same command again to go on.")
        known = _answers(tmp_path / "run")
        assert known >= answers
    assert "Savg." in run(*command).stdout
    assert not (tmp_path / "run" / "unfinished").exists()
    bfpo_bench.evaluate(
        str(tiny_llama),
        suite="mini",
        judge="keyword",
        tasks=("toxigen", "winogrande", "advbench", "alert"),
        limit=12,
        backend="hf",
        batch_size=2,
        output=tmp_path / "other",
    )
    assert (tmp_path / "run" / "results.json").read_text() == (
        tmp_path / "other" / "results.json"
    ).read_text()


def _answers(run: Path) -> int:
    """Scores and responses in its store."""
    if not (run / "samples.sqlite").exists():
        return 0
    query = "SELECT (SELECT COUNT(*) FROM scores) + (SELECT COUNT(*) FROM responses)"
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        try:
            [[count]] = db.execute(query)
        except sqlite3.OperationalError:  # it is just being made
            return 0
    return int(count)
