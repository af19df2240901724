"""``--local-scratch``: a run's store on this node's own disk, copied into the run directory.

The run directory's copy is always whole: it is written beside its place and put there in one step,
so whoever looks from another node sees all answers up to some stage. What the scratch folder holds
beyond the last copy is lost with the node, and taken up where a killed job is started again on it.
It is known by the copies: as long as the run directory's store is, byte for byte, the last one that
came from there, nobody else has gone on with the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from pathlib import Path

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.files import atomic_write, beside, put_file
from bfpo_bench.common.interrupts import held
from bfpo_bench.common.json_file import read_json
from bfpo_bench.run.repair import is_damaged, open_whole
from bfpo_bench.run.store import Store

log = logging.getLogger(__name__)

NOTE = "copied.json"

_BLOCK = 1 << 20


class LocalStore(Store):
    """A store that is copied to its place by :meth:`copy`, and when it is closed.

    Args:
        scratch: a folder on this node's disk.
        place: of the store in the run directory, which the caller has locked.
        locks: as of :class:`Store`, of ``place``.

    Raises:
        BadInput: nothing can be kept in the scratch folder; or as :class:`Store`.
    """

    def __init__(self, scratch: Path, place: Path, locks: bool) -> None:
        self._place = place
        name = hashlib.sha256(str(place.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
        self._folder = scratch / f"{place.resolve().parent.name}-{name[:12]}"
        self._copied = ""
        path = self._folder / place.name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._is_newer(path):
                log.warning("Going on with what a job that was killed has left in %s.", path.parent)
            else:
                self._take_over(path, locks)
        except OSError as error:
            raise BadInput(
                f"cannot keep the store in {self._folder} ({why_unwritable(error)}); name another "
                "--local-scratch, or leave it out."
            ) from error
        super().__init__(path)
        self._saved = -1
        self.copy()

    def copy(self) -> None:
        """Puts what has been answered so far into the run directory, if anything is new.

        Raises:
            RunFailed: it cannot be written there; it stays in the scratch folder.
        """
        if self._saved == self._db.total_changes:
            return
        place = self._place
        temporary = beside(place)
        try:
            with held():
                new = _digest(self.path, temporary)
                # Before it is there: a kill comes at any moment.
                self._note([self._copied, new])
                put_file(temporary, place)
                self._copied, self._saved = new, self._db.total_changes
        except OSError as error:
            raise RunFailed(
                f"cannot copy the store to {place} ({why_unwritable(error)}); it stays in "
                f"{self._folder}: make room and run the same command again on this machine."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Copies what is new, and leaves nothing in the scratch folder."""
        try:
            self.copy()
        finally:
            super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self, locks: bool) -> sqlite3.Connection:
        # Nobody else looks at it, and it need not outlive a machine that goes down: it only has to
        # be one whole file after every transaction, also of a process that is killed.
        address = f"{self.path.absolute().as_uri()}?vfs=unix-none"
        db = sqlite3.connect(address, uri=True, isolation_level=None)
        # First: the run directory's may have a log that is shared in memory, which needs locks.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=TRUNCATE")
        db.execute("PRAGMA synchronous=OFF")
        return db

    def _note(self, copies: list[str]) -> None:
        """Keeps by which copies in the run directory the scratch folder goes on from there."""
        note = self._folder / NOTE
        try:
            atomic_write(note, json.dumps({"copies": copies}))
        except RunFailed:
            # No room. What is to be copied matters more, and is then gone on with from there.
            note.unlink(missing_ok=True)

    def _is_newer(self, path: Path) -> bool:
        """Whether the scratch folder holds all that the run directory does, and maybe more."""
        try:
            copies = read_json(self._folder / NOTE)["copies"]
            self._copied = _digest(self._place)
            return self._copied in copies and path.exists() and not is_damaged(path)
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def _take_over(self, path: Path, locks: bool) -> None:
        """Begins with what is in the run directory; mended there first where that is needed."""
        if path.exists():
            log.warning("%s is of an earlier state of the run, and is done with.", path.parent)
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        place = self._place
        logged, undone = (place.with_name(place.name + ending) for ending in ("-wal", "-journal"))
        half = undone.exists() and undone.stat().st_size
        # Whoever looks at a store with a log leaves an empty one.
        damaged = not place.exists() or is_damaged(place)
        if half or damaged or logged.exists():
            open_whole(place, locks).close()
        if logged.exists():
            # It would be played into what takes the store's place.
            raise BadInput(
                f"somebody is looking at {place}; wait until that has ended, or leave "
                "--local-scratch out."
            )
        self._copied = _digest(place, path)


def _digest(file: Path, copy: Path | None = None) -> str:
    """sha256 of a file, which may be copied at the same time."""
    digest = hashlib.sha256()
    with file.open("rb") as source, (copy or Path(os.devnull)).open("wb") as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()
