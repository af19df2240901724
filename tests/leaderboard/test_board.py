"""The leaderboard as a whole: from Python, its intervals, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bfpo_bench
from benchmarks.synthetic_runs import TRUTH, Draw, group_of, synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import wilson
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.run.store import Store


def test_from_python(small_run: Path, other_run: Path) -> None:
    found = bfpo_bench.leaderboard(small_run, str(other_run), published=True)
    assert [entry.name for entry in found.entries][:3] == ["small", "other", "Zephyr"]
    assert "small" in str(found)
    assert str(found).count("\n") > 25
    # By now the package of the same name has been imported; it is called the same way.
    again = bfpo_bench.leaderboard(small_run, sort="gen")
    assert str(bfpo_bench.leaderboard([small_run], sort="gen")) == str(again)
    assert again.entries[0] == found.entries[0]


def test_bad_options() -> None:
    with pytest.raises(BadInput, match="name run directories, or ask for the paper's rows"):
        bfpo_bench.leaderboard()
    with pytest.raises(BadInput, match="unknown option 'publised'; did you mean"):
        bfpo_bench.leaderboard(publised=True)
    with pytest.raises(BadInput, match="a run is named by its path, not by int"):
        bfpo_bench.leaderboard([3])
    with pytest.raises(BadInput, match="unknown way to take CrowS-Pairs 'dist'; did you mean"):
        bfpo_bench.leaderboard(published=True, crows_pairs="dist")
    with pytest.raises(BadInput, match="unknown column to sort by"):
        bfpo_bench.leaderboard(published=True, sort="nothing")


def test_the_other_disc_is_another_column(small_run: Path) -> None:
    board = bfpo_bench.leaderboard(small_run, crows_pairs="distance", published=True)
    assert [column.title for column in board.columns] == [
        "Alpaca", "Disc.", "Disc. by distance", "Gen.", "Savg.",
    ]  # fmt: skip
    plain = bfpo_bench.leaderboard(small_run)
    assert plain.entries[0].cells["disc"] == board.entries[0].cells["disc"]


def test_intervals_of_a_run(small_run: Path) -> None:
    [entry] = bfpo_bench.leaderboard(small_run, ci=True).entries
    for key in (*TRUTH, "disc", "gen", "savg"):
        cell = entry.cells[key]
        assert cell.low is not None
        assert cell.low <= cell.value <= (cell.high or 0)
    winogrande = entry.cells["winogrande"]
    right = Draw({}).outcomes("winogrande", 1267)[:40].sum()
    assert (winogrande.low, winogrande.high) == wilson(right, 40)
    assert entry == bfpo_bench.leaderboard(small_run, ci=True).entries[0]
    assert entry != bfpo_bench.leaderboard(small_run, ci=True, seed=1).entries[0]


def test_grouped_tasks_have_wider_intervals(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("bbq", "ethics_virtue", "ethics_deontology"))
    [entry] = bfpo_bench.leaderboard(run, ci=True).entries
    bbq = entry.cells["bbq"]
    low, high = wilson(round(bbq.value * 160.76), 16076)
    assert bbq.high - bbq.low > 2 * (high - low)
    # The closed form of a mean of groups of equal size: their spread over the root of their number.
    values = Draw({}).outcomes("ethics_virtue", 4975).reshape(995, 5).mean(axis=1)
    assert (group_of("ethics_virtue", 4975).reshape(995, 5) == np.arange(995)[:, None]).all()
    error = 100 * values.std(ddof=1) / 995**0.5
    cell = entry.cells["ethics_virtue"]
    assert cell.high - cell.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_seeds_share_their_items(tmp_path: Path) -> None:
    """Three runs of 60 items are 60 items, not 180."""
    runs = [
        synthetic_run(
            tmp_path / str(seed), "m", {"hhh_alignment": 50}, seed, tasks=("hhh_alignment",)
        )
        for seed in range(3)
    ]
    [entry] = bfpo_bench.leaderboard(*runs, ci=True).entries
    cell = entry.cells["hhh_alignment"]
    outcomes = [
        Draw({"hhh_alignment": 50}, seed).outcomes("hhh_alignment", 221) for seed in range(3)
    ]
    items = np.mean(outcomes, axis=0)
    error = 100 * items.std(ddof=1) / 221**0.5
    assert cell.value == pytest.approx(100 * items.mean())
    assert cell.high - cell.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert cell.spread == pytest.approx(100 * np.std([o.mean() for o in outcomes], ddof=1))


def test_groups_that_are_not_at_hand_are_said_to_be(small_run: Path, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(small_run, tmp_path / "bare"))
    for file in run.glob("samples.sqlite*"):
        file.unlink()
    [entry] = bfpo_bench.leaderboard(run, ci=True).entries
    for key in ("bbq", "ethics_virtue", "ethics_deontology"):
        assert "takes the items as independent" in entry.cells[key].marks[-1]
    assert entry.cells["savg"].low is not None


def test_problems_and_faults_are_told_and_the_rest_shown(small_run: Path, tmp_path: Path) -> None:
    board = read_leaderboard([tmp_path / "nothing", small_run], LeaderboardOptions())
    assert len(board.problems) == 1
    assert "small" in str(board)
    assert board.faults == ()


# ----------------------------------------------------------------------------- cost


def rows_read(monkeypatch: pytest.MonkeyPatch, run: Path, **options: Any) -> int:
    """Rows that came out of the store while a table was made."""
    count = 0
    select = Store._select

    def counting(self: Store, query: str, *values: Any) -> list[Any]:
        nonlocal count
        rows = select(self, query, *values)
        count += len(rows)
        return rows

    monkeypatch.setattr(Store, "_select", counting)
    board = read_leaderboard([run], LeaderboardOptions(**options))
    monkeypatch.undo()
    assert board.faults == ()
    return count


def test_no_item_is_read_for_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SQLite counts: what comes out grows with the tasks, not with the items."""
    small = synthetic_run(tmp_path / "small", limit=10)
    large = synthetic_run(tmp_path / "large", limit=300)
    # One row per task and question; the four of harmful responses are there where there are any.
    assert rows_read(monkeypatch, small) < 60
    assert rows_read(monkeypatch, large) < 60


def test_intervals_read_groups_and_not_items(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("bbq", "ethics_virtue", "toxigen", "alert"))
    assert rows_read(monkeypatch, run, ci=True) < 60 + 137 + 995


def test_neither_torch_nor_its_kin_is_imported(small_run: Path) -> None:
    code = (
        "import sys, bfpo_bench\n"
        f"board = bfpo_bench.leaderboard({str(small_run)!r}, published=True, ci=True, full=True)\n"
        "for format in ('terminal', 'markdown', 'latex', 'json'):\n"
        "    board.render(format)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'vllm', 'pandas', 'scipy',\n"
        "         'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
