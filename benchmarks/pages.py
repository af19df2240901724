"""The pages under ``results``: how a benchmark's program ends in one, and what they share."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BenchError
from bfpo_bench.run.session import describe_environment

RESULTS = Path(__file__).with_name("results")


def run(
    module: str,
    arguments: Sequence[str] | None,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, str], tuple[str, str]],
) -> int:
    """The main function of a benchmark: measures, writes the page, prints it.

    Args:
        module: that is run, below ``benchmarks``.
        arguments: of the command line; None for the process's own.
        parser: of the benchmark's own options.
        measure: options, among them ``until``, the ``time.monotonic()`` after which nobody is
            waited for, and the command that gave them → the page's name and its text.

    Returns:
        the exit code.
    """
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the page")
    parser.add_argument("--suffix", default="", help="ends the page's name")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="whoever is not measured then is left out"
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    options.until = time.monotonic() + options.seconds
    try:
        name, page = measure(options, f"python -m benchmarks.{module} {shlex.join(given)}".strip())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"{name}{options.suffix}.md"
    target.write_text(page, encoding="utf-8")
    print(f"{page}\nwritten to {target}")
    return 0


def head(title: str, command: str, facts: dict[str, str]) -> list[str]:
    """A page's first lines: what was measured, when, by which command and on which machine."""
    environment: dict[str, Any] = describe_environment()
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    every = {
        "Date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "Command": f"`{command}`",
        **facts,
        "Machine": ", ".join(
            [*_gpus(), _processor(), f"{environment['cpus']} cores", environment["platform"]]
        ),
        "Versions": f"Python {environment['python']}, {packages}",
        "Threads": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, "
        f"load of the machine {os.getloadavg()[1]:.1f}",
    }
    return [f"# {title}", "", *(f"- {name}: {text}" for name, text in every.items()), ""]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> list[str]:
    """A Markdown table whose first so many columns are words and the others numbers."""
    lines = [columns, ["---"] * words + ["---:"] * (len(columns) - words), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def real_data() -> Path | None:
    """The folder of real upstream files, if there is one: ``BFPO_DATA_DIR`` or ../shared/data."""
    for candidate in (os.environ.get("BFPO_DATA_DIR"), RESULTS.parents[2] / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    return None


def model_name(text: str) -> str:
    """The value of ``--model``: ``smollm2`` becomes the folder of the real model.

    Raises:
        argparse.ArgumentTypeError: it cannot be had here.
    """
    if text != "smollm2":
        return text
    from bfpo_bench.toy_world.smollm2 import make_smollm2

    try:
        return str(make_smollm2(say=lambda said: print(said, file=sys.stderr)))
    except BenchError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def left_out(kinds: Iterable[str]) -> list[str]:
    """The sentence on those for whom time did not suffice, and an empty line; or nothing."""
    names = ", ".join(kinds)
    return [f"Left out, as time ran out: {names}.", ""] if names else []


def _gpus() -> list[str]:
    """Of this machine, by a program that takes no memory on them as a library would."""
    asked = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.strip().splitlines()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown processor"
