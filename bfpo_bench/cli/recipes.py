"""``bfpo-bench recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app

EXAMPLE = """
Examples:

  bfpo-bench recipes

  bfpo-bench recipes mistral/dpo > my-dpo.yaml

  bfpo-bench train --recipe my-dpo.yaml --model ./my-sft --output models/my-dpo

docs/training.md says what the keys of a recipe mean.
"""
_KINDS = {
    "preference": "pairwise losses on preference pairs (docs/losses.md)",
    "sft": "supervised fine-tuning on conversations (docs/training.md)",
    "reward": "on-policy, the model's own responses are rewarded (docs/rewards.md)",
}


app = command_app()


@app.command(epilog=EXAMPLE)
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Recipe to print, by name or path of a YAML file.")
    ] = None,
) -> None:
    """List the recipes of the package, or print one with all that it extends."""
    from bfpo_bench.common.text import visible
    from bfpo_bench.training.recipe_file import recipe_text

    if name is not None:
        typer.echo(visible(recipe_text(name)), nl=False)
        return
    for line in _listed():
        typer.echo(line)


def _listed() -> list[str]:
    """The recipes by kind: name, method, and what is made of which set."""
    import textwrap

    from bfpo_bench.training.recipe_file import load_recipe, recipe_names

    found = {name: load_recipe(name) for name in recipe_names()}
    # As wide as a folder's recipes need, or the longest of all would push lines over 80 columns.
    wide: dict[str, tuple[int, int]] = {}
    for name, recipe in found.items():
        folder = name.partition("/")[0]
        most = wide.get(folder, (0, 0))
        wide[folder] = max(len(name), most[0]), max(len(recipe.method), most[1])
    first, second = min(wide.values())
    lines = [f"{'Recipe':{first}}  {'Method':{second}}  Trains on"]
    for kind, told in _KINDS.items():
        lines += ["", f"kind {kind}: {told}"]
        for name, recipe in found.items():
            if recipe.kind == kind:
                sets: dict[str, list[str]] = {}
                for one in (one for stage in recipe.stages for one in stage.data):
                    sets.setdefault(one.pairs, []).append(one.name)
                data = "; ".join(f"{pairs}: {', '.join(some)}" for pairs, some in sets.items())
                first, second = wide[name.partition("/")[0]]
                begun = f"{name:{first}}  {recipe.method:{second}}  "
                lines += textwrap.wrap(begun + data, 80, subsequent_indent=" " * len(begun))
    return [
        *lines,
        "",
        "Before a colon: which response wins, or what is taken of the sets behind it.",
        "One in whole: bfpo-bench recipes NAME. Train: bfpo-bench train --recipe NAME.",
    ]
