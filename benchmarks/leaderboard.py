"""How long ``leaderboard`` takes over many runs of full paper size.

    python -m benchmarks.leaderboard --runs 50 --folder /tmp/runs

One synthetic run is made (about 46,000 responses and 98,000 scores) and copied; every copy gets a
name of its own. The page gives seconds of wall clock and of the processor for the table and for the
table with intervals.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages import head, run, table


def make_runs(folder: Path, count: int) -> list[Path]:
    """So many run directories of full size."""
    from benchmarks.synthetic_runs import synthetic_run

    runs = [folder / f"run{i:03}" for i in range(count)]
    if not runs[0].exists():
        synthetic_run(runs[0], "model000")
    for i, copy in enumerate(runs[1:], 1):
        if copy.exists():
            continue
        shutil.copytree(runs[0], copy)
        for name in ("run.json", "results.json"):
            content = json.loads((copy / name).read_text())
            model = (content.get("identity") or content)["model"]
            model |= {"name": f"model{i:03}", "weights": f"{i:032x}"}
            (copy / name).write_text(json.dumps(content))
    return runs


def timed(runs: list[Path], ci: bool) -> tuple[float, float]:
    """Seconds of wall clock and of the processor."""
    from bfpo_bench.leaderboard.board import read_leaderboard
    from bfpo_bench.leaderboard.options import LeaderboardOptions

    wall, cpu = time.perf_counter(), time.process_time()
    board = read_leaderboard(runs, LeaderboardOptions(published=True, full=True, ci=ci))
    board.render()
    assert not board.problems, board.problems
    assert not board.faults, board.faults
    assert len(board.entries) == len(runs) + 19
    return time.perf_counter() - wall, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one")
    return run("leaderboard", arguments, parser, measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Makes the runs and reads them; the page's name and its text."""
    with tempfile.TemporaryDirectory() as temporary:
        runs = make_runs(options.folder or Path(temporary), options.runs)
        size = sum(file.stat().st_size for each in runs for file in each.iterdir())
        rows = []
        for name, ci in (("table", False), ("table with intervals", True)):
            wall, cpu = timed(runs, ci)
            rows.append((name, f"{wall:.2f}", f"{cpu:.2f}"))
    facts = {
        "Runs": f"{len(runs)} of full size, {size / 1e6:,.0f} MB, and the 19 published rows",
        "torch": "imported" if "torch" in sys.modules else "not imported",
    }
    lines = head("Leaderboard over many runs", command, facts)
    lines += table(("what", "seconds", "processor seconds"), rows)
    return f"leaderboard-{len(runs)}-runs", "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
