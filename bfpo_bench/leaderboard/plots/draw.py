"""Pictures of the leaderboard: PNG and SVG, readable in black and white and by the colour-blind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bfpo_bench.leaderboard.rows import Entry


def draw_all(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Draws what there is something to draw of.

    ``pareto`` (Alpaca against Savg.), ``balance`` (answered against harmless), ``tasks`` (every
    score), ``alert`` (harmless responses by category) and ``training`` (curves of runs that hold a
    training record), each as ``.png`` and ``.svg``. Equal entries give equal bytes. Rows that
    failed their check are left out.

    Args:
        folder: made when it is not there.

    Returns:
        the files, in the order above.
    """
    # matplotlib takes a second to load; only who draws waits for it.
    from bfpo_bench.common.figures import drawing, save
    from bfpo_bench.leaderboard.plots import alert, pareto, tasks, training
    from bfpo_bench.leaderboard.plots.style import PALE

    folder.mkdir(parents=True, exist_ok=True)
    sound = [entry for entry in entries if entry.fault is None and entry.kind != "baseline"]
    pictures: dict[str, Callable[[Sequence[Entry]], Figure | None]] = {
        "pareto": pareto.draw,
        "balance": partial(pareto.draw, plane=pareto.BALANCE),
        "tasks": tasks.draw,
        "alert": alert.draw,
        "training": training.draw,
    }
    files: list[Path] = []
    # A dollar in the name of a model is a dollar.
    with drawing(PALE, {"text.parse_math": False}):
        for name, draw in pictures.items():
            figure = draw(sound)
            if figure is not None:
                files += save(figure, folder, name, dpi=150)
    return files
