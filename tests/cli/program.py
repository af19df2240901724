"""The program within the tests' process: no start-up to wait for."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from bfpo_bench.cli import main


class Done(NamedTuple):
    """What a command left, as subprocess has it."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path | None = None) -> Done:
    """Runs a command as the entry point does, on a terminal of 120 columns."""
    out, errors = StringIO(), StringIO()
    factory = logging.getLogRecordFactory()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["bfpo-bench", *map(str, arguments)])
        patch.setenv("COLUMNS", "120")
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            logging.setLogRecordFactory(factory)
    assert code is None or isinstance(code, int)
    return Done(code or 0, out.getvalue(), errors.getvalue())
