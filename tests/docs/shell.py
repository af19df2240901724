"""What bash makes of a block: the commands that would run, with their arguments and settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import PROGRAMS, ROOT

FOREIGN = {
    "git": "a checkout is there",
    "vllm": "its server takes a GPU, and its parser 20 s to import; tests/engines/openai runs it",
    "inspect": "it cannot live in this environment; tests/export runs it in another",
    "hf": "it asks the hub",
    "sbatch": "no Slurm here; the script's own commands are run, and it is there",
    "squeue": "no Slurm here",
    "scancel": "no Slurm here",
    "rsync": "another machine is asked",
    "ssh": "another machine is asked",
    "module": "a cluster's own",
    "xdg-open": "it opens a window",
}
"""Programs of others of which nothing is run here, and why; the files that they name are there."""

_PASSED = ("PYTHONPATH", "BFPO_DATA_DIR")

# Loops, variables and quotes are bash's. What a substitution asks of bfpo-bench is really run: its
# output goes elsewhere than the script's, where that of a job in the background goes.
_SCRIPT = """
set -eu
exec 4>&1
record() {
  if [ "$1" = bfpo-bench ] && [ "$BASH_SUBSHELL" -gt 0 ] && [ ! /dev/fd/1 -ef /dev/fd/4 ]; then
    shift; "$PYTHON" -m bfpo_bench "$@"; return
  fi
  printf '%s\\0' "${BASH_LINENO[1]}" "$#" "$@" PASSED >&3
}
sleep() { :; }
srun() { while [ "${1#-}" != "$1" ]; do shift; done; "$@"; }
FUNCTIONS
command_not_found_handle() { record "$@"; }
source "$BLOCK"
wait
"""


@dataclass(frozen=True)
class Command:
    """One that would run: the line in its block, what was typed, variables set for it."""

    line: int
    words: tuple[str, ...]
    environment: Mapping[str, str]


def commands(text: str, folder: Path, variables: Mapping[str, str]) -> list[Command]:
    """The commands of a block, in order, as bash would start them in a folder.

    Raises:
        AssertionError: bash says that the block is wrong.
    """
    block, log = folder / ".block", folder / ".commands"
    block.write_text(text, encoding="utf-8")
    functions = "\n".join(f'{name}() {{ record {name} "$@"; }}' for name in (*PROGRAMS, *FOREIGN))
    passed = " ".join(f'"${{{name}-}}"' for name in _PASSED)
    script = _SCRIPT.replace("FUNCTIONS", functions).replace("PASSED", passed)
    given = {**os.environ, **variables, "BLOCK": str(block), "PYTHON": sys.executable}
    given["PYTHONPATH"], given["BFPO_DATA_DIR"] = str(ROOT), ""
    script = f"exec 3>'{log}'\n{script}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    fields = log.read_text(encoding="utf-8").split("\0")[:-1]
    found = []
    while fields:
        line, count = int(fields.pop(0)), int(fields.pop(0))
        words, fields = fields[:count], fields[count:]
        values, fields = fields[: len(_PASSED)], fields[len(_PASSED) :]
        settings = {name: value for name, value in zip(_PASSED, values, strict=True) if value}
        found.append(Command(line, tuple(words), settings))
    return found
