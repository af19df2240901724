"""inspect_ai's own code, in the environment that tests/install_inspect.sh makes for it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bfpo-bench"
_MADE = _CACHE / "inspect-0.3.285"


def told(code: str, *arguments: object) -> Any:
    """What a script prints as JSON; skips where inspect_ai is not installed."""
    python = os.environ.get("BFPO_INSPECT") or str(_MADE / "bin" / "python")
    if not Path(python).is_file():
        pytest.skip("no inspect_ai: run tests/install_inspect.sh, or set BFPO_INSPECT to a Python")
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
