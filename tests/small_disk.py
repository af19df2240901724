"""Disks of a size of their own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def disk_is_full(*_: object, **__: object) -> None:
    """In the place of what writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


SmallDisk = Callable[[str], Path]
"""``small_disk("1m")``: a folder on a disk of that size, the same with more room next time."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mounts a disk for a test; where it may not, the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def of(size: str) -> Path:
        how = f"size={size},remount" if folder.is_mount() else f"size={size}"
        mount = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a small disk needs a root who may mount a tmpfs")
        return folder

    yield of
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
