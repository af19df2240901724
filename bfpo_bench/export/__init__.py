"""A run's samples for other tools: JSON lines, Parquet, CSV, or lm-eval's own files.

Exporting only looks at a run: it takes no lock and changes nothing, so a run that is under way can
be exported too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.export.place import FOLDERS, file_of
from bfpo_bench.export.samples import RunSamples

FORMATS = ("jsonl", "parquet", "csv", "lm-eval", "inspect")

__all__ = ["FOLDERS", "FORMATS", "Exported", "export_run", "file_of"]

Writer = Callable[[RunSamples, Path | None, bool], tuple[Path, int]]


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        path: the file; of `FOLDERS` the folder, for lm-eval that of the model.
        samples: how many samples.
        notes: sentences on what is missing, because the run is not finished.
    """

    path: Path
    samples: int
    notes: list[str]


def export_run(
    run: Path, format: str = "jsonl", output: Path | None = None, force: bool = False
) -> Exported:
    """Writes the samples of a run, all or nothing.

    Args:
        run: a run directory, finished or not.
        format: one of `FORMATS`.
        output: file to write, or folder; for lm-eval the one in which it makes one for the model.
            Default: named after the run, in the current folder.
        force: replace what stands at ``output``.

    Raises:
        BadInput: no such format, no run, nothing in it yet, a run of a newer version, or an output
            that exists or cannot be written.
        RunFailed: the store is damaged, or there is no room.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    with RunSamples(run) as samples:
        samples.require_answers()
        path, written = _writer(format)(samples, output, force)
        return Exported(path, written, samples.notes())


def _writer(format: str) -> Writer:
    """What writes a format; imported only now, because lm-eval is heavy."""
    if format == "lm-eval":
        from bfpo_bench.export.lm_eval_files import write_lm_eval

        return write_lm_eval
    if format == "inspect":
        from bfpo_bench.export.inspect_log import write_inspect

        return write_inspect
    from bfpo_bench.export.tables import write_table

    return partial(write_table, format)
