"""What a leaderboard shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.options import Help, Options, Place, one_of
from bfpo_bench.common.validate import STRICT
from bfpo_bench.trackers import ReportTo

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet", "html")
FILES = ("parquet", "html")
"""Those that are no text."""

COLUMN_SETS = ("usual", "paper", "balance", "multilingual")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LeaderboardOptions(Options):
    """What a leaderboard shows; an option's help says what it means."""

    published: Annotated[bool, Help("The paper's 19 rows too, set apart.", flag="published")] = (
        False
    )
    full: Annotated[bool, Help("Every task instead of the summary.", flag="full")] = False
    columns: Annotated[
        str,
        one_of("set of columns", COLUMN_SETS),
        Help(
            "usual (the paper's, and what these rows add), paper, balance (harmless, refused, "
            "answered), multilingual (by language)."
        ),
    ] = "usual"
    baselines: Annotated[
        bool, Help("What refusing or answering everything would get, as rows.", flag="baselines")
    ] = False
    ci: Annotated[bool, Help("Show 95 % intervals.", flag="ci")] = False
    sort: Annotated[str | None, Help("Column, by key or title, or name. [default: savg]")] = None
    transposed: Annotated[
        bool, Help("Models side by side, tasks below each other.", flag="transposed")
    ] = False
    crows_pairs: Annotated[
        str,
        one_of("way to take CrowS-Pairs", ("paper", "distance")),
        Help("distance adds a Disc. that rewards CrowS-Pairs near 50."),
    ] = "paper"
    judge: Annotated[
        str | None,
        Help(
            "Show this judge's verdicts; of several, by comma, what most say. [default: each "
            "run's own]"
        ),
    ] = None
    judge_check: Annotated[
        Place | None,
        Help("Output of `judges check`: adds Gen. corrected for the judge's errors."),
    ] = None
    seed: Annotated[int, Field(ge=0), Help("Of the bootstrap.")] = 0
    report_to: ReportTo = ()


def check_format(format: str) -> None:
    """Raises BadInput for a format that there is not."""
    if format not in FORMATS:
        raise unknown_name("leaderboard format", format, FORMATS)
