"""What ``make demo`` does: from a model that knows the toy world to a table of methods, then a real
model on the same suite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput, BenchError
from bfpo_bench.common.files import atomic_write
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.datasets import REGIMES, located, write_dialogues, write_sets
from bfpo_bench.toy_world.evaluate import (
    annotation_records,
    truthful_annotations,
    with_helpfulness,
)
from bfpo_bench.toy_world.ground_truth import verdict
from bfpo_bench.toy_world.models import JUDGE_CARD_FILE, make_model
from bfpo_bench.toy_world.smollm2 import NAME, make_smollm2

if TYPE_CHECKING:
    from bfpo_bench.run.results import Results

METHODS = ("dpo-h", "dpo-s", "dpo", "ipo", "bfpo", "morl")
"""What the tour and the study compare, by the name of their toy recipe."""

REGIME = "conflicting"
"""The sets of the tour; where they do not conflict, plain methods do nearly as well."""

SUITE = "mini+mini-balance"

NOTE = (
    "Harm.: of harmful requests of the toy world that no training has seen, those answered without "
    "harm (%). Answ.: of harmless ones that look like them, those that are not refused. Alpaca: "
    "how often an answer to these is more helpful than sft's, by the world's own truth. A model "
    "that refuses everything has Harm. 100, and one whose text is broken has both: look at all "
    "three. One seed; seeds differ by ten points and more, see docs/miniature.md."
)

REAL_ITEMS = 8
"""Of each task that the real model is asked: its answers take minutes, the toy's seconds."""

REAL_NOTE = (
    f"{NAME} is a small real model that knows nothing of the toy world, whose judge knows nothing "
    "of English: its responses are judged by the suite's own judge, keyword, which looks for the "
    "words of a refusal. That says how often a model refuses, not how harmful its answers are; of "
    "continuations (RealToxicityPrompts) it says nothing, so that Gen. and Savg. stay empty. It is "
    f"asked {REAL_ITEMS} items of each task, because it is slow on a processor."
)


@dataclass(frozen=True)
class Row:
    """A row of the tour's table.

    Attributes:
        method: ``sft``, or a method that was trained from it.
        results: of the suite.
        folder: run directory.
    """

    method: str
    results: Results
    folder: Path


def tour(output: Path, seed: int, progress: Progress) -> list[Row]:
    """Trains a model on the toy world, then every method from it, and evaluates them all.

    Everything goes the way of real models: recipes, preference files, checkpoints on disk, the
    suites ``mini`` and ``mini-balance``, a classifier judge in WildGuard's own format that says
    what is harmful and what is refused, run directories. What is finished is not done again when
    an interrupted tour is started once more.

    Args:
        output: folder for ``models/``, ``data/`` and ``runs/``.
        seed: of data, training and sampling.

    Returns:
        a row for the fine-tuned model and one for each method.

    Raises:
        BadInput: the folder holds a tour with another seed or of another version.
    """
    import torch

    check_folder(output, seed)
    threads = torch.get_num_threads()
    # A second thread gains such small matrices nothing, and waits for the first where another
    # program wants its core.
    torch.set_num_threads(1)
    try:
        return _tour(output, seed, progress)
    finally:
        torch.set_num_threads(threads)


def _tour(output: Path, seed: int, progress: Progress) -> list[Row]:
    models = output / "models"
    for name in ("judge", "base"):
        make_model(name, models / name, seed, progress=progress)
    data = output / "data"
    write_sets(data, REGIMES[REGIME], seed)
    write_dialogues(data, seed)
    start = _train("sft", models / "base", models / "sft", data, seed, progress)
    trained = {"sft": start} | {
        method: _train(method, start, models / method, data, seed, progress) for method in METHODS
    }
    rows = []
    for number, (method, model) in enumerate(trained.items(), start=1):
        progress.say(f"Evaluating {method} ({number} of {len(trained)}) …")
        folder = output / "runs" / method
        results = _evaluate(model, folder, seed, progress, models / "judge" / JUDGE_CARD_FILE)
        rows.append(Row(method, results, folder))
    return [_with_alpaca(row, rows[0], seed) for row in rows]


def check_folder(output: Path, seed: int) -> None:
    """The folder can be written, and no model in it is of another seed.

    Raises:
        BadInput: otherwise; nothing in the folder was touched.
    """
    from bfpo_bench.training.output import RECORD

    try:
        output.mkdir(parents=True, exist_ok=True)
        records = sorted((output / "models").glob(f"*/{RECORD}"))
    except OSError as error:
        raise BadInput(
            f"the tour cannot be written into {output} ({error.strerror}); name a folder with "
            "--output."
        ) from error
    for path in records:
        found = json.loads(path.read_text(encoding="utf-8"))["recipe"]["seed"]
        if found != seed:
            raise BadInput(
                f"{output} holds a tour with --seed {found}, not {seed}; go on with that one or "
                "name another --output."
            )


def _train(name: str, base: Path, output: Path, data: Path, seed: int, progress: Progress) -> Path:
    """A checkpoint by a toy recipe; a finished one is read."""
    from bfpo_bench.training.recipe_file import load_recipe
    from bfpo_bench.training.train import train

    progress.say(f"Training {name} by the recipe toy/{name} …")
    recipe = located(load_recipe(f"toy/{name}", [f"seed={seed}"], base=str(base)), data)
    train(recipe, output, progress, device="cpu")
    return output


def _evaluate(
    model: Path, folder: Path, seed: int, progress: Progress, judge: Path | None = None
) -> Results:
    from bfpo_bench.engines.options import Loading
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation

    # SmolLM2's bfloat16 is emulated on most processors, many times slower.
    dtype = "auto" if judge else "float32"
    options = EvaluateOptions(
        model=str(model),
        suite=SUITE,
        judge=None if judge is None else str(judge),
        output=folder,
        limit=None if judge else REAL_ITEMS,
        loading=Loading(backend="hf", device="cpu", dtype=dtype),
        seed=seed,
    )
    return run_evaluation(options, progress)


def _with_alpaca(row: Row, reference: Row, seed: int) -> Row:
    """The row with its Alpaca column, which its run's results then hold, too: what it answers to
    the benign look-alikes against what the reference answers."""
    from bfpo_bench.run.store import Store
    from bfpo_bench.run.table import markdown

    benign = [name for name, task in row.results.tasks.items() if task.group == "answ"]
    with Store(reference.folder / "samples.sqlite", read_only=True) as store:
        theirs = [one.response for task in benign for one in store.responses(task)]
    with Store(row.folder / "samples.sqlite") as store:
        asked = [one for task in benign for one in store.responses(task)]
        found = truthful_annotations(
            [one.question for one in asked],
            theirs,
            [one.response for one in asked],
            (reference.method, row.method),
        )
        store.add_annotations(annotation_records(found))
    results = with_helpfulness(row.results, found, seed)
    if results != row.results:
        atomic_write(row.folder / "table.md", markdown(results))
        atomic_write(row.folder / "results.json", results.to_json())
    return replace(row, results=results)


def judged_rightly(rows: Sequence[Row]) -> str:
    """How often the toy judge's verdicts are the world's own truth, as a sentence."""
    from bfpo_bench.run.store import Store

    harm, refusal = [], []
    for row in rows:
        with Store(row.folder / "samples.sqlite", read_only=True) as store:
            for task in row.results.tasks:
                asked = {one.item: one for one in store.responses(task)}
                for said in store.verdicts(task, str(row.results.judges.harm)):
                    true = verdict(asked[said.item].question, asked[said.item].response)
                    harm.append(said.harmful == true.harmful)
                    refusal.append(said.refusal == true.refusal)
    right = [f"{100 * sum(some) / len(some):.1f} %" for some in (harm, refusal)]
    return (
        f"The verdicts on the methods are the toy judge's. By the world's own truth {right[0]} of "
        f"its {len(harm)} on harm are right, and {right[1]} of those on refusals."
    )


def second_act(output: Path, seed: int, progress: Progress) -> Results | str:
    """Evaluates SmolLM2-135M-Instruct on the same suite beside the runs of a tour.

    Args:
        output: the tour's folder.
        seed: of sampling.

    Returns:
        its results, or a sentence on why the model cannot be had here.

    Raises:
        BenchError: the model is there and the evaluation fails.
    """
    try:
        model = make_smollm2(say=progress.say)
    except BenchError as error:
        return f"No second act with a real model: {error}"
    progress.say(f"Evaluating {NAME} on the same suite …")
    return _evaluate(model, output / "runs" / NAME, seed, progress)
