"""Pictures of the leaderboard: PNG and SVG, readable in black and white and by the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.rows import Entry


def draw_all(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Draws what there is something to draw of.

    ``pareto`` (Alpaca against Savg.), ``tasks`` (every score), ``alert`` (harmless responses by
    category) and ``training`` (curves of runs that hold a training record), each as ``.png`` and
    ``.svg``. Equal entries give equal bytes. Rows that failed their check are left out.

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
    sound = [entry for entry in entries if entry.fault is None]
    files: list[Path] = []
    # A dollar in the name of a model is a dollar.
    with drawing(PALE, {"text.parse_math": False}):
        for picture in (pareto, tasks, alert, training):
            figure = picture.draw(sound)
            if figure is not None:
                files += save(figure, folder, picture.__name__.rpartition(".")[2], dpi=150)
    return files
