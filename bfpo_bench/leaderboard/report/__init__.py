"""The report: one folder with a page that opens from the disk and asks no network for anything."""

from bfpo_bench.leaderboard.report.write import write_report

__all__ = ["write_report"]
