"""``bfpo-bench merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bfpo_bench.cli.command import command_app

EXAMPLE = """
Examples:

  bfpo-bench merge models/sacpo/first models/sacpo --q 0.3 --output models/p-sacpo

  bfpo-bench merge models/sacpo/first models/sacpo --q 0.25,0.5,0.75 --output models/front
"""


app = command_app()


@app.command(epilog=EXAMPLE)
def merge(
    first: Annotated[str, typer.Argument(help="Model with the share 1 - q: folder or hub id.")],
    second: Annotated[str, typer.Argument(help="Model with the share q.")],
    q: Annotated[str, typer.Option(help="Share of the second, 0 to 1; several with commas.")],
    output: Annotated[
        Path, typer.Option(help="New folder for the model; of several q one folder each in it.")
    ],
) -> None:
    """Mix two models of one architecture: (1 - q) times the first's weights, q times the second's.

    Both must have been trained from the same model. Weights are read and written in blocks, so
    that models of any size need little memory. Of several q, what is there already is kept.
    """
    from bfpo_bench.cli.terminal import say
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.models.checkpoint import find_model
    from bfpo_bench.models.merge import RECORD, check_share, merge_models

    shares = _shares(q)
    for share in shares:
        check_share(share)
    one, other = find_model(first), find_model(second)
    progress = Progress()
    for share in shares:
        said = _written(share)
        folder = output if len(shares) == 1 else output / f"q-{said}"
        merge_models(one, other, share, folder, progress)
        say(f"The model at q = {said} is in {folder}; {RECORD} in it says what it is made of.")


def _written(share: float) -> str:
    """A share in as few digits as say which it is: no two of a front have one folder."""
    short = f"{share:g}"
    return short if float(short) == share else repr(share)


def _shares(text: str) -> list[float]:
    from bfpo_bench.common.errors import BadInput

    try:
        # abs, for -0 is the same as 0.
        numbers = (float(one) for one in text.split(","))
        return list(dict.fromkeys(abs(one) if one == 0 else one for one in numbers))
    except ValueError:
        raise BadInput(
            f"--q takes numbers from 0 to 1 with commas between them, such as 0.25,0.5, not "
            f"{text!r}."
        ) from None
