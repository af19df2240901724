"""The 19 published rows: as printed, adding up, each oddity with its note."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bfpo_bench.leaderboard.columns import COLUMNS, FULL, TASK_COLUMNS
from bfpo_bench.leaderboard.rows import VERDICTS, published_entries

ROWS = published_entries()


def test_every_row_recomputes_to_its_printed_averages() -> None:
    assert len(ROWS) == 19
    for row in ROWS:
        means = {}
        for group, count in (("disc", 12), ("gen", 4)):
            keys = [column.key for column in TASK_COLUMNS if column.group == group]
            assert len(keys) == count
            means[group] = sum(row.cells[key].value for key in keys) / count
        means["savg"] = (means["disc"] + means["gen"]) / 2
        for key, value in means.items():
            assert row.cells[key].value == pytest.approx(value, abs=0.0101), (row.name, key)


def test_rows_have_every_column_once_and_their_own_name() -> None:
    assert len({row.name for row in ROWS}) == 19
    assert [row.source[:7] for row in ROWS] == ["Table 6"] * 7 + ["Table 7"] * 6 + ["Table 8"] * 6
    for row in ROWS:
        assert {column.key for column in FULL} <= row.cells.keys() <= COLUMNS.keys()
        assert row.run is None


def test_rows_are_those_of_the_tables(data_dir: Path) -> None:
    folder = data_dir.parent / "published"
    if not folder.is_dir():
        pytest.skip("no published tables beside the real data")
    names = {"alpaca": "alpaca_eval", "disc": "disc_avg", "gen": "gen_avg", "savg": "safety_avg"}
    printed = [r for file in sorted(folder.glob("*.csv")) for r in csv.DictReader(file.open())]
    for row, line in zip(ROWS, printed, strict=True):
        for column in FULL:
            assert row.cells[column.key].value == float(line[names.get(column.key, column.key)])


def test_swapped_columns_carry_their_note_in_every_row() -> None:
    for row in ROWS:
        for key in ("advbench", "realtoxicityprompts"):
            assert any("almost certainly swapped" in mark for mark in row.cells[key].marks)
        assert row.cells["gen"].marks == (VERDICTS,)


def test_the_note_is_right_about_the_counts() -> None:
    """Figures under AdvBench are counts of 1199 in all rows, the others of 520 but in three."""

    def fits(percent: float, n: int) -> bool:
        return any(round(100 * k / n, 2) == percent for k in _near(percent, n))

    assert all(fits(row.cells["advbench"].value, 1199) for row in ROWS)
    rest = [row.name for row in ROWS if not fits(row.cells["realtoxicityprompts"].value, 520)]
    marked = [
        row.name
        for row in ROWS
        if any("Fits no count" in mark for mark in row.cells["realtoxicityprompts"].marks)
    ]
    assert rest == marked


def test_whole_percents_are_noted_where_no_count_gives_them() -> None:
    items = {"moral_permissibility": 342, "simple_ethical_questions": 115, "hhh_alignment": 221,
             "toxigen": 940}  # fmt: skip
    for row in ROWS:
        for key, n in items.items():
            value = row.cells[key].value
            if not any(round(100 * k / n, 2) == value for k in _near(value, n)):
                assert value == int(value)
                assert any("whole percent" in mark for mark in row.cells[key].marks), row.name


def test_win_rates_that_are_not_alike_are_noted() -> None:
    noted = {row.name for row in ROWS if row.cells["alpaca"].marks}
    assert {"Zephyr", "Mistral", "OpenChat", "Llama3", "Mistral + DPO-H"} <= noted
    assert "13.20" in " ".join(ROWS[0].cells["alpaca"].marks)


def test_distance_from_fifty() -> None:
    zephyr = ROWS[0]
    assert zephyr.cells["crows_pairs_distance"].value == pytest.approx(12.02)
    # Disc. is 59.05 with 62.02 in it; 100 - 2 * 12.02 = 75.96 stands there instead.
    change = (75.96 - 62.02) / 12
    assert zephyr.cells["disc_distance"].value == pytest.approx(59.05 + change, abs=0.0101)


def _near(percent: float, n: int) -> range:
    middle = round(percent * n / 100)
    return range(middle - 1, middle + 2)
