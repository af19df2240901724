"""What the tests of this room look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A checkpoint folder of the test's own."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))
