"""From a recipe to a checkpoint: the one road of all kinds of training.

prepare (read, check, count) → claim the output → load → train → save → record. What the kinds do
otherwise stands in their :class:`~bfpo_bench.training.prepared.Prepared`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import datasets
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.files import owned
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.hf.load import torch_device
from bfpo_bench.engines.open import vllm_installed
from bfpo_bench.models.number_format import training_advice
from bfpo_bench.training.identity import base_identity, training_identity
from bfpo_bench.training.loop import ProgressBar, keep_checkpoints, loop_settings, run_trainer
from bfpo_bench.training.mixture import mix_stages
from bfpo_bench.training.output import (
    FIRST,
    RATINGS,
    SECOND,
    check_free,
    claim_output,
    clear_output,
    finish_output,
    finished_record,
    is_clear,
    is_finished,
)
from bfpo_bench.training.prepared import Prepared, Run
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import training_record
from bfpo_bench.training.saving import save_model
from bfpo_bench.training.tracked import Curves, TrainingReports, check_report_to
from bfpo_bench.training.trainable import choose_weights, load_model

T = TypeVar("T")


def train(
    recipe: Recipe,
    output: Path,
    progress: Progress | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Trains by a recipe and writes a checkpoint; see docs/training.md.

    Run again with the same arguments, it goes on from its newest checkpoint; a training that is
    finished is read. A recipe's first stage is a training of its own, in ``first`` of the output;
    all stages are checked before it begins.

    Args:
        output: folder for the checkpoint; ``training.json`` in it says how it was made.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns:
        the content of ``training.json``.

    Raises:
        BadInput: the recipe, its data or its model are not right, or another process is training
            into this folder (before any training).
        RunFailed: the training broke off; run again, it goes on from its newest checkpoint.
    """
    for stage in recipe.stages:
        check_report_to(stage)
        _check_engine(stage)
    _check_device(device)
    state = join_processes(device)
    if progress is None or not state.is_main_process:
        progress = Progress(show=False)
    if advice := training_advice(recipe.precision, device):
        progress.say(f"{advice}.")
    # Bars of the libraries would run through ours.
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    return _train(recipe, output, output / RATINGS, progress, trust_remote_code, state)


def _train(
    recipe: Recipe,
    output: Path,
    ratings: Path,
    progress: Progress,
    trust_remote_code: bool,
    state: PartialState,
) -> dict[str, Any]:
    """Trains all stages.

    Args:
        ratings: where what rewards say of the pairs is kept meanwhile: rounds share it.
    """

    def whole(stage: Recipe, folder: Path) -> dict[str, Any]:
        return _train(stage, folder, folder / RATINGS, progress, trust_remote_code, state)

    with ExitStack() as ours:
        if state.is_main_process and not is_clear(output):
            ours.enter_context(owned(output, inside=True))
        if recipe.first is not None:
            _by_main(state, lambda: _check_before_first(recipe, output))
            if not is_finished(output / FIRST):
                prepare(recipe, progress, trust_remote_code)
            whole(recipe.first, output / FIRST)
            if recipe.merge is not None:
                second = replace(recipe, base=str(output / FIRST), first=None, merge=None)
                record = whole(second, output / SECOND)
                return _by_main(state, lambda: mix_stages(recipe, record, output, progress))
            recipe = replace(recipe, base=str(output / FIRST))
        return _train_last(recipe, output, ratings, progress, trust_remote_code, state)


def _train_last(
    recipe: Recipe,
    output: Path,
    ratings: Path,
    progress: Progress,
    trust_remote_code: bool,
    state: PartialState,
) -> dict[str, Any]:
    prepared = _prepared(recipe, progress, trust_remote_code)
    _, accumulation = prepared.batches(state.num_processes)
    base, entries = prepared.base, prepared.entries()
    provenance = base_identity(recipe, base.files, trust_remote_code)
    identity = training_identity(
        recipe,
        provenance,
        {entry["name"]: entry["digest"] for entry in entries},
        base.beside.template,
        base.tokenizer,
        prepared.reward_identities(),
    )
    reports = TrainingReports(recipe, output, identity, progress, state.is_main_process)
    finished = _by_main(state, lambda: finished_record(output, identity))
    if finished is not None:
        if state.is_main_process and not is_clear(output):
            clear_output(output)  # it was killed right after the result was there
        reports.end(finished)
        return finished
    checkpoint = _by_main(state, lambda: claim_output(output, identity))
    if checkpoint is not None and not checkpoint.is_dir():
        raise RunFailed(
            f"process {state.process_index} of {state.num_processes} does not see {checkpoint}, "
            "from which the training goes on; put --output on a disk that all nodes share."
        )
    run = Run(output, ratings, provenance, checkpoint, state, progress)
    if recipe.rounds is not None:
        from bfpo_bench.training.rounds import train_rounds, who_is_asked

        def one(stage: Recipe, folder: Path) -> dict[str, Any]:
            # Pairs are worth the same in all rounds, and are rated once.
            return _train(stage, folder, ratings, progress, trust_remote_code, state)

        asked = who_is_asked(prepared, trust_remote_code)
        record = train_rounds(prepared, asked, identity, run, one)
        reports.end(record)
        return record
    started, clock = datetime.now(UTC), time.monotonic()
    prepared = prepared.rated(run)
    generation = base.beside.while_training
    with progress.stage(f"loading {base.files.name}"):
        model = load_model(base.files, recipe.precision, trust_remote_code, generation)
    prepared.make_ready(model)
    model = choose_weights(model, recipe)
    kept = keep_checkpoints(recipe, output, model, state, progress)
    callbacks = [ProgressBar(progress), kept, Curves(reports)]
    settings = loop_settings(recipe, output, prepared.updates, accumulation, state)
    with reports, prepared.trainer(model, settings, callbacks, run) as trainer:
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        seconds = {prepared.first_stage: time.monotonic() - clock}
        clock = time.monotonic()
        with progress.stage(f"train {recipe.method}", prepared.updates, unit="updates"):
            run_trainer(trainer, checkpoint, prepared.memory_advice)
    seconds["training"] = time.monotonic() - clock
    with progress.stage(f"saving the model into {output}"):
        save_model(trainer, base.beside, output)
    record = training_record(
        *(recipe, base.files, identity, entries, trainer, seconds, started),
        notes=[*prepared.notes, *base.beside.notes],
        found=prepared.found(),
    )
    if state.is_main_process:
        finish_output(output, record)
    state.wait_for_everyone()
    reports.end(record)
    return record


def prepare(recipe: Recipe, progress: Progress, trust_remote_code: bool = False) -> Prepared:
    """Everything of a training that is checked and counted before a model is loaded.

    Where there is a first stage, its base stands in for the model that it is going to make.

    Raises:
        BadInput: something of it cannot be had or does not go together.
    """
    return _prepared(replace(recipe, base=recipe.stages[0].base), progress, trust_remote_code)


def _check_before_first(recipe: Recipe, output: Path) -> None:
    """What would stop the second stage, said before the first.

    Raises:
        BadInput: the output holds something else, or a result whose first stage was deleted.
    """
    check_free(output, recipe.as_dict())
    stages = (output / FIRST, *([] if recipe.merge is None else [output / SECOND]))
    gone = next((stage for stage in stages if not is_finished(stage)), None)
    if is_finished(output) and gone is not None:
        raise BadInput(
            f"{output} holds a finished training of which a stage, {gone}, is gone, so that nobody "
            "can tell whether it is the same; evaluate the model as it is, or name another folder "
            "with --output."
        )


def _prepared(recipe: Recipe, progress: Progress, trust_remote_code: bool) -> Prepared:
    if recipe.kind == "sft":
        from bfpo_bench.training.sft import prepare_sft

        return prepare_sft(recipe, progress, trust_remote_code)
    if recipe.kind == "reward":
        from bfpo_bench.training.on_policy.rloo import prepare_on_policy

        return prepare_on_policy(recipe, progress, trust_remote_code)
    from bfpo_bench.training.pairwise.prepare import prepare_pairs

    return prepare_pairs(recipe, progress, trust_remote_code)


def join_processes(device: str = "auto") -> PartialState:
    """The state of this process among those of torchrun or accelerate launch; alone without them.

    Without a GPU accelerate has to be told so: otherwise each of several processes takes itself
    for the only one, and all of them train on everything.

    Args:
        device: ``"auto"`` or ``"cpu"``.
    """
    if device == "cpu" or not torch.accelerator.is_available():
        # Trainer looks here when it makes the state anew.
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")
    return PartialState(cpu=on_cpu)


def _by_main(state: PartialState, work: Callable[[], T]) -> T:
    """What the main process finds, for all."""
    [found] = broadcast_object_list([work() if state.is_main_process else None])
    result: T = found
    return result


def _check_engine(recipe: Recipe) -> None:
    if recipe.rollout.engine == "vllm" and not vllm_installed():
        raise BadInput(
            "rollout.engine is vllm, which is not installed; run `pip install 'bfpo-bench[vllm]'` "
            "or set rollout.engine=hf."
        )


def _check_device(name: str) -> None:
    """Accelerate takes the GPU of its process, so only whether there is one can be asked for.

    Raises:
        BadInput: no such device here, or a certain one of several.
    """
    if name in ("auto", "cpu"):
        return
    number = torch_device(name).index
    if number is not None:
        raise BadInput(
            f"training takes the first GPU that it sees; for {name} set "
            f"CUDA_VISIBLE_DEVICES={number} and give --device cuda."
        )
