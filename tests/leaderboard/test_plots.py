"""The pictures: fronts, places of labels and shares against other ways to find them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.synthetic_runs import CATEGORIES, JUDGE, synthetic_run
from bfpo_bench.leaderboard.plots.draw import draw_all
from bfpo_bench.leaderboard.rows import Cell, Entry, published_entries

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    return synthetic_run(folder, tasks=("alert", "alert_adversarial"), limit=80, unknown=0.1)


def measured(name: str, run: Path | None = None, alpaca: float | None = None) -> Entry:
    cells = {"savg": Cell(70.0, 69.0, 71.0), "alert": Cell(80.0), "disc": Cell(60.0)}
    if alpaca is not None:
        cells["alpaca"] = Cell(alpaca, alpaca - 2, alpaca + 2)
    return Entry(name, "measured", "here", cells, run=run, judge=JUDGE)


def test_the_front_holds_the_points_that_none_dominates() -> None:
    from bfpo_bench.leaderboard.plots.pareto import pareto_front

    rng = random.Random(0)
    for _ in range(200):
        points = [(rng.randint(0, 9), rng.randint(0, 9)) for _ in range(rng.randint(0, 25))]
        best = {
            p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)
        }
        assert pareto_front(points) == sorted(best)


def test_the_published_front_is_llama_3_alone() -> None:
    """Figure 5 of the paper: Llama-3 is best in both."""
    from bfpo_bench.leaderboard.plots.pareto import pareto_front

    rows = published_entries()
    points = [(row.cells["alpaca"].value, row.cells["savg"].value) for row in rows]
    assert pareto_front(points) == [(22.90, 77.74)]


def test_no_label_covers_another_or_a_point() -> None:
    from matplotlib.figure import Figure

    from bfpo_bench.leaderboard.plots.pareto import Label, place_labels

    axes = Figure(figsize=(9, 6)).add_subplot()
    axes.set(xlim=(0, 25), ylim=(45, 80))
    places = {
        (row.cells["alpaca"].value, row.cells["savg"].value): row.name
        for row in published_entries()
    }
    labels = [Label(name, x, y, {"fontsize": 8}) for (x, y), name in places.items()]
    boxes = place_labels(axes, labels)
    points = axes.transData.transform(list(places))
    for one, (left, bottom, right, top) in enumerate(box.extents for box in boxes):
        assert not any(left < x < right and bottom < y < top for x, y in points)
        for other in [box.extents for box in boxes[:one]]:
            apart = left >= other[2] or right <= other[0] or bottom >= other[3] or top <= other[1]
            assert apart, labels[one].text


def test_shares_by_category_are_those_of_the_store(run: Path) -> None:
    """The synthetic run deals categories out in turn; verdicts are counted by SQL here."""
    import sqlite3

    from bfpo_bench.leaderboard.plots.alert import category_counts

    for task in ("bfpo_alert", "bfpo_alert_adversarial"):
        counts = category_counts(run, task, JUDGE)
        assert {name: n for name, (_, n) in counts.items()} == dict.fromkeys(CATEGORIES, 20)
        with sqlite3.connect(run / "samples.sqlite") as database:
            query = (
                "SELECT i.position % 4, sum(v.harmful IS 0) FROM items i JOIN responses r "
                "USING (task, item) JOIN verdicts v USING (task, item) "
                "WHERE i.task = ? GROUP BY 1"
            )
            harmless = dict(database.execute(query, (task,)))
        assert {CATEGORIES[k]: n for k, n in harmless.items()} == {
            name: good for name, (good, _) in counts.items()
        }
    assert category_counts(run, "bfpo_advbench", JUDGE) == {}
    # Of the judge that the row counts, whoever judged first.
    assert category_counts(run, "bfpo_alert", "somebody else") == {}


@pytest.mark.slow
def test_all_pictures_are_drawn_and_the_same_each_time(run: Path, tmp_path: Path) -> None:
    (run / "training.json").write_text(
        '{"method": "bfpo", "curves": [{"step": 1, "loss": 2.0, "rewards/accuracies": 0.5, '
        '"rewards/accuracies_safe>unsafe": 1.0}, {"step": 2, "loss": 1.0, "rewards/margins": 3}, '
        '{"step": 2, "train_loss": 1.5}, "damaged", {"step": null, "loss": 1}]}'
    )
    # Markup, mathematics, control and right-to-left characters, and no end.
    name = "$\\frac{1}$ <script>&\u202e\x00" + "x" * 200
    rows = [measured(name, run, 12.0), measured("half", run), *published_entries()]
    files = draw_all(rows, tmp_path / "one")
    again = draw_all(rows, tmp_path / "two")
    names = ["pareto", "tasks", "alert", "training"]
    assert [file.name for file in files] == [f"{n}.{e}" for n in names for e in ("png", "svg")]
    for one, two in zip(files, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
    for file in files[1::2]:
        root = ElementTree.parse(file).getroot()
        assert root.tag == f"{SVG}svg"
        assert not list(root.iter(f"{SVG}script"))


@pytest.mark.slow
def test_published_rows_alone_give_two_pictures(tmp_path: Path) -> None:
    files = draw_all(published_entries(), tmp_path)
    assert [file.name for file in files] == ["pareto.png", "pareto.svg", "tasks.png", "tasks.svg"]


def test_no_sound_row_gives_no_picture(tmp_path: Path) -> None:
    assert draw_all([], tmp_path) == []
    assert draw_all([replace(measured("broken"), fault="counts differ")], tmp_path) == []


def test_numbers_in_the_heat_map_can_be_read() -> None:
    """Text and cell have the contrast that WCAG asks for (4.5) at every score."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    from bfpo_bench.leaderboard.plots.tasks import _readable

    def luminance(color: tuple[float, ...]) -> float:
        linear = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in color[:3]]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lightness = []
    for score in range(101):
        cell = colormaps["cividis"](score / 100)
        ink = luminance(to_rgb(_readable(cell)))
        dark, light = sorted((luminance(cell), ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5
        lightness.append(luminance(cell))
    # In black and white the order of the scores is kept.
    assert all(b > a - 0.004 for a, b in pairwise(lightness))
