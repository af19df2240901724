"""Trackers of experiments (wandb, mlflow) that results and curves are reported to.

None of their packages is imported before a command names one.
"""

from bfpo_bench.trackers.protocol import Subject, Table
from bfpo_bench.trackers.report import TRACKERS, Reports, ReportTo, check_trackers

__all__ = ["TRACKERS", "ReportTo", "Reports", "Subject", "Table", "check_trackers"]
