"""Answers that other tools have asked for, made into a run: to be judged, and to become a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import LOCK, atomic_folder
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.text import valid_text
from bfpo_bench.export.place import place_name
from bfpo_bench.imports.options import FORMATS, ImportOptions

__all__ = ["FORMATS", "ImportOptions", "ImportedRun", "import_files"]


@dataclass(frozen=True)
class ImportedRun:
    """What an import has made.

    Attributes:
        path: the run directory.
        samples: how many items have an answer there.
        judged: whether their verdicts came with them, as those of a run of bfpo-bench do.
    """

    path: Path
    samples: int
    judged: bool


def import_files(paths: Sequence[Path], options: ImportOptions | None = None) -> ImportedRun:
    """Makes a run directory of files of other tools, whole or not at all.

    Logs that ``bfpo-bench export --format inspect`` has written become the run that they are of.

    Args:
        paths: files with answers of one model.

    Raises:
        BadInput: a file is not what it should be, or the run directory is there already.
    """
    from bfpo_bench.imports import inspect_log, readers, restore, run, tasks

    options = options or ImportOptions()
    files = [readers.look(path, options.format) for path in paths]
    for place, count in Counter(map(place_of, paths)).items():
        if count > 1:
            raise BadInput(f"{place} is given {count} times; name it once.")
    own = {
        file.path: kept
        for file in files
        if file.kind == "inspect" and (kept := inspect_log.ours(file.path, file.content))
    }
    if own and (len(own) < len(files) or options.model or options.task):
        raise BadInput(
            f"{next(iter(own))} is a log of a run of bfpo-bench, which it becomes again; import "
            "such logs by themselves, without --model and --task."
        )
    if own:
        whole = restore.read_kept([(file.path, file.content, own[file.path]) for file in files])
        with _new_run(options, whole.model) as (place, staged):
            return ImportedRun(place, restore.restore(whole, staged), True)
    logs = readers.read_logs(files, options)
    names = list(dict.fromkeys(log.model for log in logs if log.model and log.model.strip()))
    if options.model is None and len(names) != 1:
        said = "does not say whose answers it holds" if not names else f"holds {names[0]}'s answers"
        more = f", others those of {names[1]}" if names else ""
        raise BadInput(f"{paths[0]} {said}{more}; name the model with --model.")
    model = valid_text(options.model or names[0])
    found = tasks.find_tasks(logs, options)
    with _new_run(options, model) as (place, staged):
        return ImportedRun(place, run.make_run(found, model, staged), False)


@contextmanager
def _new_run(options: ImportOptions, model: str) -> Iterator[tuple[Path, Path]]:
    """Where the run comes to lie, and the folder that it is made in."""
    place = options.output or Path("runs") / f"{place_name(model.replace('/', '__'))}-imported"
    if place.is_dir() and any(place.iterdir()):
        raise BadInput(
            f"{place} holds files already; name another folder for the run with --output."
        )
    with atomic_folder(place, force=False) as staged:
        yield place, staged
        # Of the folder that the run was made in.
        (staged / LOCK).unlink(missing_ok=True)
