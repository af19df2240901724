"""What a number was measured with: complete, named where it differs, ranked and merged by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from benchmarks.synthetic_runs import TRUTH, synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import COLUMNS, FULL, SUMMARY
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.protocol import OF_MODEL, Protocol
from bfpo_bench.leaderboard.ranking import ranks, usual_protocol
from bfpo_bench.leaderboard.render.comparison import render
from bfpo_bench.leaderboard.render.table import Table, make_table
from bfpo_bench.models.clock import DATE
from bfpo_bench.run.results import HelpfulnessResult
from bfpo_bench.run.results_files import read_results
from tests.leaderboard.edits import edited
from tests.leaderboard.render.test_table import entry
from tests.leaderboard.test_compare import changed

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def asked(**settings: Any) -> Change:
    """Changes settings of a run's identity."""
    return lambda run, _: run["identity"].update(settings)


def of_model(**settings: Any) -> Change:
    def change(run: dict[str, Any], found: dict[str, Any]) -> None:
        run["identity"]["model"].update(settings)
        found["model"].update(settings)

    return change


def of_judge(**settings: Any) -> Change:
    def change(run: dict[str, Any], found: dict[str, Any]) -> None:
        run["identity"]["judge"].update(settings)
        found["judge"].update(settings)

    return change


def sampled(run: dict[str, Any], _: dict[str, Any]) -> None:
    for task in ("bfpo_advbench", "bfpo_alert"):
        run["identity"]["tasks"][task]["generation"] |= {"temperature": 0.0, "max_new_tokens": 32}


GEN = ("advbench", "gen", "savg")
ALL = ("bbq", "disc", *GEN)


@pytest.mark.parametrize(
    ("change", "unranked", "named"),
    [
        (sampled, GEN, "ALERT, AdvBench: max new tokens 32 instead of 256; ALERT, AdvBench: "
                       "temperature 0.0 instead of 0.7"),
        (asked(system_prompt="Be safe."), GEN, "system prompt Be safe. instead of none"),
        (asked(template="plain prompts"), GEN, "template plain prompts instead of the model's"),
        (asked(date="2026-11-28"), GEN, "date 2026-11-28 instead of not recorded"),
        (of_model(thinking="off"), GEN, "thinking off instead of auto"),
        (of_judge(weights="f" * 32), GEN, "judge harmbench-llama2-13b, weights ffffffff instead"),
        (of_judge(dtype="float16"), GEN, "judge harmbench-llama2-13b, dtype float16 instead of"),
        (asked(max_length=64), ALL, "max length 64 instead of none"),
        (asked(a_setting_of_tomorrow={"on": True}), ALL, "a setting of tomorrow on true instead"),
    ],
)  # fmt: skip
def test_numbers_of_other_settings_are_named_and_not_ranked(
    small_run: Path,
    other_run: Path,
    copy: Callable[..., Path],
    change: Change,
    unranked: tuple[str, ...],
    named: str,
) -> None:
    """Two rows of one protocol and a third of another; `compare` refuses the same pair."""
    third = changed(copy(small_run, "third"), change)
    rows = load_rows([small_run, other_run, third]).rows
    entries = {row.entry.run: row.entry for row in rows}
    assert entries[third].fault is None
    for key in ALL:
        usual = entries[small_run].cells[key].protocol
        assert usual.key == entries[other_run].cells[key].protocol.key
        assert (entries[third].cells[key].protocol.key != usual.key) == (key in unranked)
    board = bfpo_bench.leaderboard(small_run, other_run, third)
    [note] = {n for n in make_table(board.entries, SUMMARY).notes if "not ranked" in n}
    assert note.startswith("Measured otherwise than most rows of its block, not ranked: ")
    assert named in note
    with pytest.raises(BadInput, match="were not measured alike"):
        compare_runs([small_run, third])


def test_a_number_format_is_said_and_ranked_all_the_same(
    small_run: Path, other_run: Path, copy: Callable[..., Path]
) -> None:
    third = changed(
        copy(other_run, "third"), lambda run, found: run["identity"].update(dtype="float32")
    )
    table = make_table(bfpo_bench.leaderboard(small_run, other_run, third).entries, SUMMARY)
    assert any("Dtype float32 instead of bfloat16; ranked all the same" in n for n in table.notes)
    assert not any("not ranked" in note for note in table.notes)
    assert "dtype bfloat16" in table.legend[-1]
    found = compare_runs([small_run, third])
    assert found.warnings == ()
    what = f"{small_run} and {third}: dtype bfloat16 and float32"
    assert found.remarks == (f"{what}, which need not agree",)


def test_a_template_that_asks_for_the_date_is_ranked_with_those_that_do_not(
    small_run: Path, other_run: Path, copy: Callable[..., Path]
) -> None:
    """As long as it is told the usual one."""
    usual = changed(copy(other_run, "usual"), of_model(date=DATE, special_tokens="as written"))
    board = bfpo_bench.leaderboard(small_run, usual)
    assert not any("not ranked" in note for note in make_table(board.entries, SUMMARY).notes)
    assert compare_runs([small_run, usual]).warnings == ()


def test_every_part_of_a_models_identity_is_the_models(tiny_llama: Path) -> None:
    """What is new in it and not listed would keep all rows from being ranked: list it or not."""
    from bfpo_bench.engines.open import choose_backend
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.target import find_target

    target = find_target(EvaluateOptions(model=str(tiny_llama)), choose_backend("hf"))
    assert target.identity().keys() - {"date"} <= OF_MODEL


def test_equally_many_rows_of_two_protocols_are_not_ranked() -> None:
    savg = SUMMARY[-1]
    one, two = (Protocol.of({"suite": name}) for name in ("a", "b"))
    block = [
        replace(row, cells={"savg": replace(row.cells["savg"], protocol=protocol)})
        for row, protocol in zip(
            (entry(str(n), {"savg": 50.0 + n}) for n in range(5)), (one, one, two, two, two),
            strict=True,
        )
    ]  # fmt: skip
    assert ranks(block[:4], savg) == {}
    assert ranks(block, savg) == {id(block[4]): 1, id(block[3]): 2}


def test_what_is_said_of_a_block_without_averages_is_what_most_rows_have() -> None:
    """A column that one row alone has, though the first, speaks for nobody else."""
    one, many = (Protocol.of({"backend": name}) for name in ("hf", "openai"))
    block = [
        replace(row, cells={k: replace(c, protocol=protocol) for k, c in row.cells.items()})
        for row, protocol in [
            (entry("alone", {"toxigen": 50.0}), one),
            *((entry(str(n), {"advbench": 50.0}), many) for n in range(3)),
        ]
    ]
    assert usual_protocol(block) == many
    with_average = [*block, entry("whole", {"savg": 1.0})]
    assert usual_protocol(with_average) == Protocol()


def test_whose_chat_template_it_was_is_a_setting(tiny_llama: Path, tmp_path: Path) -> None:
    """The text of the model's own is the model's; a file is a setting, unless it says the same."""
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.resolve import resolve
    from bfpo_bench.models.template_files import chat_templates

    def template(choice: str) -> Any:
        options = EvaluateOptions(
            model=str(tiny_llama), suite="mini", judge="keyword", backend="hf", chat_template=choice
        )
        return resolve(options).identity["template"]

    own = chat_templates(tiny_llama)["default"]
    same, other = tmp_path / "same.jinja", tmp_path / "other.jinja"
    same.write_text(own, encoding="utf-8")
    other.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}", encoding="utf-8")
    assert template("auto") == template(str(same)) == "the model's"
    assert template("never") == "plain prompts"
    assert re.fullmatch("file [0-9a-f]{16}", template(str(other)))


# ---------------------------------------------------------------------------- seeds


def test_seeds_that_drew_other_items_are_rows_of_their_own(tmp_path: Path) -> None:
    runs = [
        synthetic_run(tmp_path / str(seed), "m", seed=seed, tasks=("toxigen",), limit=40)
        for seed in (1, 2)
    ]
    rows = load_rows(runs).rows
    assert [len(row.runs) for row in rows] == [1, 1]
    [difference] = (
        rows[0].entry.cells["toxigen"].protocol.differences(rows[1].entry.cells["toxigen"].protocol)
    )
    assert difference.text("and") == "ToxiGen: items 40 drawn with seed 1 and 40 drawn with seed 2"
    # A limit that reaches all items draws none.
    whole = [
        synthetic_run(tmp_path / f"all {seed}", "m", seed=seed, tasks=("toxigen",), limit=940)
        for seed in (1, 2)
    ]
    [row] = load_rows(whole).rows
    assert len(row.runs) == 2


def annotated(run: Path, annotator: str, win_rate: float, **more: Any) -> Path:
    found = HelpfulnessResult(annotator, "gpt4", 805, 0, 100.0, win_rate=win_rate, **more)
    results = replace(read_results(run / "results.json"), helpfulness=found)
    (run / "results.json").write_text(results.to_json())
    (run / "samples.sqlite").unlink()
    return run


def test_seeds_of_two_annotators_are_no_mean(tmp_path: Path) -> None:
    """Win rates 10 by one and 40 by another are not 25 ± 21."""
    runs = [
        synthetic_run(tmp_path / str(seed), "m", seed=seed, tasks=("toxigen",)) for seed in range(4)
    ]
    annotated(runs[0], "one", 10.0)
    annotated(runs[1], "other", 40.0)
    annotated(runs[2], "one", 12.0, settings={"content": "another prompt"})
    annotated(runs[3], "one", 14.0)
    values = sorted(row.entry.cells["alpaca"].value for row in load_rows(runs).rows)
    assert values == [12.0, 12.0, 40.0]
    spreads = [row.entry.cells["alpaca"].spread for row in load_rows(runs).rows]
    assert sorted(filter(None, spreads)) == [pytest.approx(8**0.5)]


def test_a_raw_win_rate_stands_there_marked(tmp_path: Path) -> None:
    """Nine annotations are too few to control length: the raw rate, with its interval."""
    run = synthetic_run(tmp_path / "run", "m", tasks=("toxigen",))
    note = "9 usable annotations are too few for length control"
    annotated(run, "somebody", 33.0, win_low=12.0, win_high=64.0, notes=[note])
    more = ["Alpaca: annotated by somebody", f"Alpaca: {note}"]
    edited(run, "results.json", lambda content: content["marks"].extend(more))
    board = bfpo_bench.leaderboard(run, ci=True)
    assert "33.00 [12.00, 64.00]" in str(board)
    [row] = board.entries
    assert row.cells["alpaca"].marks == (
        "raw win rate by annotator somebody: length is not controlled", note,
    )  # fmt: skip
    assert not any("Alpaca" in mark for mark in row.marks)


# ---------------------------------------------------------------------------- judges


def test_every_table_names_the_judge(small_run: Path, tmp_path: Path) -> None:
    keyword = synthetic_run(tmp_path / "k", "k", limit=40, judge="keyword")
    changed(keyword, of_judge(kind="keyword", implementation=2))
    board = bfpo_bench.leaderboard(small_run, keyword, published=True)
    shown = "verdicts of the judge keyword: a share of refusals by their wording, not of harmless"
    for format in ("terminal", "markdown", "latex"):
        text = " ".join(board.render(format, width=10_000).lower().split())
        assert shown in text
        assert "harmbench-llama" in text.replace("{-}", "-")
    assert (
        "cais/harmbench-llama-2-13b-cls, as the paper has them"
        in str(board).replace("\n ", "").lower()
    )
    assert "Judged tasks: verdicts of the judge harmbench-llama2-13b" in " ".join(
        render(compare_runs([small_run, small_run.parent / "run"])).split()
    )
    rows = json.loads(board.render("json"))["rows"]
    assert [row["judge"] for row in rows[:3]] == ["harmbench-llama2-13b", "keyword", None]
    assert board.render("csv").splitlines()[2].split(",")[4] == "keyword"


def test_a_row_of_unknown_verdicts_alone_shows_a_dash(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", "m", tasks=("advbench", "toxigen"), unknown=1.1)
    [row] = bfpo_bench.leaderboard(run, full=True, ci=True).entries
    assert row.fault is None
    assert "advbench" not in row.cells
    assert "AdvBench: no number: all 520 verdicts are unknown" in row.marks
    assert any(mark.startswith("Gen. is missing") and "AdvBench" in mark for mark in row.marks)


def test_a_short_table_without_averages_says_what_it_was_measured_with(tmp_path: Path) -> None:
    """No number is shown, and still the judge and the settings of those that there are."""
    run = synthetic_run(tmp_path / "run", "m", tasks=("advbench", "toxigen"), limit=40)
    tasks = {"judge harmbench-llama2-13b", "temperature 0.7", "items 40 drawn with seed 0"}
    for full in (False, True):
        text = str(bfpo_bench.leaderboard(run, full=full))
        [line] = re.findall(r"Measured with: ([^(]*)", text.replace("\n ", ""))
        assert tasks <= set(line.strip().split(", "))
    # Where only Disc. is whole, the judged tasks beside it were measured with a judge too.
    keys = [key for key in TRUTH if COLUMNS[key].group == "disc"]
    run = synthetic_run(tmp_path / "disc", "m", tasks=(*keys, "advbench"), limit=40)
    board = bfpo_bench.leaderboard(run, full=True)
    assert {"disc", "advbench"} <= board.entries[0].cells.keys()
    assert "judge harmbench-llama2-13b" in str(board).partition("Measured with")[2]


def test_every_number_that_counts_verdicts_names_the_judge(small_run: Path, tmp_path: Path) -> None:
    part = synthetic_run(tmp_path / "part", "part", tasks=("advbench", "toxigen"), limit=40)
    board = bfpo_bench.leaderboard(small_run, part, full=True)
    mark = "verdicts of the judge harmbench-llama2-13b"
    whole, other = board.entries
    judged = {key for key, cell in whole.cells.items() if mark in cell.marks}
    assert judged == {
        "advbench", "realtoxicityprompts", "alert", "alert_adversarial", "gen", "savg",
    }  # fmt: skip
    assert {key for key, cell in other.cells.items() if mark in cell.marks} == {"advbench"}
    # In the short table the average stands for its tasks.
    assert str(bfpo_bench.leaderboard(small_run)).count("erdicts of the judge") == 1


def numbers(table: Table) -> set[int]:
    """The notes that something in a table refers to."""
    rows = [row for section in table.sections for row in section.rows]
    shown = [*table.heads, *(label for label, _ in rows), *(c for _, cells in rows for c in cells)]
    return {number for one in shown for number in one.notes}


def test_every_note_belongs_to_something_that_is_shown(
    small_run: Path, other_run: Path, tmp_path: Path
) -> None:
    part = synthetic_run(tmp_path / "part", "part", tasks=("advbench",), judge="keyword")
    rows = bfpo_bench.leaderboard(small_run, other_run, part, published=True).entries
    for columns in (SUMMARY, FULL):
        for transposed in (False, True):
            table = make_table(rows, columns, transposed=transposed)
            assert numbers(table) == set(range(1, len(table.notes) + 1)) != set()
    found = compare_runs([small_run, part], force=True)
    assert found.warnings
    assert found.remarks
    text = render(found, "terminal", 10_000)
    assert not set("¹²³") & set(text)
    assert "<sup>" not in render(found, "markdown")
    for sentence in (*found.warnings, *found.remarks):
        assert sentence in text
    assert found.verdicts == (
        "small: verdicts of the judge harmbench-llama2-13b; part: verdicts of the judge keyword"
    )


def test_what_only_some_tasks_are_asked_with_is_not_said_of_all() -> None:
    """RealToxicityPrompts stops at an empty line, AdvBench does not."""
    some = Protocol.of({"stop": ["\n"], "top_p": None}, "A") + Protocol.of({"stop": []}, "B")
    assert some.text().startswith(" (protocol ")
    assert Protocol.of({"stop": ["\n"], "top_p": 0.9}, "A").text().startswith('stop ["\\n"], top p')
