"""Tables of the studies in the docs are those of the files that the studies left."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import TypeAdapter

from bfpo_bench.toy_world.study.report import markdown
from bfpo_bench.toy_world.study.runs import Cell

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_miniatures_tables_are_those_of_its_cells() -> None:
    stored = json.loads((RESULTS / "miniature.json").read_text(encoding="utf-8"))
    cells = TypeAdapter(list[Cell]).validate_python(stored["cells"])
    made = table_lines(markdown(cells))
    page = table_lines((ROOT / "docs" / "miniature.md").read_text(encoding="utf-8"))
    assert len(made) > 150  # three regimes of 32 or 33 arms, fronts, controls
    assert [line for line in made if line not in page] == []


def test_the_real_models_tables_are_those_of_its_page() -> None:
    """But for what rows are called, and what is not of the final trainings."""
    page = (ROOT / "docs" / "real-model.md").read_text(encoding="utf-8")
    told = page.split("## Five methods trained on it")[1].split("### What the rate changed")[0]
    rows = [line.strip("|").split("|") for line in table_lines(told)]
    measured = [
        [cell.strip() for cell in row[1:]] for row in rows if re.search(r"\d \[|/ ", row[1])
    ]
    results = (RESULTS / "five-methods-SmolLM2-135M-Instruct.md").read_text(encoding="utf-8")
    stored = [
        [cell.strip() for cell in line.strip("|").split("|")[1:]] for line in table_lines(results)
    ]
    assert len(measured) == 6 + 5  # means of the start and five methods; the five by seed
    assert [row for row in measured if row not in stored] == []
