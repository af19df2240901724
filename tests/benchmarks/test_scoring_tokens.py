"""On whole tasks, scoring computes hardly more tokens than their prefix trees hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scoring_tokens


def columns(page: str) -> dict[str, list[str]]:
    """The cells of each task, by its name."""
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


@pytest.mark.real
def test_short_tasks_compute_at_most_five_percent_more_than_their_trees(
    smollm2: Path, data_dir: Path, tmp_path: Path
) -> None:
    tasks = ("crows_pairs", "ethics_justice", "ethics_virtue", "toxigen", "hhh_alignment")
    arguments = ["--model", str(smollm2), "--data-dir", str(data_dir), "--output", str(tmp_path)]
    assert scoring_tokens.main([*arguments, "--tasks", *tasks]) == 0
    (file,) = tmp_path.glob("scoring-tokens-*.md")
    found = columns(file.read_text(encoding="utf-8"))
    assert found.keys() == set(tasks)
    for items, asked, tree, tiles, _, _, short, _ in found.values():
        least, computed = int(tree.replace(",", "")), int(tiles.replace(",", ""))
        assert int(items.replace(",", "")) >= 221
        assert least <= computed <= 1.05 * least
        assert computed <= int(short.replace(",", "")) <= int(asked.replace(",", ""))
