"""Output that is there whole or not at all, and takes nothing's place unasked.

Who writes one owns it meanwhile (:func:`owned`); it is written beside its place and put there in
one step, so that a reader, and whoever comes after a kill, finds the old one or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.ownership import Lock

LOCK = ".lock"
"""The lock of a folder that is worked in; beside it, where it may be, the file of its owner."""

_mine: dict[Path, int] = {}
"""Outputs that this process owns, and the thread that took each."""


@contextmanager
def owned(path: Path, inside: bool = False) -> Iterator[Path]:
    """An output, file or folder, that no other process writes until the block ends.

    What a killed process has left beside it is removed, and so are folders that were made for it
    and stayed empty. A block inside another for the same output is let pass.

    Args:
        inside: it is a folder that is worked in, and never moved; its lock lies in it.

    Yields:
        the output's own place, links followed.

    Raises:
        BadInput: another process is writing it, or there is nowhere to write it.
    """
    place = _place(path)
    if _mine.get(place) == threading.get_ident():
        yield place
        return
    taken = f"another process is writing {path}; wait for it, or choose another place."
    home = place if inside else place.parent
    missing: list[Path] = []
    try:
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        home.mkdir(parents=True, exist_ok=True)
        lock = Lock(home / LOCK if inside else beside(place, "lock"), path, taken, keep=False)
    except OSError as error:
        _unmake(missing)
        raise _unwritable(path, error) from error
    try:
        _mine[place] = threading.get_ident()
        if not inside:
            sweep(place)
        yield place
    finally:
        _mine.pop(place, None)
        lock.close()
        _unmake(missing)


def _unmake(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in it
            folder.rmdir()


@contextmanager
def atomic_file(path: Path, run: Path, force: bool) -> Iterator[Path]:
    """A neighbour of ``path`` to write to; it takes that name when the block ends well.

    Args:
        run: the run directory that is exported; its own files are never written over.
        force: replace a file that is there.

    Raises:
        BadInput: ``path`` exists, is a folder or a file of the run, is being written by another
            process, or cannot be written.
        RunFailed: writing fails on the way; nothing is left behind.
    """
    with new_file(path, force, run) as place:
        temporary = beside(place)
        try:
            temporary.touch()
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            with _explained(path):
                yield temporary
                put_file(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_file(
    path: Path, force: bool, run: Path | None = None, read: Iterable[Path | str | None] = ()
) -> Iterator[Path]:
    """A file's place, :func:`owned`, to be given to :func:`atomic_write` in the end.

    Args:
        force: it may be there already.
        run: see :func:`refuse_file_of_run`.
        read: files that the command reads, which are never written over.

    Raises:
        BadInput: as :func:`atomic_file`.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give --output the name of a file.")
    refuse_file_of_run(path, run)
    if any(one is not None and place_of(Path(one)) == place_of(path) for one in read):
        raise BadInput(f"{path} is read by this command; give --output another name.")
    with owned(path) as place:
        if path.exists() and not force:
            raise BadInput(f"{path} exists; give another --output, or --force to replace it.")
        yield place


@contextmanager
def atomic_folder(path: Path, force: bool) -> Iterator[Path]:
    """A neighbour of the folder ``path`` to write to; it takes that place when the block ends well.

    With ``force``, what has the same name is replaced, and the rest stays. Old and new change
    places in one step. Where the folder cannot be moved (one that somebody works in, the root of
    a disk) or the file system cannot do that, its entries are put in one by one, and the last
    file of :func:`put_in` says when all is there.

    Raises:
        BadInput: ``path`` holds something already, is a file, is being written by another process,
            or cannot be written.
        RunFailed: writing fails on the way; what was there stays.
    """
    with owned(path) as place:
        try:
            if place.is_dir() and any(place.iterdir()) and not force:
                raise BadInput(
                    f"{path} holds files already; give another --output, or --force to add."
                )
            staged = beside(place)
            staged.mkdir()
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            if place.exists() and not place.is_dir():
                raise BadInput(f"cannot write {path} (it is a file); choose another --output.")
            with _explained(path):
                yield staged
                settle(staged)
                _swap(staged, place)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _swap(staged: Path, place: Path) -> None:
    """Puts a new folder in the place of an old one, with what the old one holds besides."""
    if not place.exists():
        staged.rename(place)
        return
    new = sorted(entry.name for entry in staged.iterdir())
    for name in new:
        if (place / name).is_dir() and not (staged / name).is_dir():
            raise BadInput(
                f"cannot write {place / name} (it is a folder); choose another --output."
            )
    try:
        if Path.cwd().is_relative_to(place):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        shutil.copymode(place, staged)
        for entry in place.iterdir():
            if entry.name not in new:
                link_or_copy(entry, staged / entry.name)
        _exchange(staged, place)
        return
    except OSError:
        for entry in staged.iterdir():
            if entry.name not in new:
                remove(entry)
    put_in(staged, place, last=max(new, key=lambda name: (staged / name).is_file()))


def put_in(staged: Path, place: Path, last: str) -> None:
    """Moves what is in one folder into another.

    Args:
        last: whoever sees this file in ``place`` sees all that belongs to it: it is removed first,
            where there is an old one, and comes last.
    """
    entries = sorted(staged.iterdir(), key=lambda entry: (entry.name == last, entry.name))
    if len(entries) > 1:
        (place / last).unlink(missing_ok=True)
    for entry in entries:
        target = place / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)


def settle(folder: Path) -> None:
    """Has the disk keep all files of a folder, with the permissions that the user's umask gives."""
    usual_permissions(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)


def usual_permissions(folder: Path) -> None:
    """Gives all files of a folder what a new file gets by the user's umask.

    safetensors writes weights that only their owner may read, whatever the umask says.
    """
    new = folder / f".{os.getpid()}.tmp"
    new.touch()
    mode = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same files under another name; copies where the file system has no links."""

    def file(one: str, other: str) -> str:
        try:
            os.link(one, other, follow_symlinks=False)
        except OSError:
            shutil.copy2(one, other, follow_symlinks=False)
        return other

    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=file)
    else:
        file(str(source), str(target))


def _exchange(one: Path, other: Path) -> None:
    """Two folders get each other's name, in one step.

    Raises:
        OSError: they cannot; nothing has happened.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError) as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    # linux/fs.h: RENAME_EXCHANGE; fcntl.h: AT_FDCWD
    if renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _place(path: Path) -> Path:
    try:
        place = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BadInput(f"cannot write {path} ({error}); choose another --output.") from error
    if not place.name:
        raise BadInput(f"cannot write {path} (it is the root); choose another --output.")
    return place


def beside(place: Path, kind: str = "") -> Path:
    """A hidden neighbour of an output; without a kind a passing one, of this process."""
    return place.with_name(f".{place.name}.{kind or f'{os.getpid()}.tmp'}")


def sweep(place: Path) -> None:
    """Removes what killed processes have left of an output; its owner knows that none is alive."""
    pattern = re.compile(rf"(\.{re.escape(place.name)}\.\d+)\.tmp")
    for entry in place.parent.iterdir() if place.parent.exists() else ():
        found = pattern.fullmatch(entry.name)
        # An output named "NAME.12" has such names too.
        if found and not entry.with_name(f"{found[1]}.lock").exists():
            remove(entry)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes a file, texts in UTF-8, by way of a neighbour and a rename."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = beside(path)
    try:
        temporary.write_bytes(data)
        put_file(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFailed(
            f"cannot write {path}: {error.strerror}; make room on the disk and run the same "
            "command again."
        ) from error


RUN_FILES = (
    *("run.json", "results.json", "results-*.json", "table.md", "samples.sqlite*"),
    *("training.json", "annotator.log", "length_control.json", "serve*.log"),
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
    for place in (place_of(path.parent) / path.name, place_of(path)):
        folder, name = place.parent, place.name.casefold()
        if not (folder / "run.json").exists() and (run is None or folder != place_of(run)):
            continue
        if any(fnmatch(name, pattern) for pattern in (*RUN_FILES, LOCK, ".owner")):
            raise BadInput(f"{path} is a file of the run itself; give --output another name.")


def put_file(temporary: Path, place: Path) -> None:
    """Puts a file in its place; one that is replaced hands on its permissions."""
    _flush(temporary)
    if place.exists():
        shutil.copymode(place, temporary)
    temporary.replace(place)


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
