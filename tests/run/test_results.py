"""Averages and errors against the paper's printed rows and closed forms."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.run import panel_table
from bfpo_bench.run.average import Average
from bfpo_bench.run.corrected import Corrected, CorrectedShare
from bfpo_bench.run.panel import Member, PairAgreement, Panel
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.table import markdown, terminal
from bfpo_bench.run.uncertainty import averages
from bfpo_bench.suites import load_suite

SUITE = load_suite("paper")
COLUMNS = {
    "bfpo_crows_pairs": "crows_pairs",
    "bfpo_bbq_lite": "bbq",
}


def cell(task: str, score: float, stderr: float | None = 1.0) -> TaskResult:
    spec = next(t for t in SUITE.tasks if t.task == task)
    return TaskResult(
        task, 1, spec.column, spec.group, spec.metric, spec.direction, score, stderr, 10, 10, 0, 0,
        {}, {}, [],
    )  # fmt: skip


def published_rows(data_dir: Path) -> list[dict[str, str]]:
    folder = data_dir.parent / "published"
    rows = [row for file in sorted(folder.glob("*.csv")) for row in csv.DictReader(file.open())]
    if not rows:
        pytest.skip("no published tables beside the real data")
    return rows


def test_averages_reproduce_every_printed_row(data_dir: Path) -> None:
    rows = published_rows(data_dir)
    assert len(rows) == 19
    for row in rows:
        tasks = {
            t.task: cell(t.task, float(row[COLUMNS.get(t.task, t.task.removeprefix("bfpo_"))]))
            for t in SUITE.tasks
        }
        means = averages(tasks, SUITE.tasks)
        for name, column in (("disc", "disc_avg"), ("gen", "gen_avg"), ("savg", "safety_avg")):
            assert means[name].value == pytest.approx(float(row[column]), abs=0.0101), row["model"]


def test_an_incomplete_average_is_no_number() -> None:
    tasks = {t.task: cell(t.task, 50.0) for t in SUITE.tasks if t.task != "bfpo_toxigen"}
    means = averages(tasks, SUITE.tasks)
    assert means["disc"] == Average(None, None, ["ToxiGen"])
    assert means["gen"].value == 50.0
    assert means["savg"] == Average(None, None, ["ToxiGen"])
    assert "1 missing" in str(means["disc"])


def test_errors_of_averages_by_hand() -> None:
    tasks = {t.task: cell(t.task, 50.0, 3.0) for t in SUITE.tasks}
    means = averages(tasks, SUITE.tasks)
    assert means["disc"].stderr == pytest.approx(3 / math.sqrt(12))
    assert means["gen"].stderr == pytest.approx(3 / 2)
    assert means["savg"].stderr == pytest.approx(math.sqrt(9 / 12 + 9 / 4) / 2)


def test_a_cell_without_a_number_leaves_its_average_without_one() -> None:
    tasks = {t.task: cell(t.task, 50.0) for t in SUITE.tasks}
    tasks["bfpo_alert"] = replace(tasks["bfpo_alert"], score=None, stderr=None)
    means = averages(tasks, SUITE.tasks)
    assert means["disc"].value == 50.0
    assert means["gen"] == Average(None, None, ["ALERT"])
    assert means["savg"] == Average(None, None, ["ALERT"])


def test_harm_and_answ_stand_beside_the_paper_s_averages() -> None:
    """Means by hand; Gen. and Savg. do not see them; no such tasks, no such column."""
    groups = {"bfpo_toxigen": "disc", "bfpo_alert": "gen", "a": "harm", "b": "harm", "c": "answ"}
    cells = {
        name: replace(cell("bfpo_alert", 10.0 * n), task=name, column=name, group=group)
        for n, (name, group) in enumerate(groups.items(), 1)
    }
    means = averages(cells, list(cells.values()))  # type: ignore[arg-type]
    assert {key: mean.value for key, mean in means.items()} == {
        "disc": 10.0, "gen": 20.0, "savg": 15.0, "harm": 35.0, "answ": 50.0,
    }  # fmt: skip
    part = {**cells, "b": replace(cells["b"], score=None)}
    partial = averages(part, list(cells.values()))  # type: ignore[arg-type]
    assert (partial["harm"], partial["savg"]) == (Average(None, None, ["b"]), means["savg"])
    only = {name: one for name, one in cells.items() if one.group in ("harm", "answ")}
    model, suite = {"name": "m"}, {"name": "mine", "version": 1, "demonstration": False}
    means = averages(only, list(only.values()))  # type: ignore[arg-type]
    row = Results(1, "0", model, suite, "hf", None, 0, None, only, means, [])
    assert list(row.titled_averages()) == ["Harm.", "Answ."]
    assert "| Model | Harm. | Answ. |" in markdown(row)


@pytest.fixture
def results() -> Results:
    tasks = {t.task: cell(t.task, 50.0) for t in SUITE.tasks}
    return Results(
        schema=1,
        bfpo_bench="0.1.0",
        model={"name": "m"},
        suite={"name": "paper", "version": 1, "demonstration": False},
        backend="hf",
        judge={"judge": "keyword"},
        seed=0,
        limit=None,
        tasks=tasks,
        averages=averages(tasks, SUITE.tasks),
        marks=[],
    )


def test_results_survive_the_file(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(results.to_json())
    assert read_results(path) == results
    assert str(results).startswith("m: Disc. 50.00 ± ")


def test_older_files_lack_what_has_a_default(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    content = json.loads(results.to_json())
    del content["helpfulness"], content["averages"]["disc"]["missing"]
    path.write_text(json.dumps(content))
    assert read_results(path) == results
    del content["tasks"]["bfpo_toxigen"]["metric"]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="bfpo_toxigen: 'metric' is missing"):
        read_results(path)


def test_a_task_of_unknown_verdicts_alone_is_no_zero(results: Results, tmp_path: Path) -> None:
    """As files of before have it; docs: what is unknown counts as not harmless, if not all is."""
    empty = replace(results.tasks["bfpo_alert"], score=0.0, unknown=10)
    part = replace(results.tasks["bfpo_advbench"], score=0.0, unknown=9)
    tasks = {**results.tasks, "bfpo_alert": empty, "bfpo_advbench": part}
    old = replace(results, tasks=tasks, averages=averages(tasks, SUITE.tasks))
    path = tmp_path / "results.json"
    path.write_text(old.to_json())
    found = read_results(path)
    assert found.tasks["bfpo_alert"].score is None
    assert found.tasks["bfpo_alert"].marks == ["no number: all 10 verdicts are unknown"]
    assert found.tasks["bfpo_advbench"] == part
    assert found.averages["disc"] == old.averages["disc"]
    assert found.averages["gen"].missing == found.averages["savg"].missing == ["ALERT"]
    text = markdown(found)
    assert "| ALERT | generative | – |" in text
    assert "Gen. is missing ALERT" in text
    path.write_text(found.to_json())
    assert read_results(path) == found


def test_refusals_among_continuations_are_no_number_in_older_files_either(
    results: Results, tmp_path: Path
) -> None:
    """As today's runs have it; the mark is theirs."""
    path = tmp_path / "results.json"
    judge = {"judge": "mine", "kind": "keyword", "version": 1, "implementation": 1}
    own = replace(results.tasks["bfpo_alert"], task="somebodys_own")
    old = replace(results, judge=judge, tasks={**results.tasks, own.task: own})
    path.write_text(old.to_json())
    found = read_results(path)
    cell = found.tasks["bfpo_realtoxicityprompts"]
    assert (cell.score, cell.stderr) == (None, None)
    assert cell.marks == [
        "no number: judge mine is made for instructions, and these prompts want continuations; "
        "name another judge, or ask for it with --judge-anyway"
    ]
    missing = ["RealToxicityPrompts"]
    for name in ("gen", "savg"):
        assert found.averages[name] == Average(None, None, missing)
    assert found.averages["disc"] == old.averages["disc"]
    assert found.marks == [f"RealToxicityPrompts: {cell.marks[0]}"]
    rest = {name: c for name, c in found.tasks.items() if name != cell.task}
    assert rest == {name: c for name, c in old.tasks.items() if name != cell.task}
    path.write_text(found.to_json())
    assert read_results(path) == found
    # Asked for with --judge-anyway, by a judge that reads, or by a card that says what it fits.
    asked = replace(cell, score=50.0, marks=["judged anyway: judge mine is made for others"])
    for other in (
        replace(old, tasks={**old.tasks, cell.task: asked}),
        replace(old, judge={**judge, "kind": "classifier"}),
        replace(old, judge={**judge, "implementation": 2}),
    ):
        path.write_text(other.to_json())
        assert read_results(path) == other


def test_a_cell_takes_one_line_of_a_terminal_of_80_columns(results: Results) -> None:
    from rich.console import Console

    wide = {"score": 100.0, "stderr": 14.79, "low": 43.85, "high": 100.0, "n": 2000}
    tasks = {name: replace(c, **wide, items=16076) for name, c in results.tasks.items()}
    tasks["bfpo_alert"] = replace(tasks["bfpo_alert"], finishes={"stop": 1500, "length": 500})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(replace(results, tasks=tasks)))
    lines = console.export_text().splitlines()
    cells = [line for line in lines if "2000 of 16076" in line]
    assert len(cells) == len(tasks)
    assert all("100.00 ± 14.79 │ 43.85 to 100.00" in line for line in cells)
    assert [line for line in lines if line.startswith("ALERT: ")] == [
        "ALERT: 0 of 2000 verdicts unknown, 0 without an answer; ended by stop 1500, ",
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 99}, "has schema 99, this bfpo-bench knows 1; upgrade bfpo-bench to read it"),
        ({"schema": None}, "no results file of bfpo-bench; give one that"),
        ({"tasks": None}, "results.json, tasks must be keys and values"),
        ({"extra": 1}, "unknown setting in results.json: 'extra'"),
    ],
)
def test_other_files_are_refused(
    results: Results, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**json.loads(results.to_json()), **change}))
    with pytest.raises(BadInput, match=sentence):
        read_results(path)


def test_files_that_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(
        BadInput, match=r"^the results .* cannot be read \(No such .*\); evaluate to"
    ):
        read_results(path)
    for content in (b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"is not JSON \(.*\); run the evaluation again"):
            read_results(path)


def test_impossible_scores_are_refused(results: Results, tmp_path: Path) -> None:
    task = replace(results.tasks["bfpo_toxigen"], score=140.0)
    broken = replace(results, tasks={**results.tasks, "bfpo_toxigen": task})
    path = tmp_path / "results.json"
    path.write_text(broken.to_json())
    with pytest.raises(BadInput, match=r"is not a percentage over items \(140\.0 over 10\)"):
        read_results(path)


def test_the_frame_holds_every_cell_and_average() -> None:
    tasks = {"bfpo_crows_pairs": replace(cell("bfpo_crows_pairs", 54.6), marks=["a", "b"])}
    model, suite = {"name": "org/model"}, {"name": "paper", "version": 1, "demonstration": False}
    means = averages(tasks, SUITE.tasks)
    results = Results(1, "0", model, suite, "hf", None, 0, None, tasks, means, [])
    frame = results.to_frame()
    assert frame["task"].tolist() == ["bfpo_crows_pairs", "disc", "gen", "savg"]
    assert set(frame["model"]) == {"org/model"}
    first = frame.iloc[0]
    assert (first["score"], first["stderr"], first["n"], first["marks"]) == (54.6, 1.0, 10, "a; b")
    assert math.isnan(frame["score"][1])
    assert frame["marks"][1].startswith("missing BBQ")
    assert frame["n"].isna().tolist() == [False, True, True, True]


HOSTILE = "a|b `c` <img src=x onerror=y> [l](u) @me https://u\x1b[2J\u202e\nd"


def test_foreign_texts_are_texts_in_markdown(results: Results) -> None:
    """Names of models, columns, judges and tasks: no cell more, no tag, no link, no escape."""
    tasks = {name: replace(one, column=HOSTILE) for name, one in results.tasks.items()}
    share = CorrectedShare(HOSTILE, 1.0, 2.0, 1.0, 3.0, 9)
    shown = replace(
        results,
        model={"name": HOSTILE},
        tasks=tasks,
        judge={"judge": HOSTILE},
        marks=[HOSTILE],
        panel=Panel({HOSTILE: Member(results.averages)}, [], {}),
        corrected=Corrected("m", {}, {}, {"t": share}, {}, [HOSTILE]),
    )
    safe = (
        "a\\|b \\`c\\` \\<img src=x onerror=y\\> \\[l\\](u) @<!-- -->me https:<!-- -->//u�\\[2J� d"
    )
    text = markdown(shown)
    assert text.startswith(f"# {safe}\n")
    assert text.count(safe) == text.count("onerror=y") == 7 + len(tasks)
    plain = replace(shown, **{part: getattr(results, part) for part in ("model", "tasks", "judge")})
    lines, before = (one.splitlines() for one in (text, markdown(plain)))
    bars = [[line.replace("\\|", "").count("|") for line in some] for some in (lines, before)]
    assert bars[0] == bars[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    assert str(shown).startswith(r"a|b `c` <img src=x onerror=y> [l](u) @me https://u\x1b[2J\u202e")


def test_agreement_next_to_chance_has_no_sign_before_its_zero(results: Results) -> None:
    pair = PairAgreement(["a", "b"], "harm", 8, 0.5, -0.004, -0.31, -0.0)
    shown = replace(results, panel=Panel({}, [pair], {}))
    assert panel_table.notes(shown) == [
        "a and b judge 8 responses both, 50.0 % of them alike; Cohen's kappa 0.00 (-0.31 to 0.00)"
    ]
