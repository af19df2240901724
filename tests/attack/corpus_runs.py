"""Run directories from strangers: hostile texts at every place, and damage of every kind."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.synthetic_runs import item_id
from tests.attack.attempt import Case
from tests.attack.texts import NOT_JSON, TEXTS
from tests.leaderboard.edits import edited

ITEM = item_id("alert", 0)
READERS: dict[str, str] = {
    "leaderboard": "leaderboard {here}/run --full --ci",
    "Markdown": "leaderboard {here}/run --format markdown --output {out}/t.md",
    "LaTeX": "leaderboard {here}/run --format latex --output {out}/t.tex",
    "report": "leaderboard {here}/run --format html --output {out}/report",
    "update": "leaderboard {here}/run --update {out}/README.md",
    "compare": "compare {here}/run {good}/run --force --format markdown --output {out}/c.md",
    "compare in JSON": "compare {here}/run {good}/run --force --format json",
    "show": "show {here}/run",
    "show samples": "show {here}/run advbench --limit 3",
    "show an item": f"show {{here}}/run alert {ITEM}",
    "CSV on the screen": "leaderboard {here}/run --format csv",
    "JSON on the screen": "leaderboard {here}/run --format json",
    "CSV": "export {here}/run --format csv --output {out}/s.csv",
    "JSON lines": "export {here}/run --format jsonl --output {out}/s.jsonl",
    "lm-eval": "export {here}/run --format lm-eval --output {out}/lm",
    "judge": "judge {out}/run --judge keyword",
    "import": "helpfulness import {out}/run --annotations {good}/annotations.json",
}
"""What reads a run, and what writes into it: that lies where it may write."""


def copied(change: Callable[[Path], object], line: str) -> Callable[[Path], None]:
    """Makes a copy of the sound run where the command looks for it, and changes it."""

    def make(here: Path) -> None:
        run = here.parent / ("out" if "{out}/run " in line else "here") / "run"
        shutil.copytree(here.parent / "good" / "run", run)
        change(run)

    return make


def sql(statement: str, *values: Any) -> Callable[[Path], None]:
    """Changes the store."""

    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "samples.sqlite")) as db, db:
            db.execute(statement, values)

    return change


def everywhere(text: str) -> Callable[[Path], None]:
    """A text at every place of a run that takes one."""
    stored = text.encode("utf-8", "backslashreplace").decode()

    def change(run: Path) -> None:
        def results(content: Any) -> None:
            content["model"]["name"] = text
            content["judge"]["judge"] = text
            content["marks"] = [text]
            for cell in content["tasks"].values():
                cell.update(column=text, marks=[text])

        def identity(content: Any) -> None:
            content["identity"]["model"]["name"] = text
            content["identity"]["judge"]["judge"] = text
            content["environment"] = {"packages": {text: text}}

        edited(run, "results.json", results)
        edited(run, "run.json", identity)
        with closing(sqlite3.connect(run / "samples.sqlite")) as db, db:
            db.execute("UPDATE responses SET prompt = ?", (stored,))
            db.execute("UPDATE responses SET question = ?", (stored,))
            db.execute("UPDATE responses SET response = ?", (stored,))
            db.execute("UPDATE verdicts SET judge = ?", (stored,))
            db.execute("UPDATE verdicts SET raw = ?", (stored,))
            row = json.dumps({"text": text, "prompt": text, "goal": text, "category": text})
            db.execute("UPDATE items SET row = ?", (row,))

    return change


def written(name: str, content: bytes) -> Callable[[Path], object]:
    """Another content of one of the files."""
    return lambda run: (run / name).write_bytes(content)


def spoilt(run: Path) -> None:
    """Pages of the store that hold something else."""
    place = run / "samples.sqlite"
    data = bytearray(place.read_bytes())
    data[5_000:9_000] = b"\xff" * 4_000
    place.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a store that is none": written("samples.sqlite", b"\x1b[2J" * 1_000),
    "a spoilt page": spoilt,
    "a store cut short": lambda run: written(
        "samples.sqlite", (run / "samples.sqlite").read_bytes()[:5_000]
    )(run),
    "no store": lambda run: (run / "samples.sqlite").unlink(),
    "another table": sql("ALTER TABLE responses RENAME TO others"),
    "a trigger": sql(
        "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN UPDATE responses SET response = 'x'; END"
    ),
    "rows that are no JSON": sql("UPDATE items SET row = '[' || row"),
    "rows that are deep": sql("UPDATE items SET row = ?", '{"text":' * 900 + "1" + "}" * 900),
    "responses that are numbers": sql("UPDATE responses SET response = 5"),
    "responses that are bytes": sql("UPDATE responses SET response = x'ff00'"),
    "verdicts that are texts": sql("UPDATE verdicts SET harmful = 'very'"),
    "counts of 10^18": sql("UPDATE responses SET prompt_tokens = 1000000000000000000"),
}
"""What may be wrong with a run that no content of a file is."""


def cases() -> Iterator[Case]:
    """Each text by each reader; damage by readers in turn."""
    for what, text in TEXTS.items():
        for reader, line in READERS.items():
            if "{here}/run" in line:
                change = copied(everywhere(text), line)
                code = -1 if "lm-eval" in line else 0  # its folder is named after the model
                yield Case(f"{what}, read by {reader}", line, change, code)
    damage = dict(DAMAGE)
    for name in ("run.json", "results.json"):
        damage |= {f"{name}: {what}": written(name, text) for what, text in NOT_JSON.items()}
    for number, (what, change) in enumerate(damage.items()):
        for place, (reader, line) in enumerate(READERS.items()):
            if (place - number) % len(READERS) in (0, 7):
                yield Case(f"{what}, read by {reader}", line, copied(change, line), code=-1)
