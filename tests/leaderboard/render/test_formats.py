"""Every format, with model names that are out to break it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import markdown_text, one_line, valid_text
from bfpo_bench.leaderboard.board import Leaderboard
from bfpo_bench.leaderboard.options import FILES, FORMATS, LeaderboardOptions
from bfpo_bench.leaderboard.render.escaping import csv_text, latex_text
from bfpo_bench.leaderboard.rows import Cell, Entry, published_entries

HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "**bold** _it_ `code` ~~gone~~",
    "[click](https://example.org)",
    "![](https://example.org/x.png)",
    "https://example.org and www.example.org @someone #1",
    "$x_1$ \\input{/etc/passwd} %{&}^~\"'",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe\u202c\u200b",
    "line\nbreak\r\n| new | row |",
    "=HYPERLINK(\"https://example.org\")",
    "+1", "-1", "@SUM(A1)", "\t=1", "＝1",
    "模型 ünïcode é",
    "[*",
    "x" * 500,
    "",
    "\udcff",
    "<!-- --> &lt;b&gt;",
]  # fmt: skip


def board(**options: object) -> Leaderboard:
    entries = tuple(
        Entry(
            f"{name}",
            "measured",
            f"runs/{i}/{name}",
            {"savg": Cell(50.0 + i, 49.0, 60.0 + i, n=10, marks=(f"note {name}",))},
            marks=(name,),
        )
        for i, name in enumerate(HOSTILE)
    )
    faulty = replace(entries[1], fault=f"bad {HOSTILE[1]}", name=f"{HOSTILE[1]}2")
    return Leaderboard((*entries, faulty, *published_entries()), LeaderboardOptions(**options))  # type: ignore[arg-type]


# ------------------------------------------------------------------------- markdown


def test_markdown_renders_as_one_table_and_plain_text() -> None:
    from markdown_it import MarkdownIt

    text = board(published=True).render("markdown")
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == 1 + 4 + len(HOSTILE) + 19
    assert kinds.count("td_open") % 5 == 0
    children = [child for token in tokens for child in token.children or ()]
    assert not {child.type for child in children} & {"link_open", "image", "code_inline", "s_open"}
    html = {child.content for child in children if child.type == "html_inline"}
    assert html <= {"<br>", "<ins>", "</ins>", "<sup>", "</sup>", "<!-- -->"}
    assert "html_block" not in kinds
    shown = "".join(child.content for child in children).replace("<!-- -->", "")
    for name in HOSTILE[:6]:
        assert name in shown


def test_markdown_has_no_bare_addresses_or_mentions() -> None:
    text = markdown_text("https://example.org www.example.org @someone")
    assert "://" not in text
    assert "www.e" not in text
    assert "@s" not in text


# ---------------------------------------------------------------------------- LaTeX


@pytest.mark.parametrize("options", [{}, {"full": True}, {"transposed": True}, {"ci": True}])
def test_latex_is_well_formed(options: dict[str, bool]) -> None:
    text = board(**options).render("latex")
    assert text.isascii()
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    for name in ("tabular", "table*" if "\\begin{table*}" in text else "table"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    assert re.sub(r"\\%", "", text.split("\n", 1)[1]).count("%") == 0
    assert bare.count("$") % 2 == 0
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        "begin", "end", "centering", "small", "scriptsize", "setlength", "tabcolsep", "toprule",
        "midrule", "bottomrule", "cmidrule", "multicolumn", "textit", "textbf", "underline",
        "textsuperscript", "smallskip", "parbox", "linewidth", "footnotesize", "usepackage",
        "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar",
        "ldots", "pm", "cdot", "resizebox", "rotatebox", "raggedright", "ifdim", "else", "fi",
        "width",
    }  # fmt: skip
    columns = len(re.search(r"\\begin\{tabular\}\{l(r+)\}", text).group(1)) + 1  # type: ignore[union-attr]
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    for line in body.splitlines():
        if line.strip().endswith(r"\\") and "multicolumn" not in line:
            assert len(re.sub(r"\\&", "", line).split("&")) == columns, line


@pytest.mark.parametrize("options", [{}, {"full": True}, {"full": True, "transposed": True}])
def test_latex_is_set_and_no_wider_than_the_text(options: dict[str, bool], tmp_path: Path) -> None:
    """By LaTeX itself, where there is one."""
    hostile = board(**options).render("latex")
    published = Leaderboard(tuple(published_entries()), LeaderboardOptions(**options)).render(
        "latex"
    )  # type: ignore[arg-type]
    fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{\begin{tabular}"
    for text in (hostile, published):
        assert text.count(fitted) == 1
        if shutil.which("pdflatex"):
            printed = _set(text, tmp_path)
    if shutil.which("pdflatex"):
        assert "Overfull" not in printed


def _set(table: str, folder: Path) -> str:
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (folder / "table.tex").write_text(head + "\n" + table + r"\end{document}" + "\n")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_latex_letters() -> None:
    assert latex_text("é_模") == r"e\_?"
    assert latex_text("a\\b{") == r"a\textbackslash{}b\{"


# ------------------------------------------------------------------------------ CSV


def test_csv_reads_back_and_is_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(board(ci=True).render("csv"))))
    assert len(rows) == len(HOSTILE) + 1 + 19
    for row in rows:
        for name in ("name", "source", "fault", "notes"):
            assert row[name][:1] not in tuple("=+-@\t\r＝")
    assert (rows[3]["savg"], rows[3]["savg_low"], rows[3]["savg_high"]) == ("53.0", "49.0", "63.0")
    assert rows[3]["disc"] == ""
    assert rows[len(HOSTILE)]["fault"].startswith("bad ")
    assert rows[len(HOSTILE)]["savg"] == ""
    assert csv_text("=1+1") == "'=1+1"
    assert csv_text(" =1") == "'=1"


def test_csv_has_the_spread_over_seeds() -> None:
    cells = {"savg": Cell(1.0, spread=0.25)}
    one = Leaderboard((Entry("a", "measured", "runs/a", cells),), LeaderboardOptions())
    [row] = csv.DictReader(io.StringIO(one.render("csv")))
    assert row["savg_spread"] == "0.25"


def test_a_frame_has_all_that_is_known_of_a_number(tmp_path: Path) -> None:
    import pandas

    whole = board()
    frame = whole.to_frame()
    assert len(frame) == len(whole.entries)
    assert list(frame["name"][: len(HOSTILE)]) == [valid_text(name) for name in HOSTILE]
    for row, entry in zip(frame.to_dict("records"), whole.entries, strict=True):
        for column in whole.columns:
            cell = entry.cells.get(column.key)
            if cell is None or entry.fault is not None:
                assert pandas.isna(row[column.key])
                continue
            assert row[column.key] == cell.value
            assert row[f"{column.key}_notes"] == valid_text("; ".join(cell.marks))
            assert row[f"{column.key}_protocol"].endswith(f"(protocol {cell.protocol.key})")
    assert (frame["savg_n"][0], frame["savg_low"][0], frame["savg_high"][0]) == (10, 49, 60)
    frame.to_parquet(tmp_path / "table.parquet")
    assert pandas.read_parquet(tmp_path / "table.parquet")["savg"][3] == 53


# ----------------------------------------------------------------------------- JSON


def test_json_holds_everything_unchanged() -> None:
    text = board(ci=True).render("json")
    content = json.loads(text.encode("utf-8", "surrogatepass"))
    assert [row["name"] for row in content["rows"]][: len(HOSTILE)] == HOSTILE
    cell = content["rows"][3]["cells"]["savg"]
    assert (cell["value"], cell["low"], cell["n"]) == (53.0, 49.0, 10)
    assert [column["key"] for column in content["columns"]] == ["alpaca", "disc", "gen", "savg"]
    assert content["rows"][len(HOSTILE)]["cells"] == {}


# ------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("options", [{}, {"full": True, "ci": True}, {"transposed": True}])
def test_terminal_lines_fit_and_steer_nothing(width: int, options: dict[str, bool]) -> None:
    entries = [entry for entry in board().entries if len(entry.name) < 40]
    text = Leaderboard(tuple(entries), LeaderboardOptions(**options)).render(width=width)  # type: ignore[arg-type]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u200b]", text)
    table = text.split("\n* best")[0].splitlines()
    ruled = [line for line in table if line.startswith("─")]
    assert ruled
    assert max(map(cell_len, table)) <= max(width, 70)


def test_styles_in_a_terminal_are_ours_alone() -> None:
    text = board().render(styled=True)
    assert set(re.findall(r"\x1b\[[0-9;]*m", text)) == {"\x1b[1m", "\x1b[4m", "\x1b[0m"}
    assert re.sub(r"\x1b\[[014]m", "", text).count("\x1b") == 0


def test_numbers_stand_below_each_other() -> None:
    lines = str(Leaderboard(published_entries(), LeaderboardOptions())).splitlines()
    rows = [line for line in lines if re.match(r"\S.*\d\.\d\d", line) and "of arXiv" not in line]
    # The last number of every row ends in the same place, whatever signs stand behind it.
    ends = {re.search(r"\d+\.\d\d(?!.*\d\.\d\d)", line).end() for line in rows[:19]}  # type: ignore[union-attr]
    assert len(ends) == 1


def test_no_rows() -> None:
    assert str(Leaderboard((), LeaderboardOptions())).startswith("No rows.")


# ---------------------------------------------------------------------------- others


def test_one_line() -> None:
    assert one_line(" a\n\tb\u2028c \x00") == "a b c �"
    assert one_line("abcdef", 4) == "abc…"


def test_every_format_is_text_but_those_of_files() -> None:
    for name in FORMATS:
        if name not in FILES:
            assert isinstance(board().render(name), str)
    with pytest.raises(BadInput, match="html is no text; write it with `bfpo-bench leaderboard"):
        board().render("html")
    with pytest.raises(BadInput, match="unknown leaderboard format 'markdwn'; did you mean"):
        board().render("markdwn")
