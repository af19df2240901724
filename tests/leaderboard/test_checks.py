"""A run that does not add up is named with the reason."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.leaderboard.checks import find_fault
from bfpo_bench.leaderboard.load import load_rows
from bfpo_bench.leaderboard.runs import open_run
from tests.leaderboard.edits import edited


def fault(run: Path) -> str | None:
    return find_fault(open_run(run))


def test_a_sound_run_has_none(small_run: Path, other_run: Path) -> None:
    assert fault(small_run) is None
    assert fault(other_run) is None


SQL = {
    "an answer is missing": (
        "DELETE FROM outcomes WHERE item IN (SELECT item FROM outcomes WHERE "
        "task = 'bfpo_bbq_lite' LIMIT 1)",
        "BBQ has 39 answers to 40 items",
    ),
    "an answer has changed": (
        "UPDATE outcomes SET value = 1 - value WHERE task = 'bfpo_toxigen' "
        "AND item = (SELECT item FROM outcomes WHERE task = 'bfpo_toxigen' LIMIT 1)",
        r"ToxiGen is \d+\.\d+ by its samples and \d+\.\d+ in results\.json",
    ),
    "an item is missing": (
        "DELETE FROM items WHERE task = 'bfpo_alert' AND position = 3",
        "ALERT has 39 items in its samples, not 40",
    ),
    "a response is missing": (
        "DELETE FROM responses WHERE key = (SELECT key FROM responses WHERE task = 'bfpo_alert' "
        "LIMIT 1)",
        "ALERT has 39 responses to 39 of 40 items",
    ),
    "a verdict is missing": (
        "DELETE FROM verdicts WHERE judge LIKE 'harm%' AND task = 'bfpo_alert' AND "
        "item = (SELECT item FROM responses WHERE task = 'bfpo_alert' LIMIT 1)",
        "ALERT has 39 verdicts of its judge on 39 of 40 responses",
    ),
    "a verdict on no response instead of another": (
        "UPDATE verdicts SET item = 'elsewhere' "
        "WHERE key = (SELECT key FROM verdicts WHERE judge LIKE 'harm%' ORDER BY key DESC LIMIT 1)",
        "has 39 verdicts of its judge on 39 of 40 responses",
    ),
    "a verdict has changed": (
        "UPDATE verdicts SET harmful = 1 - harmful WHERE judge LIKE 'harm%' AND task = "
        "'bfpo_realtoxicityprompts' AND item = (SELECT item FROM responses WHERE task = "
        "'bfpo_realtoxicityprompts' LIMIT 1)",
        r"RealToxicityPrompts is \d+\.\d+ by its samples",
    ),
    "an unknown verdict counts as harmless": (
        "UPDATE verdicts SET harmful = NULL WHERE judge LIKE 'harm%' AND harmful = 0",
        "AdvBench has 40 unknown verdicts and results.json says 0",
    ),
}


@pytest.mark.parametrize("case", SQL, ids=str)
def test_samples_that_do_not_add_up(small_run: Path, copy: Callable[..., Path], case: str) -> None:
    run = copy(small_run)
    statement, sentence = SQL[case]
    with sqlite3.connect(run / "samples.sqlite") as database:
        assert database.execute(statement).rowcount > 0
    found = fault(run)
    assert found is not None
    assert re.search(sentence, found), found


def test_another_judges_verdicts_are_not_counted(
    small_run: Path, copy: Callable[..., Path]
) -> None:
    run = copy(small_run)
    with sqlite3.connect(run / "samples.sqlite") as database:
        database.execute("DELETE FROM verdicts WHERE judge = 'keyword'")
    assert fault(run) is None


MODEL = ("identity", "model", "weights")
WINOGRANDE = ("tasks", "bfpo_winogrande", "source")


@pytest.mark.parametrize(
    ("name", "place", "value", "sentence"),
    [
        ("run.json", ("identity", "seed"), 5, "name a different seed"),
        ("run.json", MODEL, "others", "name a different model"),
        ("run.json", ("identity", "data", "winogrande", "digest"), "0",
         "WinoGrande was run on other data than results.json says"),
        ("results.json", ("averages", "gen", "value"), 99.0,
         "Gen. in results.json is not the mean of its 4 tasks"),
        ("results.json", ("averages", "savg", "value"), 99.0,
         "Savg. in results.json is not the mean of Disc. and Gen."),
        ("results.json", ("averages", "savg", "value"), None,
         "Savg. in results.json does not go with Disc. and Gen."),
        ("results.json", ("tasks", "bfpo_toxigen", "n"), 39,
         "ToxiGen is over 39 items and should be over 40"),
        ("results.json", (*WINOGRANDE, "rows"), 1266,
         "WinoGrande has data of 1266 rows; pinned are 1267"),
        ("results.json", (*WINOGRANDE, "variant"), "mine",
         "WinoGrande names data that this bfpo-bench does not know"),
    ],
)  # fmt: skip
def test_files_that_do_not_add_up(
    small_run: Path,
    copy: Callable[..., Path],
    name: str,
    place: tuple[str, ...],
    value: Any,
    sentence: str,
) -> None:
    def change(content: dict[str, Any]) -> None:
        for part in place[:-1]:
            content = content[part]
        content[place[-1]] = value

    assert sentence in (fault(edited(copy(small_run), name, change)) or "")


def test_data_that_are_not_the_pinned_ones(small_run: Path, copy: Callable[..., Path]) -> None:
    def asked(content: dict[str, Any]) -> None:
        content["identity"]["data"]["winogrande"]["digest"] = "0"

    def found(content: dict[str, Any]) -> None:
        content["tasks"]["bfpo_winogrande"]["source"]["digest"] = "0"

    run = edited(edited(copy(small_run), "run.json", asked), "results.json", found)
    assert fault(run) == "the data of WinoGrande are not the pinned ones (their digest differs)"

    def let_through(content: dict[str, Any]) -> None:
        cell = content["tasks"]["bfpo_winogrande"]
        cell["source"]["status"] = "differs"
        cell["marks"] = ["not the pinned data"]

    # Asked for with --allow-unpinned: no fault, but a mark, and no rank beside the pinned data.
    edited(run, "results.json", let_through)
    assert fault(run) is None
    rows = load_rows([small_run, run]).rows
    cells = [row.entry.cells["winogrande"] for row in rows]
    assert "not the pinned data" in cells[1].marks
    assert cells[0].protocol != cells[1].protocol


def test_damaged_samples(small_run: Path, copy: Callable[..., Path]) -> None:
    run = copy(small_run)
    (run / "samples.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert (fault(run) or "").startswith("its samples cannot be read (")
