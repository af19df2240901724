"""A model folder that is made once: stamped with all that decides what comes out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import usual_permissions

STAMP = "made.json"

MAKER = "bfpo_bench.demo"
"""Who made a folder, as its stamp says: the name of this room in version 0.1, whose models stay."""

# What the weights of the toy models depend on, beside the settings they are made with.
_FILES = (
    "vocabulary.py",
    "ground_truth.py",
    "grammar.py",
    "datasets.py",
    "fit.py",
    "samples.py",
    "models.py",
)
_PACKAGES = ("torch", "transformers", "tokenizers")


def origin() -> dict[str, Any]:
    """Digest of the code behind the toy models, and versions of the packages that do the work."""
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"code": digest.hexdigest()[:16], **versions}


def make_once(
    folder: str | Path,
    settings: Mapping[str, Any],
    build: Callable[[Path], None],
    made_of: Mapping[str, Any] | None = None,
) -> Path:
    """Let ``build`` fill a model folder, unless it was already made with the same settings.

    The work happens in a hidden folder beside it, which is renamed at the end. Of two processes
    that make the same folder at once one wins, and the other takes the winner's.

    Args:
        folder: where the model is to be. One made with other settings is replaced.
        settings: everything that decides what comes out, as JSON values.
        build: writes the model into the empty folder it is given.
        made_of: what else decides it; default: :func:`origin`, the code behind the toy models.

    Returns:
        The folder.

    Raises:
        BadInput: there is something in the folder that was not made here.
    """
    folder = Path(folder)
    stamp = {
        "made_by": MAKER,
        **settings,
        **(origin() if made_of is None else made_of),
    }
    if _stamp(folder) == stamp:
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder for the demo's model.")
    if _stamp(folder) is None and folder.is_dir() and any(folder.iterdir()):
        raise BadInput(
            f"{folder} holds something that is not a model of the demo; name another folder for it."
        )
    import psutil

    building = folder.with_name(f".{folder.name}.making-{os.getpid()}")
    for left in folder.parent.glob(f".{folder.name}.making-*"):
        maker = left.name.rpartition("-")[2]
        if maker.isdecimal() and (int(maker) == os.getpid() or not psutil.pid_exists(int(maker))):
            shutil.rmtree(left, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        build(building)
        usual_permissions(building)
        text = json.dumps(stamp, indent=1, sort_keys=True) + "\n"
        (building / STAMP).write_text(text, encoding="utf-8")
        if folder.is_dir() and _stamp(folder) != stamp:
            shutil.rmtree(folder)
        try:
            building.rename(folder)
        except OSError:
            if _stamp(folder) != stamp:
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _stamp(folder: Path) -> dict[str, Any] | None:
    """What a finished folder says about how it was made; None for any other."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(stamp, dict) and stamp.get("made_by") == MAKER
    return stamp if ours else None
