"""What a training writes, how large it is, and what is said where a disk has no room for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed, disk_is_full, why_unwritable
from bfpo_bench.training.recipe import Recipe


def checkpoint_bytes(model: Any) -> int:
    """Size of one checkpoint of a training: weights, and Adam's two numbers for each trained one.

    Args:
        model: as it is trained; of a PEFT model the adapters alone are saved.
    """
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    saved = trained if hasattr(model, "peft_config") else parameters
    weights: int = sum(p.numel() * p.element_size() for p in saved)
    moments: int = 8 * sum(p.numel() for p in trained)
    return weights + moments


def check_room(folder: Path, model: Any, recipe: Recipe) -> bool:
    """Whether a disk has room for a training's checkpoints beside the model.

    Args:
        folder: the output.
        model: the base model as it is trained.

    Raises:
        BadInput: there is not even room for the model, or for checkpoints that are asked for.
    """
    result = sum(p.numel() for p in model.parameters()) * (2 if recipe.precision == "bf16" else 4)
    # Two are kept while a third is written.
    needed = result + 3 * checkpoint_bytes(model)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return True
    asked = recipe.save_steps is not None
    if asked or free < result:
        raise BadInput(
            f"the disk of {folder} has {_bytes(free)} free, and the trained model"
            f"{' with its checkpoints' if asked else ''} takes "
            f"{_bytes(needed if asked else result)}; free some, or name another folder with "
            "--output."
        )
    return False


@contextmanager
def written(what: str, size: int, folder: Path, names: str) -> Iterator[None]:
    """Around the writing of checkpoints and of the model, by libraries with errors of their own.

    What is there half is deleted: the room counts for what is to be written instead, and a damaged
    file is mistaken for nothing.

    Args:
        what: is written.
        size: of it in bytes, about.
        folder: the output.
        names: pattern of what is written in it.

    Raises:
        RunFailed: it cannot be written; says how much room is missing where that is why.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        full = disk_is_full(error)
        if not full and not isinstance(error, OSError):
            raise
        for half in folder.glob(names):
            if half.is_dir():
                shutil.rmtree(half, ignore_errors=True)
            else:
                half.unlink(missing_ok=True)
        why = f"{what} cannot be written to {folder}"
        mend = "mend that"
        if full:
            free = shutil.disk_usage(folder).free
            # By a quota, or where others write and delete meanwhile, there may seem to be enough.
            missing = f", {_bytes(size - free)} more than are free" if size > free else ""
            why = f"the disk of {folder} is full: {what} takes about {_bytes(size)}{missing}"
            mend = "free some"
        elif isinstance(error, OSError):
            why += f" ({why_unwritable(error)})"
        then = "begins again, for no checkpoint was kept"
        if any(folder.glob("checkpoint-*")):
            then = "goes on from the newest whole checkpoint"
        raise RunFailed(f"{why}; {mend} and run the same command again: it {then}.") from error


def _bytes(number: float) -> str:
    """A size that can be told from another: to four figures."""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if number >= one:
            return f"{number / one:.4g} {unit}"
    return f"{number / 1e3:.4g} kB"
