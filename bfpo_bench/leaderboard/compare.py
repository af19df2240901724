"""Are two models different? Paired, item by item, on the items that both have answered.

Differences are of the other model minus the first, each with the interval and p-value of one test
(:mod:`bfpo_bench.leaderboard.stats.paired`): McNemar's exact one where items come singly and are
right or wrong, and elsewhere a paired bootstrap (:mod:`bfpo_bench.common.statistics`), in which an
item, or a group of items, takes the answers of both models along; averages are resampled within
their tasks. p-values are given as they are and corrected by Holm (1979): the averages of all pairs
together, and the tasks of all pairs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.comparable import open_models
from bfpo_bench.leaderboard.comparison import MARGIN, Comparison, Pair, corrected
from bfpo_bench.leaderboard.differences import JUDGED, items_left_out, paired_columns
from bfpo_bench.leaderboard.stats.paired import difference


def compare_runs(
    paths: Sequence[Path],
    *,
    force: bool = False,
    margin: float = MARGIN,
    judge: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares runs with the first one.

    Args:
        paths: run directories, or folders with the runs of one model, or of one training, under
            several seeds, whose values count by their mean.
        force: compare also what was measured differently.
        margin: so many percentage points count as alike.
        judge: use this judge's verdicts.
        seed: of the bootstrap.

    Raises:
        BadInput: fewer than two, no finished run, one that fails its check, runs measured
            differently (unless forced), nothing in common, or samples that are not at hand.
    """
    if len(paths) < 2:
        raise BadInput("a comparison needs two runs at least; name another one.")
    if not 0 < margin < 100:
        raise BadInput(f"--margin is in percentage points, above 0 and below 100, not {margin:g}.")
    opened = open_models(paths, judge)
    if opened.warnings and not force:
        raise BadInput(
            f"these runs were not measured alike ({'; '.join(opened.warnings)}); compare runs that "
            "were, or use --force to do it all the same."
        )
    first, names = opened.models[0], opened.names
    found = [
        paired_columns(first, other, seed, (paths[0], path))
        for path, other in zip(paths[1:], opened.models[1:], strict=True)
    ]
    remarks = [*opened.remarks, *dict.fromkeys(remark for _, said in found for remark in said)]
    for path, other, (paired, _) in zip(paths[1:], opened.models[1:], found, strict=True):
        left_out = items_left_out(first, other, paired)
        remarks += [f"{paths[0]} and {path}: {what}" for what in left_out]
    drafts = [[difference(one) for one in paired] for paired, _ in found]
    pairs = tuple(
        Pair(names[0], name, settled, margin)
        for name, settled in zip(names[1:], corrected(drafts, margin), strict=True)
    )
    judged = any(d.group in JUDGED for draft in drafts for d in draft)
    return Comparison(pairs, opened.warnings, tuple(remarks), opened.verdicts if judged else None)
