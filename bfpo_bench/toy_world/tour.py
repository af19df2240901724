"""The tour that ``make demo`` takes: from a model that knows the world to a table of methods."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world.base import make_base
from bfpo_bench.toy_world.examples import target_example
from bfpo_bench.toy_world.ground_truth import Split
from bfpo_bench.toy_world.measure import HeldOut, Shares, chat_writer, held_out, respond
from bfpo_bench.toy_world.methods import METHODS
from bfpo_bench.toy_world.models import JUDGE_CARD_FILE, make_judge
from bfpo_bench.toy_world.preferences import REGIMES, located, write_sets
from bfpo_bench.toy_world.truth import annotation_records, truthful_annotations, with_helpfulness

if TYPE_CHECKING:
    from bfpo_bench.run.results import Results
    from bfpo_bench.training.recipe import Recipe

REGIME = "conflicting"
"""The sets of the tour; where they do not conflict, plain methods do nearly as well."""

REQUESTS = 200
"""Harmful requests that the models are asked, and as many harmless ones."""

DIALOGUES = 4000

ANSWERS = "toy-requests.jsonl"
"""In a run directory: what the model answers to the toy requests."""


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
    _make_models(models, seed, progress)
    data = _write_data(output / "data", seed)
    start = _train("sft", models / "base", models / "sft", data, seed, progress)
    trained = {"sft": start} | {
        method: _train(method, start, models / method, data, seed, progress) for method in METHODS
    }
    requests = held_out(Split.TEST, REQUESTS)
    rows = []
    for number, (method, model) in enumerate(trained.items(), start=1):
        progress.say(f"Evaluating {method} ({number} of {len(trained)}) …")
        folder = output / "runs" / method
        results = _evaluate(model, folder, models / "judge" / JUDGE_CARD_FILE, seed, progress)
        shares = _ask(model, folder, requests, seed, progress)
        rows.append(Row(method, results, shares, folder))
    return [_with_alpaca(row, rows[0], requests, seed) for row in rows]


def check_folder(output: Path, seed: int) -> None:
    """The folder can be written, and no model in it is of another seed.

    Raises:
        BadInput: otherwise; nothing in the folder was touched.
    """
    from bfpo_bench.training.checkpoint import RECORD

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


def _make_models(models: Path, seed: int, progress: Progress) -> None:
    for title, name, make in (
        ("train the judge", "judge", make_judge),
        ("train the base model", "base", make_base),
    ):
        with progress.stage(title, 1, unit="updates"):

            def report(done: int, total: int, loss: float) -> None:
                progress.set(done, total, f"loss {loss:.3f}")

            make(models / name, seed=seed, progress=report)


def _write_data(folder: Path, seed: int) -> Path:
    """Preference sets and dialogues; the same seed writes the same files."""
    write_sets(folder, REGIMES[REGIME], seed)
    write_dialogues(folder, seed)
    return folder


def write_dialogues(folder: Path, seed: int) -> None:
    """Writes ``dialogues.jsonl`` into an existing folder: what the recipe ``toy/sft`` trains on."""
    rng = random.Random(f"dialogues {seed}")
    lines: list[str] = []
    while len(lines) < DIALOGUES:
        example = target_example(rng)
        if example.chat:
            said = (("user", example.prompt), ("assistant", example.response))
            messages = [{"role": role, "content": content} for role, content in said]
            lines.append(json.dumps({"messages": messages}) + "\n")
    (folder / "dialogues.jsonl").write_text("".join(lines), encoding="utf-8")


def _train(name: str, base: Path, output: Path, data: Path, seed: int, progress: Progress) -> Path:
    """A checkpoint by a toy recipe, unless it is there already."""
    from bfpo_bench.training.recipe_file import load_recipe

    recipe = located(load_recipe(f"toy/{name}", [f"seed={seed}"], base=str(base)), data)
    if not is_trained(output, recipe):
        from bfpo_bench.training.train import train

        progress.say(f"Training {name} by the recipe toy/{name} …")
        train(recipe, output, progress, device="cpu")
    return output


def is_trained(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder holds what a recipe makes of its base model.

    Raises:
        BadInput: it holds what another recipe or another base made.
    """
    from bfpo_bench.models.checkpoint import find_model
    from bfpo_bench.models.fingerprint import weight_fingerprint
    from bfpo_bench.training.checkpoint import RECORD
    from bfpo_bench.training.identity import differences

    path = folder / RECORD
    if not path.is_file():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    weights = weight_fingerprint(find_model(str(recipe.base)).weights)
    made_of = {"recipe": record["recipe"], "weights": record["base"]["weights"]}
    if differences(made_of, {"recipe": recipe.as_dict(), "weights": weights}):
        raise BadInput(
            f"{folder} was trained by another recipe, from another base or with another seed; "
            "delete it or name another --output."
        )
    return True


def _evaluate(model: Path, folder: Path, judge: Path, seed: int, progress: Progress) -> Results:
    from bfpo_bench.engines.options import Loading
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation

    options = EvaluateOptions(
        model=str(model),
        suite="mini",
        judge=str(judge),
        output=folder,
        loading=Loading(backend="hf", device="cpu"),
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
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)
    return requests.shares(responses)


def _with_alpaca(row: Row, reference: Row, requests: HeldOut, seed: int) -> Row:
    """The row with its Alpaca column, which its run's results then hold, too."""
    from bfpo_bench.common.files import atomic_write
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
