"""Runs commands as they stand, one after the other in one process; run by path, in their folder.

On standard input: JSON, a list of commands, each a list of words.
"""

from __future__ import annotations

import json
import sys

import pytest

from bfpo_bench.cli import main


def run(words: list[str]) -> None:
    """Runs one; a failure ends the process with its exit code."""
    program, *rest = words
    if rest[0] == "-c":
        exec(rest[1], {})
    elif rest[:2] == ["-m", "pytest"]:
        if code := pytest.main(["-p", "no:cacheprovider", *rest[2:]]):
            sys.exit(int(code))
    else:
        assert program == "bfpo-bench", f"nothing here runs {program}"
        sys.argv = words
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    for command in json.load(sys.stdin):
        print("$", *command, flush=True)
        run(command)
