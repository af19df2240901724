"""How long ``leaderboard`` takes over many runs of full paper size.

    python -m benchmarks.leaderboard --runs 50 --folder /tmp/runs

One synthetic run is made (about 46,000 responses and 98,000 scores) and copied; every copy gets a
name of its own. Printed: seconds of wall clock and of the processor for the table, for the table
with intervals, and whether torch was imported.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path


def make_runs(folder: Path, count: int) -> list[Path]:
    """So many run directories of full size."""
    from tests.leaderboard.synthetic import synthetic_run

    runs = [folder / f"run{i:03}" for i in range(count)]
    if not runs[0].exists():
        synthetic_run(runs[0], "model000")
    for i, run in enumerate(runs[1:], 1):
        if run.exists():
            continue
        shutil.copytree(runs[0], run)
        for name in ("run.json", "results.json"):
            content = json.loads((run / name).read_text())
            model = (content.get("identity") or content)["model"]
            model |= {"name": f"model{i:03}", "weights": f"{i:032x}"}
            (run / name).write_text(json.dumps(content))
    return runs


def timed(runs: list[Path], ci: bool) -> tuple[float, float]:
    """Seconds of wall clock and of the processor."""
    from bfpo_bench.leaderboard.board import Options, read_leaderboard

    wall, cpu = time.perf_counter(), time.process_time()
    board = read_leaderboard(runs, Options(published=True, full=True, ci=ci))
    board.render()
    assert not board.problems, board.problems
    assert not board.faults, board.faults
    assert len(board.entries) == len(runs) + 19
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Prints the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = make_runs(arguments.folder or Path(temporary), arguments.runs)
        size = sum(file.stat().st_size for run in runs for file in run.iterdir())
        found: dict[str, object] = {"runs": len(runs), "megabytes": round(size / 1e6)}
        for name, ci in (("table", False), ("table with intervals", True)):
            wall, cpu = timed(runs, ci)
            found[name] = {"seconds": round(wall, 2), "processor": round(cpu, 2)}
        found["torch imported"] = "torch" in sys.modules
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
