"""A run for other tools: its samples as JSON lines, Parquet or CSV, the logs of lm-eval and of
inspect_ai, records of Every Eval Ever, and what the hub shows of a model.

Exporting only looks at a run: it takes no lock and changes nothing, so a run that is under way can
be exported too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.export.place import FOLDERS, file_of
from bfpo_bench.export.samples import RunSamples

FORMATS = ("jsonl", "parquet", "csv", "lm-eval", "inspect", "eee", "hub")

__all__ = ["FOLDERS", "FORMATS", "Exported", "export_run", "file_of"]

Writer = Callable[[RunSamples, Path | None, bool], tuple[Path, int]]


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        path: the file; of `FOLDERS` the folder, for lm-eval that of the model.
        samples: how many samples; of a format that holds numbers alone, how many of them.
        notes: sentences on what is missing, because the run is not finished.
        numbers_only: whether the format holds numbers and no samples.
    """

    path: Path
    samples: int
    notes: list[str]
    numbers_only: bool = False


def export_run(
    run: Path,
    format: str = "jsonl",
    output: Path | None = None,
    force: bool = False,
    aggregate_only: bool = False,
) -> Exported:
    """Writes the samples of a run, all or nothing.

    Args:
        run: a run directory, finished or not.
        format: one of `FORMATS`.
        output: file to write, or folder; for lm-eval the one in which it makes one for the model.
            Default: named after the run, in the current folder.
        force: replace what stands at ``output``.
        aggregate_only: of ``eee``: without its samples.

    Raises:
        BadInput: no such format, no run, nothing in it yet, a run of a newer version, or an output
            that exists or cannot be written.
        RunFailed: the store is damaged, or there is no room.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if aggregate_only and format != "eee":
        raise BadInput(
            "--aggregate-only is for --format eee, whose samples are apart from its numbers; leave "
            "it out."
        )
    with RunSamples(run) as samples:
        samples.require_answers()
        path, written = _writer(format, aggregate_only)(samples, output, force)
        return Exported(path, written, samples.notes(), aggregate_only or format == "hub")


def _writer(format: str, aggregate_only: bool) -> Writer:
    """What writes a format; imported only now, because lm-eval is heavy."""
    if format == "lm-eval":
        from bfpo_bench.export.lm_eval_files import write_lm_eval

        return write_lm_eval
    if format == "inspect":
        from bfpo_bench.export.inspect_log import write_inspect

        return write_inspect
    if format == "eee":
        from bfpo_bench.export.eee import write_eee

        return partial(write_eee, aggregate_only=aggregate_only)
    if format == "hub":
        from bfpo_bench.export.hub import write_hub

        return write_hub
    from bfpo_bench.export.tables import write_table

    return partial(write_table, format)
