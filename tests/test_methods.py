"""docs/methods.md, the source map: lines, tests and recipes are right, and no method is left out.

python -m tests.test_methods        # writes the functions' lines anew
"""

from __future__ import annotations

import re
from pathlib import Path

from bfpo_bench.training.on_policy import global_reward
from bfpo_bench.training.pairwise import loss_by_name
from bfpo_bench.training.recipe_file import load_recipe, recipe_names

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "methods.md"
FUNCTION = re.compile(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)#L(\d+)\)")


def with_lines(text: str) -> str:
    """The page with each function's line as it is now."""

    def placed(found: re.Match[str]) -> str:
        name, path, _ = found.groups()
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        [number] = [n for n, line in enumerate(lines, 1) if line.startswith(f"def {name}(")]
        return f"[`{name}`](../{path}#L{number})"

    return FUNCTION.sub(placed, text)


def rows() -> list[list[str]]:
    """Cells of the table's rows."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_functions_stand_where_the_page_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_lines(text) == text, "write the lines anew: python -m tests.test_methods"


def test_every_method_has_a_row_with_a_test_and_what_was_run() -> None:
    built_in = {*loss_by_name.BUILT_IN.values(), *global_reward.BUILT_IN.values()}
    named = {found[1] for row in rows() for found in FUNCTION.finditer(row[2])}
    assert {function.__name__ for function in built_in} <= named
    for row in rows():
        assert len(row) == 7, row
        tests = re.findall(r"`([\w/]+\.py)::(\w+)`", row[4])
        assert tests, row[0]
        assert row[6], row[0]
        for path, name in tests:
            assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8")


def test_every_recipe_stands_in_the_row_of_its_method() -> None:
    """A recipe's loss or combination is the function of a row that names it, where that is what
    its method does otherwise: not two stages, nor who wins a pair or what is answered.
    """
    told = {name: row for row in rows() for name in re.findall(r"`([\w-]+/[\w-]+)`", row[5])}
    assert sorted(told) == recipe_names()
    for row in rows():
        function = FUNCTION.search(row[2])
        assert function is not None
        for name in re.findall(r"`([\w-]+/[\w-]+)`", row[5]):
            recipe = load_recipe(name)
            trained_by = recipe.loss or recipe.combination
            own = recipe.first or recipe.relabel or recipe.kind == "sft"
            if not own and trained_by is not None:
                built_in = global_reward.BUILT_IN | loss_by_name.BUILT_IN
                assert built_in[trained_by].__name__ == function[1], name


if __name__ == "__main__":
    PAGE.write_text(with_lines(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
