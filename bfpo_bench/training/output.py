"""The output folder: a plain transformers checkpoint, and how it was made."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
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
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.run.session import describe_environment, package_versions
from bfpo_bench.training.disk import written
from bfpo_bench.training.identity import LATER, SOMETIMES, differences
from bfpo_bench.training.recipe import Recipe

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

SCHEMA_VERSION = 1
"""Of the record."""

NAMED = 100
"""Bad rows of a set that are named in the record; the others are counted."""

FIRST = "first"
"""The first stage's output, in that of a recipe of two."""

SECOND = "second"
"""The second stage's output, where the result is a mixture of both."""

RATINGS = "ratings.json"
"""What rewards have said of the pairs of an unfinished training."""

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
    for path in (folder / SAVED, folder / RATINGS, *folder.glob("checkpoint-*"), folder / STARTED):
        remove(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def set_entry(
    name: str, pairs: int, rows: int, bad: list[str], tokens: int, digest: str, **counts: int
) -> dict[str, Any]:
    """What the record says of a set.

    Args:
        pairs: what is trained on: pairs, conversations or prompts.
        rows: those found.
        bad: a sentence for each row that was left out.
        digest: of what is trained on.
        counts: what else happened to them: ``cut``, ``too_long``, ``swapped``, ``dropped``.
    """
    return {
        "name": name,
        "pairs": pairs,
        "rows": rows,
        "left_out": len(bad),
        "bad_rows": bad[:NAMED],
        **counts,
        "tokens": tokens,
        "digest": digest,
    }


def training_record(
    recipe: Recipe,
    base: ModelFiles,
    identity: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    trainer: Any,
    seconds: Mapping[str, float],
    started: datetime,
    notes: Sequence[str] = (),
    found: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``training.json`` of a finished training.

    Args:
        identity: from :func:`~bfpo_bench.training.identity.training_identity`.
        data: from :func:`set_entry`, for each set.
        trainer: the transformers Trainer that has run.
        seconds: spent, by stage.
        started: when the training began, with its time zone.
        notes: what a reader of the row should know.
        found: what was found before the training, by name.
    """
    parameters = trainer.model.parameters()
    return {
        "schema": SCHEMA_VERSION,
        "method": recipe.method,
        "recipe": recipe.as_dict(),
        "base": {"name": base.name, "revision": base.revision, "weights": identity["base weights"]},
        "notes": list(notes),
        "data": [dict(one) for one in data],
        "rewards": identity["rewards"],
        **(found or {}),
        **{part: identity[part] for part in (*LATER, *SOMETIMES) if part in identity},
        "updates": trainer.state.max_steps,
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "processes": trainer.args.world_size,
        "started": started.isoformat(timespec="seconds"),
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        "curves": trainer.state.log_history,
        "versions": package_versions(),
        "environment": describe_environment(),
    }


def model_card(record: dict[str, Any]) -> str:
    """Markdown for the ``README.md`` beside the weights.

    Args:
        record: content of ``training.json``.
    """
    sets = "\n".join(
        f"| {one['name']} | {one['pairs']:,} | {one.get('tokens', '')} | {one.get('cut', '')} |"
        for one in record["data"]
    )
    losses = [entry["loss"] for entry in record["curves"] if "loss" in entry]
    ends = f"The last logged loss is {losses[-1]:.4f}." if losses else ""
    notes = "".join(f"\n{note}\n" for note in record["notes"])
    return f"""---
base_model: {record["base"]["name"]}
library_name: transformers
tags: [bfpo-bench, {record["method"]}]
---

# {record["method"]} on {record["base"]["name"]}

Trained by bfpo-bench: {record["updates"]:,} updates of {record["trained_parameters"]:,} parameters
in {record["seconds"]["training"]:.0f} s. {ends}
`training.json` holds the recipe, digests of data and weights, versions and learning curves.
{notes}
| set | items | tokens | cut to fit |
|---|---|---|---|
{sets}

## Recipe

```yaml
{as_yaml(record["recipe"])}```
"""


def as_yaml(recipe: Mapping[str, Any]) -> str:
    """A recipe as a file that says the same."""
    # Through JSON, because YAML would write tuples as tagged ones.
    return yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False, allow_unicode=True)
