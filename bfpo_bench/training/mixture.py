"""The result of two stages as a mixture of both (P-SACPO: Wachi et al. 2024, arXiv 2404.11049)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import remove
from bfpo_bench.common.progress import Progress
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.models.merge import merge_models
from bfpo_bench.training.output import (
    FIRST,
    RECORD,
    SAVED,
    SECOND,
    STARTED,
    clear_output,
    finish_output,
    is_finished,
    read_record,
    write_json,
)
from bfpo_bench.training.recipe import Recipe


def mix_stages(
    recipe: Recipe, record: dict[str, Any], output: Path, progress: Progress
) -> dict[str, Any]:
    """Puts the mixture of two trained stages into the output that they lie in.

    Args:
        record: ``training.json`` of the second stage.

    Returns:
        the same with the whole recipe, a note, and under ``merge`` what was mixed.

    Raises:
        BadInput: the output holds another mixture.
    """
    q = recipe.merge or 0.0
    if is_finished(output):
        before = read_record(output / RECORD)
        if before.get("merge", {}).get("q") != q:
            raise BadInput(
                f"{output} holds a finished training already, with another merge; mix its stages "
                f"with bfpo-bench merge {output / FIRST} {output / SECOND}, or name another folder "
                "with --output."
            )
        clear_output(output)
        return before
    write_json(output / STARTED, {"recipe": recipe.as_dict()})
    remove(output / SAVED)
    models = [find_model(str(output / stage)) for stage in (FIRST, SECOND)]
    mixture = merge_models(models[0], models[1], q, output / SAVED, progress)
    note = f"The weights are (1 - q) · {FIRST} + q · {SECOND} with q = {q:g}."
    whole = {**record, "recipe": recipe.as_dict(), "notes": [*record["notes"], note]}
    finish_output(output, {**whole, "merge": mixture})
    return {**whole, "merge": mixture}
