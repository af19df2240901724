"""The report's files: what is in them, and that untrusted text cannot leave its place."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic_runs import CATEGORIES, HOSTILE, JUDGE, synthetic_run
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.protocol import Protocol
from bfpo_bench.leaderboard.report import write
from bfpo_bench.leaderboard.report.escaping import UNSEEN
from bfpo_bench.leaderboard.report.page import table
from bfpo_bench.leaderboard.report.samples import ROWS_PER_CHUNK, write_chunk
from bfpo_bench.leaderboard.report.write import write_report
from bfpo_bench.leaderboard.rows import Badge, Cell, Entry, published_entries
from tests.leaderboard.edits import annotated

HOSTILE_NAME = "</td></script><script>alert(1)</script>\u202e\x00\" onload='alert(2)"


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text that stands in each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._within, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    one = synthetic_run(
        folder / "one", tasks=("advbench", "alert", "bbq"), limit=450, second_judge="keyword"
    )
    two = synthetic_run(folder / "two", tasks=("alert",), limit=300, seed=1, unknown=0.2)
    return [one, two]


@pytest.fixture(scope="module")
def report(runs: list[Path], tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    rows = [entry(HOSTILE_NAME, runs[0]), entry("two", runs[1]), *published_entries()]
    return write_report(rows, tmp_path_factory.mktemp("out") / "report").parent


@pytest.fixture(scope="module")
def no_pictures() -> Any:
    """Pictures take seconds and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        yield


def entry(name: str, run: Path, **changes: Any) -> Entry:
    cells = {"alert": Cell(98.0, 97.0, 99.0, 300, ("a note",)), "savg": Cell(70.0)}
    found = Entry(name, "measured", str(run), cells, run=run, runs=(run,), judge=JUDGE)
    return replace(found, **changes)


def read_chunk(folder: Path, name: str) -> Any:
    script = (folder / "data" / f"{name}.js").read_text("ascii")
    found = re.fullmatch(r'bfpo\("([a-z0-9-]+)","([A-Za-z0-9+/=]+)"\)\n', script)
    assert found is not None
    assert found[1] == name
    return json.loads(gzip.decompress(base64.b64decode(found[2])))


def test_the_policy_allows_the_pages_own_script_and_style_alone(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    [policy] = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    digests = {
        tag: base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        for tag, body in (
            ("script", re.findall(r"<script>(.*?)</script>", text, re.S)[-1]),
            ("style", re.findall(r"<style>(.*?)</style>", text, re.S)[0]),
        )
    }
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == [f"'sha256-{digests['script']}'", "'strict-dynamic'"]
    assert rules["style-src"] == [f"'sha256-{digests['style']}'"]
    assert rules["require-trusted-types-for"] == ["'script'"]
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    # The policy stands before all that it is to govern.
    assert text.index("Content-Security-Policy") < text.index("<style") < text.index("<script")


def test_untrusted_names_stay_text(report: Path) -> None:
    page = Page((report / "index.html").read_text())
    assert page.all("script") == [{}]
    handlers = [
        name for _, attributes in page.elements for name in attributes if name.startswith("on")
    ]
    assert handlers == []
    assert not any("style" in attributes for _, attributes in page.elements)
    shown = HOSTILE_NAME.replace("\u202e", "U+202E").replace("\x00", "U+0000")
    assert shown in page.texts["bdi"]
    [row] = [row for row in page.all("tr") if row.get("data-name", "").startswith("</td>")]
    assert row["data-name"] == shown
    # Menus and titles hold plain text, so the data have names that are clean.
    assert read_chunk(report, "index")["runs"][0]["name"] == shown


def test_the_table_has_the_blocks_the_order_and_the_badges() -> None:
    same, other = Protocol.of({"suite": "paper"}), Protocol.of({"suite": "mini"})

    def row(name: str, savg: float, protocol: Protocol, *badges: Badge) -> Entry:
        path = Path("/home/somebody/runs") / name
        cells = {"savg": Cell(savg, protocol=protocol), "x": Cell(1.0)}
        extra = (Column("x", "X", "X", "gen", "higher", "x"),)
        return Entry(
            name, "measured", str(path), cells, marks=("limited: to 3",), run=path, runs=(path,),
            extra=extra, badges=badges,
        )  # fmt: skip

    shown = table(
        [
            *published_entries(),
            row("a/run", 60.0, same),
            replace(row("broken", 0.0, same), fault="two verdicts on one response"),
            row("demo", 99.0, other, Badge("demonstration", "it is"), Badge("limited", "to 3")),
            row("b/run", 70.0, same),
        ]
    )
    heads = [column.title for column, _, _ in shown["heads"]]
    assert heads[:5] == ["Disc.", "Gen.", "Savg.", "Alpaca", "CrowS-Pairs"]
    paper = [f"Published, Table {n} of arXiv 2408.15313" for n in (6, 7, 8)]
    assert [title for title, _ in shown["blocks"]] == [
        "Measured", *paper, "Left out of the ranking"
    ]  # fmt: skip
    [_, measured], [_, six], *_, [_, faulty] = shown["blocks"]
    assert [one.entry.name for one in measured] == ["demo", "b/run", "a/run"]
    assert [one.source for one in measured] == ["demo", "b/run", "a/run"]
    savg = heads.index("Savg.")
    assert [one.cells[savg].place for one in measured] == ["", "best", "second"]
    demo, *rest = measured
    assert [badge.name for badge in demo.badges] == ["demonstration", "limited", "unranked"]
    assert "suite mini instead of paper" in demo.badges[2].why
    assert not any(one.badges for one in rest)
    # What a badge says is no note too.
    assert not demo.notes
    assert rest[0].notes
    assert [one.entry.name for one in six[:2]] == ["Zephyr", "Juanako"]
    assert [badge.name for badge in six[0].badges] == ["published"]
    assert [one.entry.name for one in faulty] == ["broken"]


def test_nothing_is_loaded_from_elsewhere(report: Path) -> None:
    page = Page((report / "index.html").read_text())
    assert not page.all("link")
    assert not page.all("iframe")
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    for link in page.all("a"):
        assert re.match(r"#|pictures/", link["href"] or "")


def test_the_table_says_what_the_rows_say(report: Path) -> None:
    page = Page((report / "index.html").read_text())
    values = [cell for cell in page.all("td") if cell.get("data-value")]
    wanted = sorted(
        cell.value
        for row in [*published_entries(), entry("x", report), entry("y", report)]
        for key, cell in row.cells.items()
        if key != "disc_distance"
    )
    assert sorted(float(cell["data-value"] or "") for cell in values) == wanted
    assert page.texts["bdi"].count("A note.") == 1


def test_samples_hold_every_response_and_verdict(report: Path, runs: list[Path]) -> None:
    import sqlite3

    index = read_chunk(report, "index")
    assert index["tasks"] == [["bfpo_advbench", "AdvBench", 450], ["bfpo_alert", "ALERT", 450]]
    assert set(index["categories"]) == set(CATEGORIES)
    rows = 900
    chunks = -(-rows // ROWS_PER_CHUNK)
    questions = [q for k in range(chunks) for q in read_chunk(report, f"questions-{k}")]
    assert len(questions) == rows
    for place, path in enumerate(runs):
        answers = [a for k in range(chunks) for a in read_chunk(report, f"run-{place}-{k}")]
        with sqlite3.connect(path / "samples.sqlite") as database:
            stored = database.execute(
                "SELECT task, item, prompt, question, response FROM responses"
            ).fetchall()
            verdicts = database.execute(
                "SELECT task, item, judge, harmful FROM verdicts"
            ).fetchall()
        said = {tuple(asked): harmful for *asked, harmful in verdicts}
        at = {
            ("bfpo_advbench" if row < 450 else "bfpo_alert", item): row
            for row, (item, *_) in enumerate(questions)
        }
        judges = index["runs"][place]["judges"]
        assert [judge["name"] for judge in judges] == [JUDGE, "keyword"][: len(judges)]
        found = 0
        for task, item, prompt, question, response in stored:
            row = at[task, item]
            answer = answers[row]
            assert answer[0] == response
            frames = index["runs"][place]["frames"]
            given = answer[6] if isinstance(answer[6], str) else question.join(frames[answer[6]])
            assert given == prompt
            assert (answer[8] or questions[row][2]) == question
            for judge in judges:
                code = {0: "0", 1: "1", None: "2"}[said[task, item, judge["name"]]]
                assert judge["verdicts"][row] == code
            found += 1
        assert sum(answer is not None for answer in answers) == found
        for judge in judges:
            assert judge["verdicts"].count("4") == rows - found
    assert set(HOSTILE) <= {answer[0] for answer in answers if answer}


def test_annotated_responses_stand_beside_judged_ones(tmp_path: Path, no_pictures: None) -> None:
    run = synthetic_run(tmp_path / "run", tasks=("advbench",), limit=3)
    annotated(run, [1.9, 1.1, 1.5, None])
    write_report([entry("one", run)], tmp_path / "report")
    index = read_chunk(tmp_path / "report", "index")
    assert index["tasks"] == [["bfpo_advbench", "AdvBench", 3], ["bfpo_alpaca_eval", "Alpaca", 4]]
    judge, annotator = index["runs"][0]["judges"]
    assert (judge["annotator"], judge["verdicts"][3:]) == (False, "3333")
    assert (annotator["name"], annotator["annotator"]) == ("somebody", True)
    assert annotator["verdicts"] == "3335678"
    assert annotator["p"] == [-1, -1, -1, 900, 100, 500, -1]
    heads = read_chunk(tmp_path / "report", "questions-0")
    assert [head[3:] for head in heads] == [[]] * 3 + [[f"reference {n}"] for n in range(4)]
    answers = read_chunk(tmp_path / "report", "run-0-0")
    assert [answer[7] for answer in answers[3:]] == [[None, '"m"']] * 4


def test_equal_rows_give_equal_files(runs: list[Path], tmp_path: Path, no_pictures: None) -> None:
    rows = [entry("one", runs[0])]
    for name in ("a", "b"):
        write_report(rows, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*"))
    assert len(files) > 4
    for file in files:
        if (tmp_path / "a" / file).is_file():
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_report_is_replaced_and_nothing_else_is(
    runs: list[Path], tmp_path: Path, no_pictures: None
) -> None:
    folder = tmp_path / "report"
    write_report([entry("one", runs[0])], folder)
    assert (folder / "data" / "index.js").is_file()
    write_report(published_entries(), folder)
    assert not (folder / "data" / "index.js").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(BadInput, match="holds something else than a report"):
        write_report(published_entries(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(BadInput, match="is a file; name a folder for the report"):
        write_report(published_entries(), tmp_path / "mine" / "thesis.tex")


def test_a_report_that_was_stopped_leaves_the_one_before(
    runs: list[Path], tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    def stop() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(write, "write_samples", stopped)
            with pytest.raises(KeyboardInterrupt):
                write_report([entry("one", runs[0])], tmp_path / "new" / "report")

    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (tmp_path / "new").rglob("*") if p.is_file()}

    stop()
    assert not (tmp_path / "new").exists()
    page = write_report(published_entries(), tmp_path / "new" / "report")
    # What was put beside the page stays, whether or not a report is finished.
    page.with_name("notes.txt").write_text("mine")
    before = files()
    stop()
    assert files() == before
    write_report([entry("one", runs[0])], page.parent)
    assert (page.parent / "data" / "index.js").is_file()
    assert page.with_name("notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report"]


def test_a_run_without_samples_and_a_faulty_one_are_shown(
    runs: list[Path], tmp_path: Path, no_pictures: None
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("run.json", "results.json"):
        (bare / name).write_bytes((runs[1] / name).read_bytes())
    rows = [entry("bare", bare), entry("broken", runs[1], fault="two verdicts on one response")]
    page = write_report(rows, tmp_path / "report").read_text()
    assert "two verdicts on one response" in page
    assert [run["name"] for run in read_chunk(tmp_path / "report", "index")["runs"]] == ["broken"]


def test_a_damaged_store_costs_its_own_samples_only(
    runs: list[Path], tmp_path: Path, no_pictures: None, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [entry("sound", runs[0])]
    for name, store in (("torn", b"SQLite format 3\0" + b"x" * 5000), ("blank", b"")):
        run = tmp_path / name
        shutil.copytree(runs[1], run)
        (run / "samples.sqlite").write_bytes(store)
        rows.append(entry(name, run))
    page = write_report(rows, tmp_path / "report").read_text()
    assert [run["name"] for run in read_chunk(tmp_path / "report", "index")["runs"]] == ["sound"]
    for sentence in ("torn/samples.sqlite is damaged", "blank/samples.sqlite is empty"):
        assert sentence in page
        assert sentence in caplog.text


def test_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    content = ["\ud83d", "</script>\u2028\u2029\x00", "😀", "é"]
    write_chunk(tmp_path / "data", "odd", content)
    assert read_chunk(tmp_path, "odd") == content


def test_both_lists_of_unseen_characters_are_the_same() -> None:
    """What Python shows by its code in names, the page shows in responses."""
    source = (Path(write.__file__).parent / "text.js").read_text()
    [ours] = re.findall(r"/\(\[(\\x00.*?)\]\|", source)
    page = re.compile(f"[{ours}]")
    for code in range(0x10000):
        if not 0xD800 <= code <= 0xDFFF:
            assert bool(page.match(chr(code))) == bool(UNSEEN.match(chr(code))), hex(code)


def test_the_pages_parts_cannot_end_their_elements() -> None:
    folder = Path(write.__file__).parent
    for name in (*write._SCRIPTS, "style.css"):
        text = (folder / name).read_text()
        assert "</" not in text, name
        assert "<!--" not in text, name
        # The usual ways in which text becomes markup or code.
        assert not re.search(r"(inner|outer)HTML =|insertAdjacent|document\.write|eval\(", text), (
            name
        )


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, no_pictures: None) -> None:
    (tmp_path / "file").write_text("")
    sentence = r"cannot write .*file/report \(a file is in the way\); choose another --output"
    with pytest.raises(BadInput, match=sentence):
        write_report(published_entries(), tmp_path / "file" / "report")
