"""Puts the report together.

    report/index.html        the page: table, pictures, runs; style and scripts are in it
    report/data/*.js         the samples, loaded as they are looked at
    report/pictures/         the pictures once more, to use elsewhere

The page may run one script, known by its hash, which may load data files of its own folder; every
other script, style, image, frame, form and address is forbidden to it (docs/report.md).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench import __version__
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_folder, owned
from bfpo_bench.leaderboard.plots.draw import draw_all
from bfpo_bench.leaderboard.ranking import usual_protocol
from bfpo_bench.leaderboard.report.escaping import named, visible
from bfpo_bench.leaderboard.report.page import boxes, run_names, table
from bfpo_bench.leaderboard.report.samples import write_samples
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.run.repair import is_damaged

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_PAGE = "index.html"
_SCRIPTS = ("text.js", "table.js", "samples.js")
_MARK = '<meta name="generator" content="bfpo-bench report">'
"""By this a folder is known as a report, which a new one may replace."""

_SIZE = re.compile(rb'width="([\d.]+)pt" height="([\d.]+)pt"')


def write_report(
    entries: Sequence[Entry],
    folder: Path,
    *,
    full: bool = False,
    published: bool = True,
    columns: str = "usual",
) -> Path:
    """Writes the report and returns the path of its page.

    A run whose samples cannot be read is named in the page and in a warning, and only its samples
    are not in it.

    Args:
        entries: rows of the table; of measured ones also the samples and settings are shown.
        folder: where to; made when it is not there, replaced when it holds a report.
        full: the page opens with every column instead of the summary; a switch in it.
        published: the page opens with the published rows shown; a switch in it.
        columns: the set of columns that the page opens with.

    Raises:
        BadInput: the folder holds something else.
        RunFailed: the folder cannot be written.
    """
    with owned(folder):
        _refuse_other(folder)
        with atomic_folder(folder, force=True) as staged:
            (staged / "pictures").mkdir()
            pictures = draw_all(entries, staged / "pictures")
            runs = [
                (name, path)
                for path, name in run_names(entries).items()
                if (path / "samples.sqlite").is_file()
            ]
            problems = {path: problem for _, path in runs if (problem := _problem(path))}
            readable = [(name, path) for name, path in runs if path not in problems]
            samples, more = write_samples(readable, staged / "data")
            problems |= {path: str(error) for path, error in more.items()}
            for problem in problems.values():
                log.warning("%s", problem)
            shown = {"full": full, "published": published}
            found = table(entries, columns)
            text = _page(entries, found, pictures, samples, list(problems.values()), shown)
            (staged / _PAGE).write_text(text, encoding="utf-8")
    return folder / _PAGE


def _problem(run: Path) -> str | None:
    """Why the samples of a run cannot be shown; None where nothing is to be seen from outside."""
    store = run / "samples.sqlite"
    if not is_damaged(store):
        return None
    return (
        f"{store} is damaged, so the responses of this run are not shown; run its evaluate command "
        "again, which keeps what can be read."
    )


def _refuse_other(folder: Path) -> None:
    """Lets nothing but an earlier report be replaced."""
    page = folder / _PAGE
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder for the report.")
    ours = page.is_file() and _MARK in page.read_text("utf-8", "replace")
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise BadInput(
            f"{folder} is there and holds something else than a report; name another folder."
        )


def _page(
    entries: Sequence[Entry],
    found: Mapping[str, Any],
    pictures: Sequence[Path],
    samples: tuple[int, str],
    problems: Sequence[str],
    shown: Mapping[str, bool],
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"visible": visible, "named": named}
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    measured = [entry for entry in entries if entry.kind == "measured"]
    usual = usual_protocol([entry for entry in measured if entry.fault is None])
    return pages.get_template("page.html.jinja").render(
        mark=Markup(_MARK),
        style=Markup(style),
        script=Markup(script),
        style_hash=Markup(_hash(style)),
        script_hash=Markup(_hash(script)),
        **shown,
        measured_rows=len(measured),
        published_rows=sum(entry.kind == "published" for entry in entries),
        samples=samples,  # how many, and the end of their index
        problems=problems,
        table=found,
        measured_with=usual.text() if usual.parts else "",
        pictures=[_picture(path) for path in pictures if path.suffix == ".svg"],
        runs=boxes(entries),
        version=__version__,
    )


def _picture(path: Path) -> tuple[str, str, str, str, tuple[int, int]]:
    """Name, caption, description and content of an SVG, and its size in points.

    As an image it can run nothing, whatever it holds; by its size the page keeps the room.
    """
    drawn = path.read_bytes()
    found = _SIZE.search(drawn)
    size = (round(float(found[1])), round(float(found[2]))) if found else (0, 0)
    return (path.stem, *_CAPTIONS[path.stem], base64.b64encode(drawn).decode("ascii"), size)


_CAPTIONS = {
    "pareto": (
        "Helpfulness against harmlessness; the line joins the rows that no row beats in both.",
        "Scatter plot of AlpacaEval win rate against Savg.; the figures are in the table above.",
    ),
    "balance": (
        "How harmless on harmful prompts, and how much of the benign ones that look like them is "
        "answered; the line joins rows that no row beats in both, crosses are trivial policies.",
        "Scatter plot of Answ. against Harm.; the figures are in the table above.",
    ),
    "tasks": (
        "Every task of every row, in percent.",
        "Heat map of the scores by row and task; the figures are in the table above.",
    ),
    "alert": (
        "Harmless responses to ALERT by category, with 95 % Wilson intervals.",
        "Dot plot of the share of harmless responses by category of ALERT and run.",
    ),
    "training": (
        "Loss, margin and accuracy while the models were trained.",
        "Training curves of the runs that hold a training record.",
    ),
}


def _hash(content: str) -> str:
    """What a Content-Security-Policy knows an inline script or style by."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
