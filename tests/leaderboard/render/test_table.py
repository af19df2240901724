"""What is best, in which order, and what is not ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.column_sets import choose_columns
from bfpo_bench.leaderboard.columns import COLUMNS, FULL, SUMMARY, Column
from bfpo_bench.leaderboard.protocol import Protocol
from bfpo_bench.leaderboard.render.table import Table, make_table
from bfpo_bench.leaderboard.rows import Cell, Entry, published_entries


def entry(name: str, values: Mapping[str, float], **more: Any) -> Entry:
    cells = {key: Cell(value) for key, value in values.items()}
    return Entry(name, "measured", f"runs/{name}", cells, **more)


def column_of(table: Table, title: str) -> dict[str, tuple[str, int]]:
    """Text and rank by row."""
    place = [head.text for head in table.heads].index(title)
    return {
        label.text: (cells[place].text, cells[place].rank)
        for section in table.sections
        for label, cells in section.rows
    }


def names(table: Table) -> list[str]:
    return [label.text for section in table.sections for label, _ in section.rows]


THREE = [
    entry("a", {"savg": 70.0, "disc": 50.001, "crows_pairs": 48.0, "gen": 90.0}),
    entry("b", {"savg": 75.0, "disc": 50.004, "crows_pairs": 55.0}),
    entry("c", {"savg": 72.5, "disc": 40.0, "crows_pairs": 66.0, "gen": 89.0}),
]


def test_the_best_and_the_second() -> None:
    table = make_table(THREE, SUMMARY)
    assert column_of(table, "Savg.") == {"b": ("75.00", 1), "c": ("72.50", 2), "a": ("70.00", 0)}


def test_values_that_print_alike_are_equally_good() -> None:
    ranks = column_of(make_table(THREE, SUMMARY), "Disc.")
    assert ranks == {"b": ("50.00", 1), "c": ("40.00", 2), "a": ("50.00", 1)}


def test_directions() -> None:
    columns = (COLUMNS["crows_pairs"], COLUMNS["crows_pairs_distance"])
    rows = [
        replace(one, cells={**one.cells, "crows_pairs_distance": Cell(distance)})
        for one, distance in zip(THREE, (2.0, 5.0, 16.0), strict=True)
    ]
    table = make_table(rows, columns)
    nearest = {name: rank for name, (_, rank) in column_of(table, "CrowS-Pairs").items()}
    assert nearest == {"a": 1, "b": 2, "c": 0}
    lowest = column_of(table, "CrowS-Pairs distance from 50")
    assert {name: rank for name, (_, rank) in lowest.items()} == nearest


def test_missing_numbers_are_no_zeros() -> None:
    table = make_table(THREE, SUMMARY)
    assert column_of(table, "Gen.")["b"] == ("–", 0)
    assert column_of(table, "Alpaca") == dict.fromkeys("bca", ("–", 0))


def test_a_column_of_one_value_has_no_best() -> None:
    assert column_of(make_table(THREE[:1], SUMMARY), "Savg.")["a"] == ("70.00", 0)


@pytest.mark.parametrize(
    ("sort", "order"),
    [(None, "bca"), ("savg", "bca"), ("gen", "acb"), ("Gen.", "acb"), ("crows_pairs", "abc"),
     ("CrowS-Pairs", "abc"), ("name", "abc")],
)  # fmt: skip
def test_sorting(sort: str | None, order: str) -> None:
    assert "".join(names(make_table(THREE, SUMMARY, sort=sort))) == order


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown column to sort by 'aplaca'; did you mean 'alpaca'"):
        make_table(THREE, SUMMARY, sort="aplaca")


def test_published_rows_stand_apart_in_the_papers_order() -> None:
    table = make_table([*published_entries(), *THREE], SUMMARY)
    assert [section.title[:18] for section in table.sections] == [
        "Measured", "Published, Table 6", "Published, Table 7", "Published, Table 8",
    ]  # fmt: skip
    assert table.sections[2].rows[0][0].text == "Mistral + DPO-H"
    assert column_of(table, "Savg.")["Mistral + BFPO"] == ("77.16", 1)
    assert column_of(table, "Savg.")["b"] == ("75.00", 1)


def test_the_papers_table_2_is_bold_where_it_should_be() -> None:
    """Of the six rows of Table 7: best helpfulness DPO, Disc. BFPO, Gen. DPO-S, Savg. BFPO."""
    table = make_table(published_entries()[7:13], SUMMARY)
    best = {
        head.text: label.text
        for i, head in enumerate(table.heads)
        for label, cells in table.sections[0].rows
        if cells[i].rank == 1
    }
    assert best == {
        "Alpaca": "Mistral + DPO", "Disc.": "Mistral + BFPO",
        "Gen.": "Mistral + DPO-S", "Savg.": "Mistral + BFPO",
    }  # fmt: skip


def test_a_faulty_row_is_named_and_left_out() -> None:
    table = make_table([*THREE, entry("d", {"savg": 99.0}, fault="it lies")], SUMMARY)
    assert names(table) == ["b", "c", "a"]
    assert table.remarks == ("Left out: d failed its check: it lies",)
    assert column_of(table, "Savg.")["b"][1] == 1


def test_what_was_measured_differently_is_not_ranked() -> None:
    other = entry("d", {"savg": 99.0, "disc": 99.0})
    other = replace(
        other, cells={**other.cells, "savg": Cell(99.0, protocol=Protocol.of({"suite": "mini"}))}
    )
    table = make_table([*THREE, other], SUMMARY)
    assert column_of(table, "Savg.")["d"] == ("99.00", 0)
    assert column_of(table, "Savg.")["b"] == ("75.00", 1)
    assert column_of(table, "Disc.")["d"] == ("99.00", 1)
    assert table.notes == (
        "Measured otherwise than most rows of its block, not ranked: suite mini instead of not "
        "recorded.",
    )


def test_notes_are_numbered_once() -> None:
    marked = [
        entry("a", {"savg": 1.0}, marks=("one", "two")),
        entry("b", {"savg": 2.0}, marks=("two", "three.")),
    ]
    table = make_table(marked, SUMMARY)
    assert table.notes == ("Two.", "Three.", "One.")
    labels = {label.text: label.notes for label, _ in table.sections[0].rows}
    assert labels == {"b": (1, 2), "a": (1, 3)}


def test_marks_of_hidden_tasks_stand_at_their_average() -> None:
    row = entry("a", {"disc": 50.0, "bbq": 1.0, "toxigen": 2.0})
    cells = {**row.cells, "bbq": Cell(1.0, marks=("odd",)), "toxigen": Cell(2.0, marks=("odd",))}
    row = replace(row, cells=cells)
    assert make_table([row], SUMMARY).notes == ("BBQ, ToxiGen: odd.",)
    assert make_table([row], FULL).notes == ("Odd.",)


def test_transposed() -> None:
    table = make_table([*THREE, *published_entries()[:1]], SUMMARY, transposed=True)
    assert [head.text for head in table.heads] == ["b", "c", "a", "Zephyr"]
    assert table.groups == (("Measured", 3), ("Published, Table 6 of arXiv 2408.15313", 1))
    assert [section.title for section in table.sections] == ["Helpfulness", "Harmlessness"]
    rows = {label.text: cells for section in table.sections for label, cells in section.rows}
    assert [cell.text for cell in rows["Savg."]] == ["75.00", "72.50", "70.00", "60.99"]


def test_cells_show_intervals_and_spread() -> None:
    row = entry("a", {})
    cell = Cell(50.0, 45.123, 55.0, spread=1.5)
    row = replace(row, cells={"savg": cell, "gen": Cell(10.0)})
    with_ci = make_table([row], SUMMARY, ci=True)
    assert column_of(with_ci, "Savg.")["a"][0] == "50.00 ± 1.50 [45.12, 55.00]"
    assert column_of(with_ci, "Gen.")["a"][0] == "10.00"
    assert column_of(make_table([row], SUMMARY), "Savg.")["a"][0] == "50.00 ± 1.50"


def test_the_columns_of_the_paper_and_what_is_added() -> None:
    rows = published_entries()
    assert [c.key for c in choose_columns(rows)] == ["alpaca", "disc", "gen", "savg"]
    full = [c.key for c in choose_columns(rows, full=True)]
    assert [key for key in full if key != "crows_pairs_distance"] == [c.key for c in FULL]
    both = choose_columns(rows, distance=True)
    assert [c.title for c in both][1:3] == ["Disc.", "Disc. by distance"]
    mine = Column("bfpo_mine", "Mine", "Mine", "gen", "higher", "bfpo_mine")
    added = [c.key for c in choose_columns([entry("a", {}, extra=(mine,))], full=True)]
    assert added.index("bfpo_mine") == added.index("gen") - 1
