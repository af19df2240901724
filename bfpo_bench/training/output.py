"""The output folder: a plain transformers checkpoint, and how it was made."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bfpo_bench.common.errors import BadInput, why_unwritable
from bfpo_bench.common.files import (
    LOCK,
    atomic_write,
    put_in,
    remove,
    settle,
    sweep,
    usual_permissions,
)
from bfpo_bench.common.json_file import read_json
from bfpo_bench.training.disk import written
from bfpo_bench.training.identity import LATER, SOMETIMES, differences
from bfpo_bench.training.record import model_card

RECORD = "training.json"
"""How a checkpoint was trained; its presence says that training is finished."""

STARTED = "recipe.json"
"""What an unfinished training in a folder is of."""

UPDATES = 2
"""Raised when a recipe comes to make other updates: half a training of each would be neither."""

SAVED = ".saved"
"""The trained model in the output folder, until all of it is written."""

CONFIG = "config.json"
"""By this a folder is a model."""

STATE = "trainer_state.json"
"""Trainer's own, in each of its checkpoints."""

MANIFEST = "whole.json"
"""Files of a checkpoint and their sizes."""

FIRST = "first"
"""The first stage's output, in that of a recipe of two."""

SECOND = "second"
"""The second stage's output, where the result is a mixture of both."""

RATINGS = "ratings.json"
"""What rewards have said of the pairs, or of own answers, of an unfinished training."""

RATINGS_OF = "ratings-"
"""Begins the name of what they have said of the answers of a round's policy."""

log = logging.getLogger(__name__)


def claim_output(folder: Path, identity: dict[str, Any]) -> Path | None:
    """Makes an output folder ready.

    Args:
        identity: from :func:`~bfpo_bench.training.identity.training_identity`: a training is only
            gone on with when all of it is the same.

    Returns:
        the newest checkpoint of an interrupted training to go on from, or None.

    Raises:
        BadInput: the folder holds something else, or cannot be written.
    """
    check_free(folder, identity["recipe"])
    if is_finished(folder):
        raise BadInput(
            f"{folder} holds a finished training already; name another folder with --output, or "
            "delete this one."
        )
    started = folder / STARTED
    try:
        for path in (started, folder / RATINGS):
            sweep(path)
        if started.exists():
            before = read_record(started)
            different = differences(before, identity)
            if different:
                raise BadInput(
                    f"{folder} holds an unfinished training with another "
                    f"{' and '.join(different)}; go on with the same, name another folder with "
                    "--output, or delete this one."
                )
            remove(folder / SAVED)
            newest = _newest_checkpoint(folder)
            if before.get("updates") != UPDATES and newest is not None:
                raise BadInput(
                    f"{folder} holds an unfinished training of an older version, which took other "
                    "learning rates and another order; delete it and begin again, or name another "
                    "folder with --output."
                )
            write_json(started, {**identity, "updates": UPDATES})
            return newest
        folder.mkdir(parents=True, exist_ok=True)
        write_json(started, {**identity, "updates": UPDATES})
    except OSError as error:
        raise _unwritable(folder, error) from error
    return None


def _unwritable(folder: Path, error: OSError) -> BadInput:
    return BadInput(
        f"the output {folder} cannot be written ({why_unwritable(error)}); name another folder "
        "with --output."
    )


def check_free(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Refuses an output that holds what no training by a recipe has put there.

    Raises:
        BadInput: it does, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(
            f"a checkpoint is a folder, and {folder} is a file; name another with --output."
        )
    if not folder.exists() or is_finished(folder):
        return
    if (folder / STARTED).exists():
        begun = read_record(folder / STARTED).get("recipe") or {}
        if begun.get("merge") != recipe.get("merge"):
            raise BadInput(
                f"{folder} holds an unfinished training with another merge; go on with the same, "
                "name another folder with --output, or delete this one."
            )
        return
    stages = ("first", FIRST), ("merge", SECOND)
    ours = (LOCK, ".owner", *(name for key, name in stages if recipe.get(key) is not None))
    try:
        for path in (folder / STARTED, folder / RATINGS):
            sweep(path)
        others = any(path.name not in ours for path in folder.iterdir())
    except OSError as error:
        raise _unwritable(folder, error) from error
    if others:
        raise BadInput(f"{folder} is not empty; name a new folder with --output.")


def finished_record(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """``training.json`` of a folder that holds the result of this very training; None without one.

    Raises:
        BadInput: it is that of another training.
    """
    path = folder / RECORD
    if not is_finished(folder):
        return None
    record = read_record(path)
    try:
        before = {
            "recipe": record["recipe"],
            "base weights": record["base"]["weights"],
            "data": {one["name"]: one["digest"] for one in record["data"]},
            "rewards": record.get("rewards", {}),
            **{part: record[part] for part in (*LATER, *SOMETIMES) if part in record},
        }
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} does not say what it is of; name another --output.") from error
    different = differences(before, identity)
    if different:
        raise BadInput(
            f"{folder} holds a finished training already, with another "
            f"{' and '.join(different)}; name another folder with --output, or delete this one."
        )
    return record


def read_record(path: Path) -> dict[str, Any]:
    """What ``recipe.json`` or ``training.json`` of an output holds.

    Raises:
        BadInput: it is damaged.
    """
    try:
        content = read_json(path)
        if isinstance(content, dict) and isinstance(content.get("recipe") or {}, dict):
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
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return None


def write_manifest(checkpoint: Path) -> None:
    """Notes which files are in a checkpoint that is whole, and how large they are."""
    sizes = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
    write_json(checkpoint / MANIFEST, sizes)
    usual_permissions(checkpoint)


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
        sizes = read_json(checkpoint / MANIFEST)
    except (OSError, ValueError):
        sizes = {}  # of version 0.1, or cut off between the two
    if not isinstance(sizes, dict):
        return MANIFEST
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
        elif path.suffix in (".pt", ".pth", ".bin"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, SafetensorError):
        return False
    return True


def is_finished(folder: Path) -> bool:
    """Whether a training has put all of its result into its folder."""
    # The config comes last, and only then is it forgotten that the training was begun.
    begun = (folder / STARTED).exists() and not (folder / CONFIG).exists()
    return (folder / RECORD).exists() and not begun


def is_clear(folder: Path) -> bool:
    """Whether a folder holds a result, and nothing that was only there to come to it."""
    return is_finished(folder) and not (folder / STARTED).exists()


def finish_output(folder: Path, record: dict[str, Any]) -> None:
    """Puts the saved model into its place, with how it was made.

    Whoever sees its config sees all of it.

    Args:
        folder: the output; the model lies in ``SAVED`` in it.

    Raises:
        RunFailed: it cannot be written; the newest checkpoint is still there.
    """
    saved = folder / SAVED
    card = model_card(record)
    with written("what is told of the trained model", len(card), folder, SAVED):
        saved.mkdir(exist_ok=True)
        atomic_write(saved / "README.md", card)
        write_json(saved / RECORD, record)
        settle(saved)
        put_in(saved, folder, last=CONFIG)
    clear_output(folder)


def clear_output(folder: Path) -> None:
    """Removes what was only there to resume from, the mark of an unfinished training last."""
    passing = (*folder.glob("checkpoint-*"), *folder.glob(f"{RATINGS_OF}*.json"))
    for path in (folder / SAVED, folder / RATINGS, *passing, folder / STARTED):
        remove(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
