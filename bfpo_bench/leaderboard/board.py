"""The leaderboard: from run directories to a table in any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput, BenchError
from bfpo_bench.common.progress import logged
from bfpo_bench.leaderboard.baselines import baseline_entries
from bfpo_bench.leaderboard.checks import unreadable
from bfpo_bench.leaderboard.column_sets import choose_columns
from bfpo_bench.leaderboard.columns import Column, sort_key
from bfpo_bench.leaderboard.load import Loaded, load_rows
from bfpo_bench.leaderboard.options import FILES, LeaderboardOptions, check_format
from bfpo_bench.leaderboard.render.data import csv_file, frame, json_file
from bfpo_bench.leaderboard.render.table import make_table
from bfpo_bench.leaderboard.render.text import WIDTH, latex, markdown, plain
from bfpo_bench.leaderboard.rows import Entry, published_entries
from bfpo_bench.trackers import check_trackers

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Leaderboard:
    """Rows, and how they are shown. ``str(board)`` is the table as text.

    Attributes:
        entries: measured rows, then trivial baselines, then published ones.
        problems: one sentence for every folder that is no finished run.
        remarks: one for everything that was settled somehow.
    """

    entries: tuple[Entry, ...]
    options: LeaderboardOptions
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are shown."""
        distance = self.options.crows_pairs == "distance"
        return choose_columns(self.entries, self.options.full, distance, self.options.columns)

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence for every run that failed its consistency check."""
        return tuple(
            f"{entry.source} failed its check and is not ranked: {entry.fault}."
            for entry in self.entries
            if entry.fault is not None
        )

    def to_frame(self) -> DataFrame:
        """One row per row as a pandas frame, with intervals, items, notes and protocols.

        Its columns are those of :func:`bfpo_bench.leaderboard.render.data.frame`.
        """
        return frame(self.entries, self.columns)

    def render(self, format: str = "terminal", width: int = WIDTH, styled: bool = False) -> str:
        """The table in a format that is text.

        Args:
            format: one of `FORMATS`; ``html`` is no text but a folder, see
                :func:`bfpo_bench.leaderboard.report.write.write_report`, nor is ``parquet``:
                ``to_frame().to_parquet(…)``.
            width: of a terminal, in characters.
            styled: with a terminal's escape codes for bold and underlined.

        Raises:
            BadInput: no such format, or one that is no text.
        """
        columns = self.columns
        check_format(format)
        if format in FILES:
            raise BadInput(f"{format} is no text; write it with `bfpo-bench leaderboard --output`.")
        if format == "csv":
            return csv_file(self.to_frame(), columns, self.options.ci)
        if format == "json":
            return json_file(self.entries, columns)
        options = self.options
        many = options.full or options.columns not in ("usual", "paper")
        short = many and not options.transposed and format != "markdown"
        table = make_table(
            self.entries,
            columns,
            ci=options.ci,
            sort=options.sort,
            transposed=options.transposed,
            short=short,
        )
        if format == "markdown":
            return markdown(table)
        return latex(table) if format == "latex" else plain(table, width, styled)

    def __str__(self) -> str:
        return self.render()


def read_leaderboard(
    runs: Sequence[Path], options: LeaderboardOptions | None = None
) -> Leaderboard:
    """Reads and checks runs and makes their rows.

    A folder that is no run costs its row, not the table: see ``Leaderboard.problems``.

    Args:
        runs: run directories, or folders of them.

    Raises:
        BadInput: nothing to show was named, or there is no such column to sort by.
    """
    options = options or LeaderboardOptions()
    if not runs and not options.published and not options.baselines:
        raise BadInput("name run directories, or ask for the paper's rows with --published.")
    check_trackers(options.report_to)
    check = None
    if options.judge_check is not None:
        from bfpo_bench.run.judge_error import read_check

        check = read_check(options.judge_check)
    found = load_rows(runs, options.judge)
    entries = [row.entry for row in found.rows]
    if options.ci or check is not None:
        from bfpo_bench.leaderboard.stats.intervals import estimated

        def with_interval(row: Loaded) -> Entry:
            if row.entry.fault is not None:
                return row.entry
            try:
                return estimated(row, ci=options.ci, check=check, seed=options.seed)
            except BenchError as error:
                # Met only now: the check counts answers and reads none.
                return replace(row.entry, fault=unreadable(error))

        with logged("drawing intervals", len(found.rows), "rows") as stage:
            for place, row in enumerate(found.rows):
                entries[place] = with_interval(row)
                stage.advance(1)
    remarks = found.remarks
    if options.columns == "balance":
        remarks = [*remarks, *(_unsaid(one) for one in entries if one.judge and not _refused(one))]
    if options.baselines:
        entries += baseline_entries(entries)
    if options.published:
        entries += published_entries()
    board = Leaderboard(tuple(entries), options, tuple(found.problems), tuple(remarks))
    if options.sort is not None:
        sort_key(options.sort, board.columns)
    return board


def _refused(entry: Entry) -> bool:
    """Whether anybody says what is refused in its runs."""
    return entry.fault is not None or any(column.share for column in entry.extra)


def _unsaid(entry: Entry) -> str:
    return (
        f"nobody says what is refused in {entry.source}; `bfpo-bench judge {entry.source} --judge "
        "wildguard-7b` adds it, and so does any judge that gives refusal verdicts."
    )
