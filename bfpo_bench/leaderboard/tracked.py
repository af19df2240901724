"""A leaderboard in trackers: the table as it is, a row for each model."""

from __future__ import annotations

from importlib import metadata

from bfpo_bench.common.options import arguments
from bfpo_bench.common.progress import Progress
from bfpo_bench.leaderboard.board import Leaderboard
from bfpo_bench.trackers import Reports, Subject, Table


def report_board(board: Leaderboard, progress: Progress) -> None:
    """Reports a table to the trackers that its options name; that of the same runs is updated."""
    options = board.options
    if not options.report_to:
        return
    runs = sorted(str(run.resolve()) for entry in board.entries for run in entry.runs)
    shown = [one for one in arguments(options) if not one.startswith("--report-to=")]
    config = {"runs": runs, "options": shown, "bfpo_bench": metadata.version("bfpo-bench")}
    subject = Subject("leaderboard", "leaderboard", [runs, shown], config)
    table = {"leaderboard": Table.of(board.to_frame())}
    Reports(options.report_to, subject, progress).finish({"rows": len(board.entries)}, table)
