"""Output that is there whole or not at all, and takes nothing's place unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable


@contextmanager
def atomic_file(path: Path, run: Path, force: bool) -> Iterator[Path]:
    """A neighbour of ``path`` to write to; it takes that name when the block ends well.

    Args:
        run: the run directory that is exported; its own files are never written over.
        force: replace a file that is there.

    Raises:
        BadInput: ``path`` exists, is a folder or a file of the run, or cannot be written.
        RunFailed: writing fails on the way; nothing is left behind.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give --output the name of a file.")
    refuse_file_of_run(path, run)
    if path.exists() and not force:
        raise BadInput(f"{path} exists; give another --output, or --force to replace it.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with _explained(path):
            yield temporary
            _flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, force: bool) -> Iterator[Path]:
    """A neighbour of the folder ``path`` to write files to; they go there when the block ends well.

    With ``force``, files of the same names are replaced and others stay.

    Raises:
        BadInput: ``path`` holds something already, is a file, or cannot be written.
        RunFailed: writing fails on the way.
    """
    if path.is_dir() and any(path.iterdir()) and not force:
        raise BadInput(f"{path} holds files already; give another --output, or --force to add.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with _explained(path):
            yield temporary
            for file in temporary.iterdir():
                _flush(file)
            # "samples_…" before "results_…": whoever sees the results finds their samples.
            for file in sorted(temporary.iterdir(), reverse=True):
                file.replace(path / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if made and not any(path.iterdir()):
            path.rmdir()


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes a file, texts in UTF-8, by way of a neighbour and a rename."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFailed(
            f"cannot write {path}: {error.strerror}; make room on the disk and run the same "
            "command again."
        ) from error


RUN_FILES = (
    *("run.json", "results.json", "results-*.json", "table.md", "samples.sqlite*"),
    *("training.json", "annotator.log", "length_control.json"),
)
"""What a run directory holds of a run, as patterns; its locks come beside them."""


def refuse_file_of_run(path: Path, run: Path | None = None) -> None:
    """Lets nothing be written in the place of what a run directory holds, however it is spelt.

    Args:
        run: a run directory, whether or not it looks like one; all that look like one count.

    Raises:
        BadInput: ``path`` is such a file, there or not.
    """
    # A link may stand in the way to the folder, or in the place of the file itself.
    for place in (path.parent.resolve() / path.name, path.resolve()):
        folder, name = place.parent, place.name.casefold()
        if not (folder / "run.json").exists() and (run is None or folder != run.resolve()):
            continue
        if any(fnmatch(name, pattern) for pattern in (*RUN_FILES, ".lock", ".owner")):
            raise BadInput(f"{path} is a file of the run itself; give --output another name.")


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"cannot write {path} ({why_unwritable(error)}); choose another --output.")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFailed(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --output."
        ) from error
