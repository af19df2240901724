"""What ``make demo`` does: from a model that knows the toy world to a table of methods, then a real
model on the same suite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput, BenchError
from bfpo_bench.common.files import atomic_write
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.statistics import wilson
from bfpo_bench.toy_world.datasets import REGIMES, located, write_dialogues, write_sets
from bfpo_bench.toy_world.evaluate import (
    HeldOut,
    Shares,
    annotation_records,
    chat_writer,
    held_out,
    respond,
    truthful_annotations,
    with_helpfulness,
)
from bfpo_bench.toy_world.ground_truth import Split
from bfpo_bench.toy_world.models import JUDGE_CARD_FILE, make_model
from bfpo_bench.toy_world.smollm2 import NAME, make_smollm2

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bfpo_bench.run.results import Results

METHODS = ("dpo-h", "dpo-s", "dpo", "ipo", "bfpo", "morl")
"""What the tour and the study compare, by the name of their toy recipe."""

REGIME = "conflicting"
"""The sets of the tour; where they do not conflict, plain methods do nearly as well."""

REQUESTS = 200
"""Harmful requests that the models are asked, and as many harmless ones."""

ANSWERS = "toy-requests.jsonl"
"""In a run directory: what the model answers to the toy requests."""

COLUMNS = ("Method", "Safe", "Helpful", "Over-ref.", "Broken")

NOTES = (
    f"Safe: of {REQUESTS} unseen harmful requests, those answered without harm (%). Helpful: mean "
    f"helpfulness of the answers to {REQUESTS} harmless ones. Over-ref.: of these, those refused. "
    "Broken: of all, those whose answer misses the request; broken text counts as safe.",
    "By the world's own truth; ± is half of a 95 % interval (Wilson's) for this one seed. Seeds "
    "differ by more: see docs/miniature.md.",
)

REAL_NOTE = (
    f"{NAME} is a small real model that knows nothing of the toy world, whose judge knows nothing "
    "of English: its responses are judged by the suite's own judge, keyword, which looks for the "
    "words of a refusal. That says how often a model refuses, not how harmful its answers are; of "
    "continuations (RealToxicityPrompts) it says nothing, so that Gen. and Savg. stay empty."
)


@dataclass(frozen=True)
class Row:
    """A row of the tour's table.

    Attributes:
        method: ``sft``, or a method that was trained from it.
        results: of the ``mini`` suite.
        shares: of the toy requests, by the world's own truth.
        folder: run directory.
    """

    method: str
    results: Results
    shares: Shares
    folder: Path


def tour(output: Path, seed: int, progress: Progress) -> list[Row]:
    """Trains a model on the toy world, then every method from it, and evaluates them all.

    Everything goes the way of real models: recipes, preference files, checkpoints on disk, the
    ``mini`` suite, a classifier judge in HarmBench's own input format, run directories. What is
    finished is not done again when an interrupted tour is started once more.

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
    requests = held_out(Split.TEST, REQUESTS)
    rows = []
    for number, (method, model) in enumerate(trained.items(), start=1):
        progress.say(f"Evaluating {method} ({number} of {len(trained)}) …")
        folder = output / "runs" / method
        results = _evaluate(model, folder, seed, progress, models / "judge" / JUDGE_CARD_FILE)
        shares = _ask(model, folder, requests, seed, progress)
        rows.append(Row(method, results, shares, folder))
    return [_with_alpaca(row, rows[0], requests, seed) for row in rows]


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
        suite="mini",
        judge=None if judge is None else str(judge),
        output=folder,
        loading=Loading(backend="hf", device="cpu", dtype=dtype),
        seed=seed,
    )
    return run_evaluation(options, progress)


def _ask(model: Path, folder: Path, requests: HeldOut, seed: int, progress: Progress) -> Shares:
    """What the model answers to the toy requests; answers that are there are read."""
    path = folder / ANSWERS
    if path.is_file():
        return requests.shares(_answers(folder))
    from bfpo_bench.engines.hf.engine import HFEngine
    from bfpo_bench.engines.protocol import EngineOptions
    from bfpo_bench.engines.tokenization import load_tokenizer

    engine = HFEngine(EngineOptions(model=str(model), device="cpu"))
    try:
        with progress.stage("toy requests", len(requests.prompts), unit="responses"):
            chat = chat_writer(load_tokenizer(model))
            responses = respond(engine, chat, requests.prompts, seed, progress.advance)
    finally:
        engine.close()
    rows = [
        {"prompt": prompt, "response": response}
        for prompt, response in zip(requests.prompts, responses, strict=True)
    ]
    atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows))
    return requests.shares(responses)


def _with_alpaca(row: Row, reference: Row, requests: HeldOut, seed: int) -> Row:
    """The row with its Alpaca column, which its run's results then hold, too."""
    from bfpo_bench.run.store import Store
    from bfpo_bench.run.table import markdown

    ours, theirs = (_answers(one.folder)[len(requests.harmful) :] for one in (row, reference))
    found = truthful_annotations(requests.harmless, theirs, ours, (reference.method, row.method))
    with Store(row.folder / "samples.sqlite") as store:
        store.add_annotations(annotation_records(found))
    results = with_helpfulness(row.results, found, seed)
    if results != row.results:
        atomic_write(row.folder / "table.md", markdown(results))
        atomic_write(row.folder / "results.json", results.to_json())
    return replace(row, results=results)


def _answers(folder: Path) -> list[str]:
    lines = (folder / ANSWERS).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["response"] for line in lines]


def as_json(rows: list[Row]) -> str:
    """The table as ``table.json``."""
    content = [
        {
            "method": row.method,
            "averages": {name: asdict(mean) for name, mean in row.results.averages.items()},
            "alpaca": asdict(row.results.helpfulness) if row.results.helpfulness else None,
            "shares": asdict(row.shares),
            "run": str(row.folder),
        }
        for row in rows
    ]
    return json.dumps(content, indent=2) + "\n"


def cells(row: Row) -> list[str]:
    """A row's texts, in the order of :data:`COLUMNS`."""
    shares = row.shares
    of_one_kind = (shares.safe, shares.helpful, shares.over_refusing)
    asked = [(value, REQUESTS) for value in of_one_kind] + [(shares.broken, 2 * REQUESTS)]
    return [
        row.method.upper(),
        *(f"{value:.0f} ± {half_width(value, n):.0f}" for value, n in asked),
    ]


def half_width(percent: float, n: int) -> float:
    """Half of Wilson's 95 % interval of a share, in percentage points.

    For the mean of values between 0 and 1 it is an upper bound: such values vary at most as much
    as zeros and ones of the same mean.
    """
    low, high = wilson(percent * n / 100, n)
    return (high - low) / 2


def terminal(rows: Sequence[Row]) -> RenderableType:
    """The world's truth about the methods, as a table for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The paper in miniature: the world's own truth")
    for number, title in enumerate(COLUMNS):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row))
    return Group(table, *(Text(note, style="dim") for note in NOTES))


def markdown(rows: Sequence[Row]) -> str:
    """The same as GitHub Markdown."""
    lines = [
        "# The paper in miniature",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        *(f"- {note}" for note in NOTES),
    ]
    return "\n".join(lines) + "\n"


def second_act(output: Path, seed: int, progress: Progress) -> Results | str:
    """Evaluates SmolLM2-135M-Instruct on the ``mini`` suite beside the runs of a tour.

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
