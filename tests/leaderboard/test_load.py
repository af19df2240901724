"""From run directories to rows: what is bad costs its row, seeds join, names stay apart."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

import bfpo_bench
from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.leaderboard.entry import NO_SAMPLES
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.render.escaping import name_text
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.store import OutcomeRecord, Store
from tests.leaderboard.edits import edited


def test_a_row_has_the_scores_of_results_json(small_run: Path) -> None:
    [row] = load_rows([small_run]).rows
    found = json.loads((small_run / "results.json").read_text())
    cells = row.entry.cells
    assert cells["bbq"].value == found["tasks"]["bfpo_bbq_lite"]["score"]
    assert cells["bbq"].n == 40
    for key in ("disc", "gen", "savg"):
        assert cells[key].value == found["averages"][key]["value"]
    assert cells["crows_pairs_distance"].value == abs(cells["crows_pairs"].value - 50)
    assert row.entry.name == "small"
    assert row.entry.run == small_run
    assert "no digest of this data is known" in cells["toxigen"].marks[0]


def test_bad_folders_get_a_sentence_each_and_the_rest_loads(
    small_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    half = copy(small_run, "half")
    (half / "results.json").unlink()
    newer_run, newer = copy(small_run, "newer_run"), copy(small_run, "newer")
    edited(newer_run, "run.json", lambda content: content.update(schema=9))
    edited(newer, "results.json", lambda content: content.update(schema=9))
    cut = copy(small_run, "cut")
    (cut / "results.json").write_text("{")
    found = load_rows([empty, half, small_run, newer_run, newer, cut, tmp_path / "nothing"])
    assert [row.entry.name for row in found.rows] == ["small"]
    sentences = [
        f"{empty} is no run directory",
        f"{half} is a half-finished run (it has no results.json yet)",
        f"{newer_run} was written by a newer bfpo-bench (schema 9",
        f"{newer / 'results.json'} has schema 9",
        f"{cut / 'results.json'} is not JSON",
        f"{tmp_path / 'nothing'} is no run directory",
    ]
    assert len(found.problems) == len(sentences)
    for sentence, problem in zip(sentences, found.problems, strict=True):
        assert problem.startswith(sentence)
        assert "\n" not in problem


@pytest.mark.parametrize("store", [b"", b"SQLite format 3\0" + b"x" * 5000, b"no database"])
def test_a_run_with_a_damaged_store_is_named_and_the_rest_loads(
    small_run: Path, copy: Callable[..., Path], store: bytes
) -> None:
    run = copy(small_run, "torn")
    (run / "samples.sqlite").write_bytes(store)
    found = load_rows([run, small_run])
    [torn] = [row.entry for row in found.rows if row.entry.run == run]
    assert (torn.fault or "").startswith("its samples cannot be read (")
    assert [row.entry.fault for row in found.rows if row.entry.run == small_run] == [None]


def test_a_folder_of_runs_is_its_runs(
    small_run: Path, other_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    copy(small_run, "runs/b")
    copy(other_run, "runs/a")
    (tmp_path / "runs" / "notes").mkdir()
    found = load_rows([tmp_path / "runs"])
    assert [row.entry.name for row in found.rows] == ["other", "small"]
    assert not found.problems


def test_one_run_named_twice_is_one_row(small_run: Path) -> None:
    found = load_rows([small_run, small_run / ".." / small_run.name])
    assert len(found.rows) == 1
    assert "is given twice; it is shown once" in found.remarks[0]


def test_two_runs_of_one_name_are_told_apart(small_run: Path, tmp_path: Path) -> None:
    other = synthetic_run(tmp_path / "b", "small", limit=40, weights="others", tasks=("toxigen",))
    found = load_rows([small_run, other])
    assert [row.entry.name for row in found.rows] == ["small (run)", "small (b)"]
    assert "2 runs are named small" in found.remarks[0]


def test_names_stay_apart_where_folders_are_named_alike_too(
    small_run: Path, copy: Callable[..., Path]
) -> None:
    found = load_rows([copy(small_run, "x/run"), copy(small_run, "y/run")])
    assert len({row.entry.name for row in found.rows}) == 2


def test_names_that_read_alike_are_told_apart(
    small_run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    long = "m" * 300
    runs = []
    for n, name in enumerate(("", " ", "\x1b[1mm", "\x00[1mm", f"{long}1", f"{long}2")):
        runs.append(copy(small_run, f"{n}{'f' * 100}"))
        for file in ("run.json", "results.json"):
            edited(
                runs[-1],
                file,
                lambda content, name=name: content.get("identity", content)["model"].update(
                    name=name
                ),
            )
    found = load_rows(runs)
    shown = [name_text(row.entry.name) for row in found.rows]
    assert len(set(shown)) == len(runs)
    assert not any(row.entry.fault for row in found.rows)
    assert not any("\x1b" in remark for remark in found.remarks)


def test_seeds_of_one_model_make_one_row(tmp_path: Path) -> None:
    tasks = ("advbench", "hhh_alignment")
    runs = [
        synthetic_run(tmp_path / str(seed), "model", {"advbench": 60}, seed, tasks=tasks)
        for seed in (3, 1, 2)
    ]
    [row] = load_rows(runs).rows
    values = [
        json.loads((run / "results.json").read_text())["tasks"]["bfpo_advbench"]["score"]
        for run in runs
    ]
    cell = row.entry.cells["advbench"]
    assert cell.value == pytest.approx(mean(values))
    assert cell.spread == pytest.approx(stdev(values))
    assert row.entry.runs == (tmp_path / "1", tmp_path / "2", tmp_path / "3")
    assert row.entry.marks[0].startswith("mean of 3 runs (seeds 1, 2, 3)")


def test_other_weights_or_settings_or_the_same_seed_are_rows_of_their_own(
    tmp_path: Path,
) -> None:
    def run(name: str, **more: Any) -> Path:
        return synthetic_run(tmp_path / name, "model", tasks=("hhh_alignment",), **more)

    runs = [
        run("a", seed=1), run("b", seed=2, weights="x"), run("c", seed=3, limit=9),
        run("d", seed=1),
    ]  # fmt: skip
    assert len(load_rows(runs).rows) == 4


def trained(run: Path, seed: int, **more: Any) -> None:
    """Puts the record of a training into a run, as `evaluate` copies it from the model's folder."""
    recipe = {"method": "ipo", "loss": "ipo", "seed": seed, "eval": None, "base": f"sft{seed}"}
    recipe |= {"data": [{"name": "pku", "limit": more.get("limit")}], **more.get("recipe", {})}
    data = [{"name": "pku", "digest": more.get("digest", "d")}]
    base = {"name": "sft", "weights": more.get("base", "b")}
    record = {"method": "ipo", "recipe": recipe, "base": base, "data": data, "rewards": {}}
    (run / "training.json").write_text(json.dumps(record))


@pytest.mark.parametrize("stages", [1, 2])
def test_seeds_of_one_training_make_one_row(tmp_path: Path, stages: int) -> None:
    """Other weights, evaluated with one seed: several models, but one method."""
    runs = []
    for seed in (7, 5):
        name = f"ipo-{seed}"
        truth, tasks = {"advbench": 60.0 + seed}, ("advbench",)
        runs += [synthetic_run(tmp_path / name, name, truth, tasks=tasks, weights=name)]
        # Drawn by the seed from one file: no other data. A first stage makes the second one's base.
        first = {"method": "dpo", "seed": seed, "base": "sft"}
        more = {"recipe": {"first": first}, "base": name} if stages == 2 else {}
        trained(runs[-1], seed, limit=9, digest=name, **more)
    [row] = load_rows(runs).rows
    values = [
        json.loads((run / "results.json").read_text())["tasks"]["bfpo_advbench"]["score"]
        for run in runs
    ]
    assert row.entry.cells["advbench"].value == pytest.approx(mean(values))
    assert row.entry.name == "ipo"
    about = "mean of 2 runs (seeds of the training 5, 7), ± their standard deviation"
    assert row.entry.marks[0] == about


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": {"loss": "dpo"}}, {"base": "another"}, {"digest": "other rows"},
        {"recipe": {"eval": 1}}, {"recipe": {"first": {"seed": 3, "base": "sft"}}},
    ],
    ids=["loss", "base", "data", "no whole record", "stages"],
)  # fmt: skip
def test_other_trainings_are_rows_of_their_own(tmp_path: Path, other: dict[str, Any]) -> None:
    for seed, more in ((1, {}), (2, {}), (3, other)):
        run = synthetic_run(tmp_path / str(seed), "m", tasks=("hhh_alignment",), weights=str(seed))
        trained(run, seed, **more)
    assert sorted(len(row.runs) for row in load_rows([tmp_path]).rows) == [1, 2]


def test_a_faulty_run_does_not_spoil_the_mean(tmp_path: Path) -> None:
    runs = [
        synthetic_run(tmp_path / str(seed), "model", seed=seed, tasks=("hhh_alignment",))
        for seed in range(3)
    ]
    edited(runs[0], "run.json", lambda content: content["identity"].update(limit=7))
    rows = load_rows(runs).rows
    faults = {row.entry.runs: row.entry.fault for row in rows}
    reason = "run.json and results.json name a different limit"
    assert faults == {(runs[0],): reason, tuple(runs[1:]): None}


def test_missing_averages_are_missing_and_say_so(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("advbench", "toxigen"))
    [row] = load_rows([run]).rows
    assert not {"disc", "gen", "savg"} & row.entry.cells.keys()
    assert row.entry.marks[0].startswith("Disc. is missing CrowS-Pairs, BBQ")
    assert row.entry.marks[1] == "Gen. is missing RealToxicityPrompts, ALERT, ALERT Adversarial"


def test_a_run_without_its_samples_is_marked(small_run: Path, copy: Callable[..., Path]) -> None:
    run = copy(small_run)
    for file in run.glob("samples.sqlite*"):
        file.unlink()
    [row] = load_rows([run]).rows
    assert row.entry.fault is None
    assert NO_SAMPLES in row.entry.marks


def test_another_judges_verdicts(small_run: Path, copy: Callable[..., Path]) -> None:
    from bfpo_bench.judges.chosen import choose_judge
    from bfpo_bench.judges.options import JudgeOptions

    run = copy(small_run)
    with pytest.raises(BadInput, match="holds no verdicts of the judge keyword"):
        open_run(run, "keyword")
    with sqlite3.connect(run / "samples.sqlite") as database:
        database.execute("DELETE FROM verdicts WHERE judge = 'keyword'")
    judged = judge_run(run, choose_judge(JudgeOptions(judge="keyword", judge_anyway=True)))
    [row] = load_rows([run], "keyword").rows
    assert row.entry.fault is None
    gen = judged.results.averages["gen"].value
    assert row.entry.cells["gen"].value == gen
    [own] = load_rows([run]).rows
    assert own.entry.cells["gen"].protocol != row.entry.cells["gen"].protocol
    assert own.entry.cells["disc"].protocol == row.entry.cells["disc"].protocol


def test_columns_of_tasks_that_the_paper_does_not_have(
    small_run: Path, copy: Callable[..., Path]
) -> None:
    run = copy(small_run)

    def rename(content: dict[str, Any]) -> None:
        cell = content["tasks"].pop("bfpo_toxigen")
        content["tasks"]["bfpo_mine"] = cell | {"task": "bfpo_mine", "column": "Mine"}

    edited(run, "results.json", rename)
    entry = load_rows([run]).rows[0].entry
    [column] = entry.extra
    assert (column.key, column.title, column.group) == ("bfpo_mine", "Mine", "disc")
    assert entry.cells["bfpo_mine"].n == 40


REWARD = "reward:armorm@12345678:helpsteer-helpfulness"


def test_rewards_and_constraints_are_columns_beside_alpaca(
    copy: Callable[..., Path], small_run: Path, other_run: Path
) -> None:
    run = copy(small_run)
    with Store(run / "samples.sqlite") as store:
        for metric, values in ((REWARD, (-1.0, 0.5, 2.0)), ("constraint_met", (1.0, 0.0, 1.0))):
            store.add_outcomes(
                OutcomeRecord(TASK, f"i{n}", metric, value) for n, value in enumerate(values)
            )
    board = bfpo_bench.leaderboard(run, other_run)
    titles = [column.title for column in board.columns]
    assert titles[0] == "Alpaca"
    assert set(titles[1:3]) == {"Constraints met", "Reward helpsteer-helpfulness"}
    assert titles[3:] == ["Disc.", "Gen.", "Savg."]
    [row, other] = board.entries
    assert row.cells[REWARD].value == pytest.approx(0.5)
    assert row.cells["constraint_met"].value == pytest.approx(200 / 3)
    low, high = row.cells[REWARD].low, row.cells[REWARD].high
    assert low is not None
    assert high is not None
    assert -1 <= low < 0.5 < high <= 2
    assert "alpaca" not in row.cells
    assert REWARD not in other.cells
    assert "not percent" in " ".join(str(board).split())
