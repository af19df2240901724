"""The output folder: a plain transformers checkpoint, and how it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bfpo_bench.errors import BadInput
from bfpo_bench.training.identity import LATER, differences

RECORD = "training.json"
"""How a checkpoint was trained; its presence says that training is finished."""

STARTED = "recipe.json"
"""What an unfinished training in a folder is of."""


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
            different = differences(_read(started), identity)
            if different:
                raise BadInput(
                    f"{folder} holds an unfinished training with another "
                    f"{' and '.join(different)}; go on with the same, name another folder with "
                    "--output, or delete this one."
                )
            return _newest_checkpoint(folder)
        if folder.exists() and any(folder.iterdir()):
            raise BadInput(f"{folder} is not empty; name a new folder with --output.")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(started, identity)
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
            **{part: record[part] for part in LATER if part in record},
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
    # Trainer writes its state last: a checkpoint without it was cut off.
    whole = [p for p in folder.glob("checkpoint-*") if (p / "trainer_state.json").exists()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


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
