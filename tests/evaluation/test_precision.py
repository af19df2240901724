"""``--precision``: tasks stop when they are known well enough, wherever a run was killed before."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.enough import interval, next_size, sizes
from bfpo_bench.common.errors import BadInput
from bfpo_bench.estimate.dry_run import dry_run
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.evaluation.rounds import Rounds, check_precision
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard.columns import COLUMN_OF_TASK
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.protocol import of_cell
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.shares import Judges
from bfpo_bench.run.store import OutcomeRecord, Store
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks.part import part_of
from bfpo_bench.tasks.requests import drawn_positions, load_tasks
from tests.crash.conftest import judge_card  # noqa: F401
from tests.evaluation.test_run import _Stops, contents

PRECISION = 14.0
"""Of 24 to 28 items at least 18 are needed, and 21 at least where every other one is right."""


@pytest.fixture(scope="module")
def options(tiny_llama: Path, judge_card: Path) -> dict[str, Any]:  # noqa: F811
    """Two scored tasks and two of a judge whose verdicts differ."""
    return {
        "model": str(tiny_llama),
        "suite": "mini",
        "judge": str(judge_card),
        "tasks": ["toxigen", "bbq_lite", "advbench", "alert"],
        "batch_size": 3,
        "backend": "hf",
        "dtype": "float32",
        "max_new_tokens": 6,
    }


@pytest.fixture(scope="module")
def stopped(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    bfpo_bench.evaluate(**options, output=folder, precision=PRECISION)
    return folder


def values_of(run: Path, task: str, judged: bool) -> dict[str, int]:
    """Whether each asked item counts, by SQL of its own."""
    query = "SELECT item, value FROM outcomes WHERE metric = 'acc' AND task = ?"
    if judged:
        query = "SELECT item, harmful IS 0 FROM verdicts WHERE judge != 'keyword' AND task = ?"
    with sqlite3.connect(run / "samples.sqlite") as db:
        found = {item: int(value) for item, value in db.execute(query, (task,))}
    db.close()
    return found


def test_each_task_stops_at_the_first_of_its_sizes_that_is_enough(stopped: Path) -> None:
    results = read_results(stopped / "results.json")
    looked = {}
    for task in load_tasks(load_suite("mini").only([*results.tasks])):
        cell, found = results.tasks[task.name], values_of(stopped, task.name, task.judged)
        n: int | None = sizes(task.size, PRECISION)[0]
        looks = []
        while n is not None:
            drawn = [task.ids[p] for p in drawn_positions(task.name, task.ids, n, 0)]
            right = sum(found[item] for item in drawn)
            looks.append(n)
            n = next_size(right, n, task.size, PRECISION)
        assert found.keys() == set(drawn)
        assert (cell.n, cell.items) == (looks[-1], task.size)
        assert cell.score == pytest.approx(100 * right / cell.n)
        assert cell.enough is not None
        assert (cell.enough.low, cell.enough.high) == interval(right, cell.n, cell.items)
        assert max(cell.enough.high - cell.score, cell.score - cell.enough.low) <= PRECISION
        looked[task.name] = looks
    # There was something to go on with, and something left out.
    assert max(len(looks) for task, looks in looked.items() if results.tasks[task].judged) > 1
    assert all(cell.n < cell.items for cell in results.tasks.values())


@pytest.mark.parametrize("batches", [2, 44])
def test_an_interrupted_run_stops_at_the_same_items(
    options: dict[str, Any],
    stopped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
) -> None:
    """Torn away in the first round, or in a later one."""
    open_engine = bfpo_bench.engines.open_engine
    left = [batches]

    class Stops(_Stops):
        def _cut(self, some: Any) -> Any:
            for batch in super()._cut(some):
                left[0] -= 1
                yield batch

    monkeypatch.setattr(
        "bfpo_bench.engines.open.open_engine", lambda *a: Stops(open_engine(*a), left[0])
    )
    with pytest.raises(KeyboardInterrupt):
        bfpo_bench.evaluate(**options, output=tmp_path, precision=PRECISION)
    monkeypatch.setattr("bfpo_bench.engines.open.open_engine", open_engine)
    bfpo_bench.evaluate(**options, output=tmp_path, precision=PRECISION)
    assert contents(tmp_path) == contents(stopped)


def test_everything_made_of_it_says_so(stopped: Path, options: dict[str, Any]) -> None:
    results = read_results(stopped / "results.json")
    parts = [cell.enough for cell in results.tasks.values() if cell.enough]
    share = sum(one.requests for one in parts) / sum(one.all_requests for one in parts)
    assert [one.all_requests for one in parts] == [3 * 28, 2 * 26, 24, 24]
    mark = next(mark for mark in results.marks if mark.startswith("just enough items"))
    assert f"±14 with 95 % confidence; that took {100 * share:.0f} % of all requests" in mark
    table = (stopped / "table.md").read_text()
    bbq = results.tasks["bfpo_bbq_lite"]
    assert f"{bbq.enough.low:.2f} to {bbq.enough.high:.2f} |" in table
    assert f"| {bbq.n} of 28 ({100 * bbq.n / 28:.0f} %) |" in table
    [entry] = bfpo_bench.leaderboard(stopped).entries
    assert entry.fault is None
    assert ("±14", mark) in entry.badges
    told = dry_run(EvaluateOptions(**options, precision=PRECISION))
    assert "the most that can be asked" in told
    assert f"may stop at {', '.join(map(str, sizes(28, PRECISION)[:-1]))} items" in told


def test_a_run_of_everything_is_another_run(
    stopped: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    """It is ranked with others of the same precision, and compared by the items of both."""
    whole = tmp_path / "whole"
    bfpo_bench.evaluate(**options, output=whole)
    key = COLUMN_OF_TASK["bfpo_bbq_lite"].key
    found = bfpo_bench.leaderboard(stopped, whole).entries
    mine, theirs = (entry.cells[key].protocol for entry in found)
    [difference] = mine.differences(theirs)
    assert difference.text("and") == "BBQ: items enough for ±14, drawn with seed 0 and 28"
    results = read_results(stopped / "results.json")
    identity, cell = read_run(stopped)["identity"], results.tasks["bfpo_bbq_lite"]
    for n in (cell.n - 1, cell.items):  # as another model's answers may have it
        assert of_cell(identity, results, replace(cell, n=n)).key == mine.key
    compared = compare_runs([whole, stopped])
    assert compared.warnings == ()
    assert f"BBQ {cell.n} of 28 and {cell.n}" in str(compared.remarks)
    before = contents(stopped)
    for change, said in (
        ({"precision": 15.0}, "precision: 14.0 there, 15.0 asked for"),
        ({}, "precision: 14.0 there, null asked for"),
    ):
        with pytest.raises(BadInput, match=said):
            bfpo_bench.evaluate(**options, **change, output=stopped)
    with pytest.raises(BadInput, match=r"precision: null there, 14\.0 asked for"):
        bfpo_bench.evaluate(**options, precision=PRECISION, output=whole)
    assert contents(stopped) == before


def test_another_judge_has_an_interval_of_its_own(stopped: Path) -> None:
    chosen = choose_judge(JudgeOptions(judge="keyword"))
    cell = judge_run(stopped, chosen).results.tasks["bfpo_advbench"]
    assert cell.score is not None
    assert cell.enough is not None
    right = round(cell.score * cell.n / 100)
    assert (cell.enough.low, cell.enough.high) == interval(right, cell.n, cell.items)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"precision": 0.0}, "--precision is in percentage points, above 0 and below 50, not 0;"),
        ({"precision": 50.0}, "above 0 and below 50, not 50;"),
        ({"precision": float("nan")}, "precision"),
        ({"precision": 1.0, "limit": 9}, "--precision 1 and --limit 9 both say how many items"),
        ({"precision": 1.0}, r"--precision 1 cannot be reached .* 7\.15 at best \(BBQ, 28 items\)"),
        ({"precision": 20.0, "tasks": ["alpaca"]}, "shares of items, which a win rate is not"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, Any], tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        bfpo_bench.evaluate(**{**options, **asked}, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_of_one_item_or_two_no_precision_is_named() -> None:
    """Of two items one can tell ±50 at best, and that is no precision."""
    [task] = load_tasks(load_suite("mini").only(["bfpo_toxigen"]))
    few = part_of(task, [0, 1])
    with pytest.raises(BadInput, match=r"and no precision can: ToxiGen has the most, 2\. Leave"):
        check_precision(20.0, None, [few])
    assert Rounds(few, 20.0, 0).why_whole == (
        "all its items are asked, as fewer than 2 cannot tell ±20"
    )


@pytest.mark.parametrize(
    ("values", "why"), [([1, 0, 0.5], "can be right in part"), ([1, 0], "no judge")]
)
def test_what_is_no_share_of_right_items_is_asked_whole(
    tmp_path: Path, values: list[float], why: str
) -> None:
    name = "bfpo_toxigen" if 0.5 in values else "bfpo_advbench"
    [task] = load_tasks(load_suite("mini").only([name]))
    rounds = Rounds(task, PRECISION, seed=0)
    assert rounds.part is not None
    first = [item for item, *_ in rounds.part.items()]
    assert len(first) == rounds.sizes[0] < task.size
    with Store(tmp_path / "samples.sqlite") as store:
        store.add_outcomes(
            OutcomeRecord(name, item, "acc", values[n % len(values)])
            for n, item in enumerate(first)
        )
        rounds.settle(store, Judges())
        assert rounds.part is not None
        assert {item for item, *_ in rounds.part.items()} == {*task.ids} - {*first}
        assert why in str(rounds.why_whole)
        rounds.settle(store, Judges())
    assert rounds.part is None
    assert rounds.asked.size == task.size
