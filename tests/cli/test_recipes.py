"""``bfpo-bench recipes``: what there is, and one in whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bfpo_bench.cli.app import app
from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.recipe_file import load_recipe, recipe_names, recipe_text


def test_every_recipe_has_a_line_that_fits() -> None:
    done = CliRunner().invoke(app, ["recipes"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if line} >= set(recipe_names())
    [line] = [line for line in lines if line.startswith("mistral/dpo ")]
    assert " ".join(line.split()) == "mistral/dpo dpo helpful: ultrafeedback; safe: saferlhf"


@pytest.mark.parametrize("name", recipe_names())
def test_what_is_printed_is_the_recipe(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["recipes", name])
    assert done.exit_code == 0
    assert "extends" not in done.stdout
    assert done.stdout.startswith("# ")
    file = tmp_path / "printed.yaml"
    file.write_text(done.stdout, encoding="utf-8")
    assert load_recipe(str(file)) == load_recipe(name)


def test_a_file_of_ones_own_keeps_its_texts_and_steers_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        '# mine \u202e\nextends: toy/dpo\nmethod: "5e-7"\nbase: "\\e[2J2026-01-01 naïve"\n',
        encoding="utf-8",
    )
    text = recipe_text(str(file))
    assert text.isascii()
    assert "\x1b" not in text
    assert text.startswith("# mine \\u202e\nmethod: '5e-7'\n")
    (tmp_path / "again.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(str(tmp_path / "again.yaml")) == load_recipe(str(file))


def test_a_recipe_that_is_none() -> None:
    with pytest.raises(BadInput, match="unknown recipe 'mistral/dpp'; did you mean 'mistral/dpo'"):
        recipe_text("mistral/dpp")
