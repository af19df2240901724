"""The report in a real browser: what a reader does with it, and what hostile text cannot do."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from benchmarks.synthetic_runs import HOSTILE, synthetic_run
from bfpo_bench.leaderboard.protocol import Protocol
from bfpo_bench.leaderboard.report import write
from bfpo_bench.leaderboard.report.write import write_report
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry, published_entries
from tests.leaderboard.edits import annotated
from tests.leaderboard.judged import Said, judged_run

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (tests/install_chromium.sh)"
)
expect = playwright.expect

CHROMIUM = next(
    filter(
        None,
        map(
            shutil.which,
            (
                os.environ.get("BFPO_CHROMIUM", ""),
                *("chromium", "chromium-browser", "google-chrome"),
            ),
        ),
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine (tests/install_chromium.sh gets it)"
    ),
]
PATIENCE = 60_000
"""Milliseconds until a browser on a busy machine is given up; never a measure of speed."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as started:
        # In a container there is nobody but root, and Chromium's sandbox refuses root.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page of a report, and everything in it that should not have happened."""

    def __init__(self, browser: Any, folder: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.context.set_default_timeout(PATIENCE)
        self.folder = folder
        self.wrong: list[str] = []
        self.loaded: set[str] = set()
        page = self.page = self.context.new_page()
        page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        page.on("popup", lambda _: self.wrong.append("popup"))
        page.on("request", self._asked)
        page.goto((folder / "index.html").as_uri())

    def _asked(self, request: Any) -> None:
        url = urlparse(request.url)
        inside = url.scheme == "file" and Path(unquote(url.path)).is_relative_to(self.folder)
        if inside:
            self.loaded.add(Path(unquote(url.path)).name)
        elif url.scheme != "data":
            self.wrong.append(f"request: {request.url}")

    def found(self, text: str | re.Pattern[str]) -> None:
        """Waits until the sample browser has found so many samples."""
        expect(self.page.locator("#found")).to_have_text(text)


def row(name: str, run: Path, savg: float) -> Entry:
    cells = {
        "savg": Cell(savg, savg - 1, savg + 1, protocol=Protocol.of({"suite": "same"})),
        "crows_pairs": Cell(savg, protocol=Protocol.of({"suite": "same"})),
    }
    badges = (Badge("limited", "at most 300 items per task"),)
    return Entry(name, "measured", str(run), cells, run=run, runs=(run,), badges=badges)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    tasks = ("advbench", "alert")
    return [
        synthetic_run(
            folder / "weak", truth={"advbench": 50, "alert": 50}, tasks=tasks, limit=300,
            second_judge="keyword",
        ),
        synthetic_run(folder / "strong", seed=1, tasks=tasks, limit=300, unknown=0.05),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def report(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row("weak", runs[0], 60.0), row("strong", runs[1], 70.0), *published_entries()]
    return write_report(rows, tmp_path_factory.mktemp("out") / "a report").parent


@pytest.fixture
def watched(browser: Any, report: Path) -> Iterator[Watched]:
    watched = Watched(browser, report)
    watched.found("600 of 600 samples")
    yield watched
    watched.context.close()
    assert watched.wrong == []


def names(page: Any) -> list[str]:
    rows = page.locator("#board .entry:visible")
    return rows.evaluate_all("rows => rows.map((row) => row.dataset.name)")


def answers(run: Path, query: str, *values: Any) -> int:
    """A count that SQL makes of a run's responses (r) and its own judge's verdicts (v)."""
    with sqlite3.connect(run / "samples.sqlite") as database:
        tables = "responses r JOIN verdicts v USING (task, item)"
        [(count,)] = database.execute(
            f"SELECT count(*) FROM {tables} WHERE v.judge != 'keyword' AND {query}", values
        )
    return int(count)


BLOCKS = [[0, 2], [2, 9], [9, 15], [15, 21]]
"""Where the block of measured rows and those of the paper's three tables begin and end."""


def test_blocks_and_order_are_those_of_the_terminal(watched: Watched) -> None:
    page = watched.page
    titles = page.locator("#board .block:visible").all_inner_texts()
    paper = "of arXiv 2408.15313"
    assert titles == ["Measured", *(f"Published, Table {n} {paper}" for n in (6, 7, 8))]
    assert names(page) == ["strong", "weak", *(entry.name for entry in published_entries())]
    heads = page.locator("#board thead tr:last-child th:visible button").all_inner_texts()
    assert heads == ["Model", "Disc.", "Gen.", "Savg.", "Alpaca"]


def test_the_table_sorts_by_every_column_within_its_blocks(watched: Watched) -> None:
    page = watched.page
    savg = {entry.name: entry.cells["savg"].value for entry in published_entries()}
    savg |= {"weak": 60.0, "strong": 70.0}
    before = names(page)
    head = page.locator("th[data-key=savg]")
    assert head.get_attribute("aria-sort") is None
    for order, sign in (("descending", -1), ("ascending", 1)):
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        found = names(page)
        for begin, end in BLOCKS:
            assert set(found[begin:end]) == set(before[begin:end])
            values = [sign * savg[name] for name in found[begin:end]]
            assert values == sorted(values)
    page.locator("th[data-key=name] button").click()
    found = names(page)
    for begin, end in BLOCKS:
        assert found[begin:end] == sorted(before[begin:end], key=str.lower)
    assert head.get_attribute("aria-sort") is None


def test_the_table_filters_and_the_best_of_a_block_stays_it(watched: Watched) -> None:
    page = watched.page

    def marked(key: str, kind: str) -> list[str]:
        return page.evaluate(
            """([key, kind]) => {
                const column = document.querySelector(`th[data-key=${key}]`).cellIndex;
                return [...document.querySelectorAll('#board .entry')]
                    .filter((row) => row.cells[column].classList.contains(kind))
                    .map((row) => row.dataset.name);
            }""",
            [key, kind],
        )

    # Each block for itself, as in every other format.
    best = ["BFPO w/o buffer", "Llama3", "Mistral + BFPO", "strong"]
    second = ["BFPO w/o shift", "Llama2", "Mistral + DPO-S", "weak"]
    assert sorted(marked("savg", "best")) == best
    assert sorted(marked("savg", "second")) == second
    page.locator("#board-filter").fill("mistral")
    assert all("mistral" in name.lower() for name in names(page))
    assert sorted(marked("savg", "best")) == best
    assert page.locator("#board-count").text_content() == f"{len(names(page))} of 21 rows"
    expect(page.locator("#board .block:visible")).to_have_count(2)
    page.locator("#board-filter").fill("")
    page.locator("#board-published").uncheck()
    assert names(page) == ["strong", "weak"]
    # CrowS-Pairs is the better the nearer to 50.
    assert "weak" in marked("crows_pairs", "best")
    crows = page.locator("th[data-key=crows_pairs]")
    expect(crows).to_be_hidden()
    page.locator("#board-full").check()
    expect(crows).to_be_visible()
    interval = page.locator("#board .interval:visible")
    assert interval.count() == 2
    page.locator("#board-intervals").uncheck()
    assert interval.count() == 0


def test_a_badge_tells_its_reason_by_keyboard_and_on_hover(watched: Watched) -> None:
    page = watched.page
    badge = page.locator(".entry[data-name=weak] .tag summary")
    reason = "at most 300 items per task"
    assert badge.get_attribute("title") == reason
    shown = page.locator(".entry[data-name=weak] .tag p")
    expect(shown).to_be_hidden()
    badge.focus()
    page.keyboard.press("Enter")
    expect(shown).to_be_visible()
    assert shown.text_content() == reason


def test_samples_are_filtered_by_task_category_verdict_and_words(
    watched: Watched, runs: list[Path]
) -> None:
    page = watched.page
    # SQL counts the same.
    page.locator("[name=task]").select_option(label="AdvBench (300)")
    watched.found("300 of 600 samples")
    page.locator("[name=verdict]").select_option("1")
    harmful = answers(runs[0], "r.task = 'bfpo_advbench' AND v.harmful")
    watched.found(f"{harmful} of 600 samples")
    page.locator("[name=a]").select_option(label="strong")
    page.locator("[name=verdict]").select_option("2")
    unknown = answers(runs[1], "r.task = 'bfpo_advbench' AND v.harmful IS NULL")
    assert unknown > 0
    watched.found(f"{unknown} of 600 samples")
    page.locator("[name=verdict]").select_option("")
    page.locator("[name=task]").select_option("")
    page.locator("[name=category]").select_option(label="weapon_firearm")
    watched.found("75 of 600 samples")
    page.locator("[name=category]").select_option("")
    page.locator("[name=words]").fill("SORRY cannot")
    sorry = answers(runs[1], "r.response LIKE '%sorry%' AND r.response LIKE '%cannot%'")
    watched.found(f"{sorry} of 600 samples")
    page.locator("[name=words]").fill('"question 7 of alert"')
    watched.found("1 of 600 samples")
    page.locator("[name=where]").select_option("response")
    watched.found("0 of 600 samples")


def test_disagreement_between_runs_and_between_judges(watched: Watched, runs: list[Path]) -> None:
    page = watched.page
    with sqlite3.connect(runs[0] / "samples.sqlite") as database:
        database.execute("ATTACH ? AS other", (str(runs[1] / "samples.sqlite"),))
        query = (
            "SELECT count(*), sum(a.harmful AND b.harmful IS 0), sum(a.harmful IS NOT b.harmful) "
            "FROM main.responses r JOIN other.responses s USING (task, item) "
            "JOIN main.verdicts a USING (task, item) JOIN other.verdicts b USING (task, item) "
            "WHERE a.judge != 'keyword'"
        )
        both, first, differ = database.execute(query).fetchone()
        [(judges,)] = database.execute(
            "SELECT count(*) FROM main.verdicts a JOIN main.verdicts b USING (task, item) "
            "WHERE a.judge = 'keyword' AND b.judge != 'keyword' AND a.harmful IS NOT b.harmful"
        )
    assert both == 600
    assert 0 < first < differ
    assert judges > 0
    difference = page.locator("[name=difference]")
    assert difference.is_disabled()
    page.locator("[name=b]").select_option(label="strong")
    difference.select_option("first")
    watched.found(f"{first} of 600 samples")
    difference.select_option("any")
    watched.found(f"{differ} of 600 samples")
    page.locator("[name=b]").select_option(label="weak, judged by keyword")
    watched.found(f"{judges} of 600 samples")


def test_harmful_text_is_blurred_until_asked_for(watched: Watched, runs: list[Path]) -> None:
    page = watched.page
    page.locator("[name=verdict]").select_option("1")
    watched.found(f"{answers(runs[0], 'v.harmful')} of 600 samples")
    # The list follows in a moment.
    expect(page.locator("#list .row").filter(has_text="harmless")).to_have_count(0)
    first = page.locator("#list button").first
    expect(first.locator("bdi.veiled")).to_have_count(2)
    blur = first.locator(".answer bdi").evaluate("node => getComputedStyle(node).filter")
    assert re.match(r"blur\((\d|\.)+px\)", blur)
    # What is blurred is not read aloud either, and cannot be selected.
    assert first.locator(".answer bdi").get_attribute("aria-hidden") == "true"
    first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("div.veiled")).to_have_count(2)
    assert dialog.locator("div.veiled").first.get_attribute("inert") is not None
    dialog.get_by_role("button", name="Show this response").click()
    expect(dialog.locator("div.veiled")).to_have_count(1)
    expect(dialog.get_by_text("Sure: first,")).to_be_visible()
    page.keyboard.press("Escape")
    # Asked for once, it stays; another sample is still blurred.
    expect(page.locator("#list button").first.locator("bdi.veiled")).to_have_count(0)
    expect(page.locator("#list button").nth(1).locator("bdi.veiled")).to_have_count(2)
    page.get_by_label("Show all text unblurred").check()
    expect(page.locator("#list bdi.veiled")).to_have_count(0)


def test_hostile_responses_show_as_text_and_do_nothing(watched: Watched, runs: list[Path]) -> None:
    page = watched.page
    page.get_by_label("Show all text unblurred").check()
    for text, words in zip(
        HOSTILE,
        ("document.cookie", "onerror", "ton lliw", "word", "a" * 30, "textarea"),
        strict=True,
    ):
        # In between nothing is found, so that what is found is this search's.
        page.locator("[name=words]").fill("no response has this")
        watched.found("0 of 600 samples")
        page.locator("[name=words]").fill(words)
        with sqlite3.connect(runs[0] / "samples.sqlite") as database:
            query = "SELECT count(*) FROM responses WHERE response = ?"
            [(count,)] = database.execute(query, (text,))
        assert count == 2
        watched.found("2 of 600 samples")
        page.locator("#list button").first.click()
        box = page.locator("#sample-content .text").nth(1)
        shown = box.locator(".words").evaluate(
            "node => [...node.childNodes].map((part) => part.className === 'unseen' ? "
            "`<${part.textContent}>` : part.textContent).join('')"
        )
        expected = text[:4000]
        for code, name in (
            ("\u202e", "RLO"), ("\u202c", "PDF"), ("\x00", "NUL"), ("\x07", "U+0007"),
            ("\x1b", "ESC"),
        ):  # fmt: skip
            expected = expected.replace(code, f"<{name}>")
        assert shown == expected
        inside = page.locator("#sample-content :is(script, img, a, iframe, textarea, style)")
        assert inside.count() == 0
        # A line without end is broken, not scrolled to.
        assert box.evaluate("node => node.scrollWidth <= node.clientWidth")
        if len(text) > 4000:
            box.locator(".more").click()
            more = box.locator(".words").evaluate("node => node.textContent")
            assert more == text[: 4000 + 20_000]
            assert box.locator(".more").count() == 0
        page.keyboard.press("Escape")
    # A script that ran, a request or a dialog would be in `watched.wrong`; the fixture looks.


def test_the_samples_work_by_keyboard(watched: Watched) -> None:
    page = watched.page
    expect(page.locator("#list button")).to_have_count(25)
    page.locator("[name=where]").focus()
    place = "document.activeElement.dataset.place ?? null"
    for wanted in ("0", "1"):
        page.keyboard.press("Tab")
        assert page.evaluate(place) == wanted
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=re.compile("AdvBench"))
    expect(dialog).to_be_visible()
    expect(page.locator("#sample-place")).to_have_text("2 of 600")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample-place")).to_have_text("3 of 600")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # Back in the list, at the sample that was looked at last.
    expect(page.locator("#list button[data-place='2']")).to_be_focused()
    # Over the end of a page the list follows.
    page.locator("#list button").last.press("Enter")
    expect(page.locator("#sample-place")).to_have_text("25 of 600")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample-place")).to_have_text("26 of 600")
    page.keyboard.press("Escape")
    expect(page.locator("#list button[data-place='25']")).to_be_focused()
    expect(page.locator("#page")).to_have_value("2")


def test_what_was_found_stands_in_pages(watched: Watched) -> None:
    page = watched.page
    buttons = page.locator("#list button")
    expect(buttons).to_have_count(25)
    assert page.locator("#page-before").is_disabled()
    expect(page.locator("#page-count")).to_have_text("of 24")
    page.locator("#page-after").click()
    expect(buttons.first).to_have_attribute("data-place", "25")
    page.locator("#page").fill("99")
    page.locator("#page").press("Enter")
    expect(buttons.last).to_have_attribute("data-place", "599")
    assert page.locator("#page").input_value() == "24"
    assert page.locator("#page-after").is_disabled()
    page.locator("[name=words]").fill('"question 7 of alert"')
    watched.found("1 of 600 samples")
    expect(buttons).to_have_count(1)
    expect(page.locator("#pages")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, report: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every text that is shown, in both colour schemes."""
    watched = Watched(browser, report, color_scheme=scheme)
    watched.found("600 of 600 samples")
    page = watched.page
    page.locator("#board-full").check()
    page.get_by_label("Show all text unblurred").check()
    page.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    page.locator("[name=words]").fill("lliw")
    watched.found("2 of 600 samples")
    look = """() => {
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (node) => {
            for (; node; node = node.parentElement) {
                const colour = parse(getComputedStyle(node).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        const poor = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let looked = 0;
        while (walk.nextNode()) {
            const node = walk.currentNode.parentElement;
            if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest(":disabled")) continue;
            if (node.closest("script, style, option")) continue;
            const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
            const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
            looked += 1;
            if (ratio < 4.5) poor.push(`${node.className} ${walk.currentNode.data.slice(0, 30)} ${ratio.toFixed(2)}`);
        }
        return [looked, [...new Set(poor)]];
    }"""  # noqa: E501
    looked, poor = page.evaluate(look)
    assert looked > 300
    assert poor == []
    page.locator("#list button").first.click()
    expect(page.locator("#sample-content .unseen").first).to_be_visible()
    assert page.evaluate(look)[1] == []
    watched.context.close()
    assert watched.wrong == []


def test_a_phone_scrolls_down_only(browser: Any, report: Path) -> None:
    watched = Watched(browser, report, is_mobile=True, has_touch=True)
    page = watched.page
    page.set_viewport_size({"width": 360, "height": 740})
    watched.found("600 of 600 samples")
    # The averages are in sight beside the name, which stays there when one scrolls.
    box, first = page.locator("#board-box"), page.locator("#board .entry").first
    place = "node => node.getBoundingClientRect()"
    edges = box.evaluate(place)
    savg = first.locator("td").nth(2).locator(".value")
    assert savg.inner_text() == "70.00"
    assert savg.evaluate(place)["right"] < edges["right"]
    page.locator("#board-full").check()
    box.evaluate("box => { box.scrollLeft = 400; }")
    assert abs(first.locator("th").evaluate(place)["left"] - edges["left"]) < 3
    for box in page.locator("#runs details").all():
        box.evaluate("box => { box.open = true; }")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    page.locator("[name=words]").fill("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    watched.found("2 of 600 samples")
    page.locator("#list button").first.tap()
    page.get_by_role("dialog").get_by_role("button", name="Show this response").tap()
    assert page.evaluate(wide) == 0
    assert page.locator("#sample-body").evaluate("box => box.scrollWidth <= box.clientWidth")
    watched.context.close()
    assert watched.wrong == []


def test_everything_has_a_name(watched: Watched) -> None:
    """Controls that a screen reader meets say what they are."""
    nameless = watched.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, img, [role=region]")]
            .filter((node) => node.checkVisibility())
            .filter((node) => !(node.textContent.trim() || node.alt || node.ariaLabel ||
                [...(node.labels ?? [])].some((label) => label.textContent.trim())))
            .map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


def test_without_javascript_the_table_is_there(browser: Any, report: Path) -> None:
    watched = Watched(browser, report, java_script_enabled=False)
    assert watched.page.locator("#board .entry").count() == 21
    expect(watched.page.locator("noscript p")).to_contain_text("need JavaScript")
    watched.context.close()


def test_published_rows_alone_need_no_samples(browser: Any, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        folder = write_report(published_entries(), tmp_path / "report").parent
    watched = Watched(browser, folder)
    expect(watched.page.locator("#samples-none")).to_be_visible()
    expect(watched.page.locator("#browser")).to_be_hidden()
    assert len(names(watched.page)) == 19
    watched.context.close()
    assert watched.wrong == []


def test_annotated_responses_are_filtered_and_shown_beside_the_reference(
    browser: Any, tmp_path: Path
) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("advbench",), limit=3)
    annotated(run, [1.9, 1.1, 1.2, 1.5, None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        folder = write_report([row("both", run, 60)], tmp_path / "report").parent
    watched = Watched(browser, folder)
    page = watched.page
    watched.found("8 of 8 samples")
    # A refusal that every judge found harmless stays readable although no annotator saw it.
    harmless = page.locator("#list .row").filter(has_text="✓ harmless").locator(".answer .veiled")
    expect(harmless).to_have_count(0)
    page.locator("[name=a]").select_option(label="both, annotated by somebody")
    for verdict, count in (("5", 1), ("6", 2), ("7", 1), ("8", 1)):
        page.locator("[name=verdict]").select_option(verdict)
        watched.found(f"{count} of 8 samples")
    for verdict, count in (("6", 2), ("5", 1)):  # so that what is found is not the last one's
        page.locator("[name=verdict]").select_option(verdict)
        watched.found(f"{count} of 8 samples")
    page.locator("#list button").click()
    sample = page.locator("#sample-content")
    expect(sample).to_contain_text("Output of the reference")
    expect(sample).to_contain_text("reference 0")
    expect(sample.locator(".badge")).to_have_text(["▲ better · somebody · p(better) 0.900"])
    expect(sample.locator(".veiled")).to_have_count(0)
    assert not watched.wrong
    watched.context.close()


def test_a_lost_data_file_is_said(browser: Any, runs: list[Path], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        folder = write_report([row("weak", runs[0], 60)], tmp_path / "report").parent
    (folder / "data" / "run-0-1.js").unlink()
    watched = Watched(browser, folder)
    watched.found("600 of 600 samples")
    watched.page.locator("[name=words]").fill("sorry")
    watched.found("data/run-0-1.js cannot be read; was the folder copied whole?")
    watched.context.close()


def test_an_open_page_does_not_show_another_reports_samples(
    browser: Any, runs: list[Path], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        folder = write_report([row("weak", runs[0], 60)], tmp_path / "report").parent
        watched = Watched(browser, folder)
        watched.found("600 of 600 samples")
        write_report([row("strong", runs[1], 70)], folder)
    watched.page.locator("[name=words]").fill("sorry")
    watched.found(re.compile("another report has been written here since this page was opened"))
    watched.context.close()


def test_a_run_of_full_size_is_searched_while_the_page_answers(
    browser: Any, tmp_path: Path
) -> None:
    """46,482 responses: found whole, opened file by file, the page at work all the while."""
    tasks = ("advbench", "realtoxicityprompts", "alert", "alert_adversarial")
    run = synthetic_run(tmp_path / "run", tasks=tasks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        folder = write_report([row("full", run, 60)], tmp_path / "report").parent
    watched = Watched(browser, folder)
    page = watched.page
    watched.found("46,482 of 46,482 samples")
    # Nothing is loaded but what is looked at.
    expect(page.locator("#list .answer bdi").first).to_be_visible()
    assert watched.loaded == {"index.html", "index.js", "questions-0.js", "run-0-0.js"}
    page.evaluate(
        """() => {
            window.seen = new Set();
            window.longest = 0;
            const bar = document.getElementById("progress");
            const look = () => {
                if (!bar.hidden) window.seen.add(bar.value);
                setTimeout(look);
            };
            look();
            new PerformanceObserver((list) => {
                for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
            }).observe({ type: "longtask" });
        }"""  # noqa: E501
    )
    page.locator("[name=words]").fill("sorry")
    sorry = answers(run, "r.response LIKE '%sorry%'")
    watched.found(f"{sorry:,} of 46,482 samples")
    assert len(watched.loaded) == 1 + 1 + 2 * 117
    # A search that kept the page busy would be over before anything else had its turn once.
    assert page.evaluate("window.seen.size") >= 5
    assert page.evaluate("window.longest") < PATIENCE
    page.locator("#page").fill("9999")
    page.locator("#page").press("Enter")
    last = page.locator(f"#list button[data-place='{sorry - 1}'] .answer mark")
    expect(last.first).to_have_text("sorry")
    watched.context.close()
    assert watched.wrong == []


def test_samples_are_filtered_by_both_verdicts(browser: Any, tmp_path: Path) -> None:
    """Harm by one judge, refusals by another one, counted by hand."""
    said = [Said(False, "full_refusal")] * 4 + [Said(False, "partial_refusal")] * 2
    said += [Said(False, "compliance")] * 3 + [Said(True, "compliance")] * 5
    said += [Said(True, "partial_refusal")]
    run = judged_run(tmp_path / "run", {"bfpo_xstest_unsafe": said}, refusal="refuser")
    folder = write_report([row("one", run, 60.0)], tmp_path / "out").parent
    watched = Watched(browser, folder)
    page = watched.page
    watched.found("15 of 15 samples")
    for verdict, refusal, count in (
        ("", "2", 4), ("", "1", 3), ("1", "1", 1), ("0", "0", 3), ("1", "0", 5), ("1", "2", 0),
    ):  # fmt: skip
        page.locator("[name=verdict]").select_option(verdict)
        page.locator("[name=refusal]").select_option(refusal)
        watched.found(f"{count} of 15 samples")
    page.locator("[name=verdict]").select_option("1")
    page.locator("[name=refusal]").select_option("1")
    watched.found("1 of 15 samples")
    page.locator("#list button").click()
    badges = page.locator("#sample-content .badge")
    expect(badges).to_have_text(
        [re.compile("harmful · guard"), re.compile("refused in part · refuser")]
    )
    watched.context.close()
    assert watched.wrong == []
