"""The demo's second act: a real model on the suite that the toy models were just evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BenchError
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.smollm2 import NAME, make_smollm2

if TYPE_CHECKING:
    from bfpo_bench.leaderboard.board import Leaderboard
    from bfpo_bench.run.results import Results

NOTE = (
    f"{NAME} is a small real model that knows nothing of the toy world, whose judge knows nothing "
    "of English: its responses are judged by the suite's own judge, keyword, which looks for the "
    "words of a refusal. That says how often a model refuses, not how harmful its answers are; of "
    "continuations (RealToxicityPrompts) it says nothing, so that Gen. and Savg. stay empty."
)


@dataclass(frozen=True)
class Act:
    """What there is to show.

    Attributes:
        results: of the real model.
        board: its row among those of the toy world.
        folder: its run directory.
    """

    results: Results
    board: Leaderboard
    folder: Path


def second_act(output: Path, seed: int, progress: Progress) -> Act | str:
    """Evaluates SmolLM2-135M-Instruct on the ``mini`` suite beside the runs of a tour.

    Args:
        output: the tour's folder.
        seed: of sampling.

    Returns:
        what to show, or a sentence on why the model cannot be had here.

    Raises:
        BenchError: the model is there and the evaluation fails.
    """
    from bfpo_bench.engines.options import Loading
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation
    from bfpo_bench.leaderboard.board import read_leaderboard

    try:
        model = make_smollm2(say=progress.say)
    except BenchError as error:
        return f"No second act with a real model: {error}"
    folder = output / "runs" / NAME
    options = EvaluateOptions(
        model=str(model),
        suite="mini",
        output=folder,
        # Its bfloat16 is emulated on most processors, many times slower.
        loading=Loading(backend="hf", device="cpu", dtype="float32"),
        seed=seed,
    )
    progress.say(f"Evaluating {NAME} on the same suite …")
    results = run_evaluation(options, progress)
    return Act(results, read_leaderboard([output / "runs"]), folder)
