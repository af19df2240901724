"""How safe and how helpful is a language model? The benchmark of the BFPO paper in one command.

    import bfpo_bench

    results = bfpo_bench.evaluate("path/to/model", suite="mini", judge="keyword")
    print(results)

Importing this package costs nothing: torch and transformers are loaded when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pandas import DataFrame

    from bfpo_bench.leaderboard.board import Leaderboard
    from bfpo_bench.run.results import Results

__version__ = "0.2.0.dev0"

__all__ = ["evaluate", "leaderboard", "samples", "sweep", "train"]


def evaluate(model: str, **options: Any) -> Results:
    """Evaluates a model on a suite and returns its results, as ``bfpo-bench evaluate`` does.

    Args:
        model: checkpoint folder or hub id.
        **options: any field of :class:`bfpo_bench.evaluation.options.EvaluateOptions`, e.g.
            ``suite="mini"``, ``judge="keyword"``, ``output=Path("runs/mine")``, ``limit=100``,
            ``progress=True`` to show bars on standard error.

    Returns:
        what also stands in ``results.json`` of the run directory.

    Raises:
        bfpo_bench.common.errors.BadInput: something asked for cannot be had.
        bfpo_bench.common.errors.RunFailed: the run stopped on the way; call again to go on.
    """
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation
    from bfpo_bench.evaluation.tracked import report_results

    progress = Progress(bool(options.pop("progress", False)))
    wanted = EvaluateOptions(str(model), **options)
    results = run_evaluation(wanted, progress)
    report_results(wanted, results, progress)
    return results


def leaderboard(*runs: Any, **options: Any) -> Leaderboard:
    """Puts runs into one table; see :func:`bfpo_bench.leaderboard.leaderboard`.

    The first call imports the package of the same name, which takes this function's place and does
    the same when it is called.
    """
    from bfpo_bench.leaderboard import leaderboard as read

    return read(*runs, **options)


def samples(run: str | Path) -> DataFrame:
    """The samples of a run as a flat pandas frame; see :func:`bfpo_bench.export.tables.samples`."""
    from bfpo_bench.export.tables import samples as read

    return read(run)


def sweep(*models: str | Path, output: str | Path = "runs", **options: Any) -> Leaderboard:
    """Evaluates many models and puts them into one table, as ``bfpo-bench sweep`` does.

    Args:
        *models: folders, globs, hub ids, and YAML files that list such with options of their own.
        output: folder of the run directories.
        **options: any field of :class:`bfpo_bench.sweeps.options.SweepOptions`, e.g.
            ``executor="ray"``, ``gpus=2``, and of
            :class:`bfpo_bench.evaluation.options.EvaluateOptions` but ``model``, ``output`` and
            ``fresh``; ``progress=True`` to show what the evaluations say on standard error.

    Returns:
        the table; a model that failed has a row that says why, and ``problems`` names it.

    Raises:
        bfpo_bench.common.errors.BadInput: something asked for cannot be had; nothing was run.
        bfpo_bench.common.errors.RunFailed: jobs cannot be submitted; call again to go on.
    """
    from pathlib import Path

    from bfpo_bench.common.options import named
    from bfpo_bench.common.progress import Progress
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.sweeps.options import SweepOptions
    from bfpo_bench.sweeps.run import run_sweep

    show = bool(options.pop("progress", False))
    how = {name: options.pop(name) for name in named(SweepOptions).keys() & options.keys()}
    common = EvaluateOptions("", **options)
    return run_sweep(
        [str(model) for model in models], common, SweepOptions(**how), Path(output), Progress(show)
    )


def train(
    recipe: str | Path,
    output: str | Path,
    model: str | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    progress: bool = False,
) -> dict[str, Any]:
    """Trains a model by a recipe, as ``bfpo-bench train`` does.

    Args:
        recipe: name (``"mistral/bfpo"``) or path of a YAML file.
        output: folder for the checkpoint.
        model: folder or hub id to start from, instead of the recipe's.
        changes: ``"key=value"`` of the recipe, as for ``--set``.
        progress: show bars on standard error.

    Returns:
        the content of ``training.json``.

    Raises:
        bfpo_bench.common.errors.BadInput: something asked for cannot be had.
        bfpo_bench.common.errors.RunFailed: the training broke off; call again to go on.
    """
    from pathlib import Path

    from bfpo_bench.common.progress import Progress
    from bfpo_bench.training.recipe_file import load_recipe
    from bfpo_bench.training.train import train as run

    wanted = load_recipe(str(recipe), changes, model)
    return run(wanted, Path(output), Progress(progress), device)
