"""The output folder: a plain transformers checkpoint, and how it was made."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.identity import LATER, SPECIAL, differences

RECORD = "training.json"
"""How a checkpoint was trained; its presence says that training is finished."""

STARTED = "recipe.json"
"""What an unfinished training in a folder is of."""

UPDATES = 2
"""Raised when a recipe comes to make other updates: half a training of each would be neither."""

STATE = "trainer_state.json"
"""Trainer's own, in each of its checkpoints."""

MANIFEST = "whole.json"
"""Files of a checkpoint and their sizes."""

log = logging.getLogger(__name__)


def claim_output(folder: Path, identity: dict[str, Any]) -> Path | None:
    """Makes an output folder ready.

    Args:
        identity: from :func:`training_identity`: a training is only gone on with when all of it
            is the same.

    Returns:
        the newest checkpoint of an interrupted training to go on from, or None.

    Raises:
        BadInput: the folder holds something else, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(
            f"a checkpoint is a folder, and {folder} is a file; name another with --output."
        )
    if (folder / RECORD).exists():
        raise BadInput(
            f"{folder} holds a finished training already; name another folder with --output, or "
            "delete this one."
        )
    started = folder / STARTED
    try:
        if started.exists():
            before = _read(started)
            different = differences(before, identity)
            if different:
                raise BadInput(
                    f"{folder} holds an unfinished training with another "
                    f"{' and '.join(different)}; go on with the same, name another folder with "
                    "--output, or delete this one."
                )
            newest = _newest_checkpoint(folder)
            if before.get("updates") != UPDATES and newest is not None:
                raise BadInput(
                    f"{folder} holds an unfinished training of an older version, which took other "
                    "learning rates and another order; delete it and begin again, or name another "
                    "folder with --output."
                )
            write_json(started, {**identity, "updates": UPDATES})
            return newest
        if folder.exists() and any(folder.iterdir()):
            raise BadInput(f"{folder} is not empty; name a new folder with --output.")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(started, {**identity, "updates": UPDATES})
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a file is in the way" if in_the_way else error.strerror
        raise BadInput(
            f"the output {folder} cannot be written ({why}); name another folder with --output."
        ) from error
    return None


def finished_record(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """``training.json`` of a folder that holds the result of this very training; None without one.

    Raises:
        BadInput: it is that of another training.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    record = _read(path)
    try:
        made_of = {
            "recipe": record["recipe"],
            "base weights": record["base"]["weights"],
            "data": {one["name"]: one["digest"] for one in record["data"]},
            "rewards": record.get("rewards", {}),
            **{part: record[part] for part in (*LATER, SPECIAL) if part in record},
        }
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} does not say what it is of; name another --output.") from error
    different = differences(made_of, identity)
    if different:
        raise BadInput(
            f"{folder} holds a finished training already, with another "
            f"{' and '.join(different)}; name another folder with --output, or delete this one."
        )
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except ValueError:
        pass
    raise BadInput(f"{path} is damaged; delete its folder, or name another one with --output.")


def _newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; damaged ones are deleted, for a newer name would outlive it."""
    named = [(path, path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")]
    there = sorted((int(number), path) for path, number in named if number.isdecimal())
    while there:
        _, path = there.pop()
        fault = checkpoint_fault(path)
        if fault is None:
            return path
        before = f"from {there[-1][1].name}" if there else "from the beginning"
        log.warning("%s is damaged (%s); training goes on %s.", path, fault, before)
        shutil.rmtree(path)
    return None


def write_manifest(checkpoint: Path) -> None:
    """Notes which files are in a checkpoint that is whole, and how large they are."""
    sizes = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
    write_json(checkpoint / MANIFEST, sizes)


def checkpoint_fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint to resume from; None where it is whole.

    A file may be cut off, missing, or of the right size and empty after a power failure: sizes are
    compared, JSON is read, the archives that PyTorch writes have check sums, and a safetensors
    file's header tells its length.
    """
    # Trainer writes its state last: a checkpoint without it was cut off.
    if not (checkpoint / STATE).is_file():
        return f"no {STATE}"
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        sizes = {}  # of version 0.1, or cut off between the two
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.is_file() or path.stat().st_size != size:
            return str(name)
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    return next((str(p.relative_to(checkpoint)) for p in files if not _readable(p)), None)


def _readable(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                file.keys()
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError):
        return False
    return True


def finish_output(folder: Path, record: dict[str, Any], card: str) -> None:
    """Writes how the checkpoint was made, and clears what was only there to resume from."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_json(folder / RECORD, record)
    (folder / STARTED).unlink(missing_ok=True)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
