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
import shutil
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from string import Template

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.leaderboard.columns import FULL
from bfpo_bench.leaderboard.plots import draw_all
from bfpo_bench.leaderboard.ranking import usual_protocol
from bfpo_bench.leaderboard.report.markup import text
from bfpo_bench.leaderboard.report.runs import directories, run_name, runs_html
from bfpo_bench.leaderboard.report.samples import RunToShow, write_samples
from bfpo_bench.leaderboard.report.table import table_html
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.run.repair import is_damaged
from bfpo_bench.run.store import Store

log = logging.getLogger(__name__)

_SCRIPTS = ("texts.js", "board.js", "source.js", "samples.js")
_MARK = '<meta name="generator" content="bfpo-bench report">'
"""By this a folder is known as a report, which a new one may replace."""

_UNFINISHED = (
    f'<!doctype html><meta charset="utf-8">{_MARK}<title>Unfinished report</title>'
    "<p>This report is being written, or its writing was stopped; then run the same command again."
)
"""Stands in for the page while the rest is written, so that a later report may replace it."""

_SIZE = re.compile(rb'width="([\d.]+)pt" height="([\d.]+)pt"')


def write_report(
    entries: Sequence[Entry], folder: Path, *, full: bool = False, published: bool = True
) -> Path:
    """Writes the report and returns the path of its page.

    Args:
        entries: rows of the table; of measured ones also the samples and settings are shown.
        folder: where to; made when it is not there, replaced when it holds a report.
        full: the page opens with every column instead of the summary; a switch in it.
        published: the page opens with the published rows shown; a switch in it.

    Raises:
        BadInput: the folder holds something else, or a run directory is none.
        RunFailed: the folder cannot be written, or a store cannot be read. One that
            is damaged is left out, and named in the page and in a warning.
    """
    _make_room(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "index.html"
        page.write_text(_UNFINISHED, encoding="utf-8")
        (folder / "data").mkdir()
        (folder / "pictures").mkdir()
        pictures = draw_all(entries, folder / "pictures")
        shown = [
            RunToShow(run_name(entry, path), path)
            for entry in entries
            for path in directories(entry)
            if (path / "samples.sqlite").is_file()
        ]
        problems = {one.path: problem for one in shown if (problem := _problem(one.path))}
        for problem in problems.values():
            log.warning("%s", problem)
        readable = [one for one in shown if one.path not in problems]
        samples = write_samples(readable, folder / "data") if readable else 0
        page.write_text(
            _page(entries, pictures, samples, list(problems.values()), full, published),
            encoding="utf-8",
        )
    except OSError as error:
        raise RunFailed(
            f"cannot write the report to {folder}: {error.strerror}; make room or choose another "
            "folder, then run the same command again."
        ) from error
    return page


def _problem(run: Path) -> str | None:
    """Why the samples of a run cannot be shown; None where they can."""
    store = run / "samples.sqlite"
    if is_damaged(store):
        return (
            f"{store} is damaged, so the responses of this run are not shown; run its evaluate "
            "command again, which keeps what can be read."
        )
    try:
        Store(store, read_only=True).close()
    except BenchError as error:
        return str(error)
    return None


def _make_room(folder: Path) -> None:
    if not folder.exists():
        return
    page = folder / "index.html"
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder for the report.")
    if any(folder.iterdir()) and not (
        page.is_file() and _MARK in page.read_text("utf-8", "replace")
    ):
        raise BadInput(
            f"{folder} is there and holds something else than a report; name another folder."
        )
    for part in ("data", "pictures"):
        if (folder / part).is_dir():
            shutil.rmtree(folder / part)


def _page(
    entries: Sequence[Entry],
    pictures: Sequence[Path],
    samples: int,
    problems: Sequence[str],
    full: bool,
    published: bool,
) -> str:
    style, script = _file("style.css"), "\n".join(map(_file, _SCRIPTS))
    kinds = [entry.kind for entry in entries]
    return Template(_file("page.html")).substitute(
        mark=_MARK,
        style=style,
        script=script,
        worker=_file("worker.js"),
        style_hash=_hash(style),
        script_hash=_hash(script),
        full=" checked" if full else "",
        published=" checked" if published else "",
        measured_rows=kinds.count("measured"),
        published_rows=kinds.count("published"),
        samples=samples,
        problems="".join(f'<p class="fault">{text(problem)}</p>' for problem in problems),
        table=table_html(entries),
        measured_with=_measured_with(entries),
        pictures="".join(map(_picture, pictures)),
        runs=runs_html(entries),
        version=text(metadata.version("bfpo-bench")),
    )


def _measured_with(entries: Sequence[Entry]) -> str:
    """What most measured rows were measured with."""
    measured = [entry for entry in entries if entry.kind == "measured" and entry.fault is None]
    usual = usual_protocol(measured, FULL)
    return f"Measured with: {text(usual.text())}." if usual is not None and usual.parts else ""


def _picture(path: Path) -> str:
    """A figure around an SVG; as an image it can run nothing, whatever it holds."""
    if path.suffix != ".svg":
        return ""
    title, alt = _CAPTIONS.get(path.stem, (path.stem, ""))
    drawn = path.read_bytes()
    data = base64.b64encode(drawn).decode("ascii")
    # Its size in points, so that the page keeps the room before the picture is drawn.
    size = _SIZE.search(drawn)
    room = f' width="{float(size[1]):.0f}" height="{float(size[2]):.0f}"' if size else ""
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{alt}" loading="lazy" '
        f'decoding="async"{room}>'
        f'<figcaption>{title} <span class="files"><a href="pictures/{path.name}">SVG</a> '
        f'<a href="pictures/{path.stem}.png">PNG</a></span></figcaption></figure>'
    )


_CAPTIONS = {
    "pareto": (
        "Helpfulness against harmlessness; the line joins the rows that no row beats in both.",
        "Scatter plot of AlpacaEval win rate against Savg.; the figures are in the table above.",
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


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What a Content-Security-Policy knows an inline script or style by."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
