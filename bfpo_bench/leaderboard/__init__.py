"""From run directories to tables; never loads a model.

This package is also the function ``bfpo_bench.leaderboard(…)``: Python puts an imported subpackage
in the place of its parent's attribute of the same name, so the two have to be one.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.board import Leaderboard


def leaderboard(*runs: Any, **options: Any) -> Leaderboard:
    """Reads and checks runs and puts them into one table, as ``bfpo-bench leaderboard`` does.

    A folder that is no finished run costs its row: see ``problems`` of what is returned.

    Args:
        *runs: run directories, or folders of them; also in lists.
        **options: any field of :class:`bfpo_bench.leaderboard.options.LeaderboardOptions`, e.g.
            ``published=True``, ``full=True``, ``ci=True``, ``sort="gen"``.

    Returns:
        rows and table: ``str(board)``, ``board.render("markdown")``, ``board.to_frame()``,
        ``board.entries``.

    Raises:
        bfpo_bench.common.errors.BadInput: nothing to show was named, or an option is none.
    """
    from pathlib import Path

    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.leaderboard.board import read_leaderboard
    from bfpo_bench.leaderboard.options import LeaderboardOptions
    from bfpo_bench.leaderboard.tracked import report_board

    paths = [path for run in runs for path in (run if isinstance(run, list | tuple) else [run])]
    for path in paths:
        if not isinstance(path, str | Path):
            raise BadInput(f"a run is named by its path, not by {type(path).__name__}.")
    board = read_leaderboard([Path(path) for path in paths], LeaderboardOptions(**options))
    report_board(board, Progress(show=False))
    return board


class _Callable(ModuleType):
    def __call__(self, *runs: Any, **options: Any) -> Leaderboard:
        return leaderboard(*runs, **options)


sys.modules[__name__].__class__ = _Callable
