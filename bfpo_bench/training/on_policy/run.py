"""On-policy training from a recipe to a checkpoint."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.open import vllm_installed
from bfpo_bench.training.card import model_card
from bfpo_bench.training.checkpoint import finish_output
from bfpo_bench.training.identity import base_identity, training_identity
from bfpo_bench.training.loop import ProgressBar, run_trainer
from bfpo_bench.training.on_policy.global_reward import Multiplier
from bfpo_bench.training.on_policy.rewards import opened_rewards
from bfpo_bench.training.on_policy.rloo import (
    NOTE,
    GlobalReward,
    PreparedOnPolicy,
    prepare_on_policy,
    rloo_trainer,
)
from bfpo_bench.training.pairwise.run import (
    claim_together,
    finished_together,
    keep_checkpoints,
    leave_nothing_to_chance,
    load_model,
    loop_settings,
)
from bfpo_bench.training.processes import join_processes
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.record import NAMED, training_record
from bfpo_bench.training.saving import save_model
from bfpo_bench.training.trainable import choose_weights

MEMORY = (
    "the GPU's memory does not suffice for sampling and training on responses; lower "
    "optimization.pairs_per_update (sampled together), optimization.per_device_train_batch_size or "
    "rollout.max_completion_length, or set gradient_checkpointing: true (--set key=value)."
)


def train_on_policy(
    recipe: Recipe,
    output: Path,
    progress: Progress,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Trains on a global reward of the policy's own responses and writes a checkpoint.

    Run again with the same arguments, it goes on from the newest checkpoint of ``save_steps``; one
    that is finished is read.

    Returns:
        the content of ``training.json``.

    Raises:
        BadInput: the recipe, its prompts, rewards or model are not right (before any training).
        RunFailed: the training broke off.
    """
    state = join_processes(device)
    if not state.is_main_process:
        progress = Progress(show=False)
    # Bars of the libraries would run through ours.
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    if recipe.rollout.engine == "vllm" and not vllm_installed():
        raise BadInput(
            "rollout.engine is vllm, which is not installed; run `pip install 'bfpo-bench[vllm]'` "
            "or set rollout.engine=hf."
        )
    prepared = prepare_on_policy(recipe, progress, trust_remote_code)
    at_once, accumulation = prepared.batches(state.num_processes)
    identity = training_identity(
        recipe,
        base_identity(recipe, prepared.base, trust_remote_code),
        {one.name: one.digest for one in prepared.sets},
        prepared.template,
        prepared.tokenizer,
        {name: reward.identity() for name, reward in prepared.rewards.items()},
    )
    if (finished := finished_together(output, identity, state)) is not None:
        return finished
    checkpoint = claim_together(output, identity, state)
    started, clock = datetime.now(UTC), time.monotonic()
    model = load_model(prepared.base, recipe.precision, trust_remote_code, prepared.beside)
    leave_nothing_to_chance(model)
    model = choose_weights(model, recipe)
    settings = {
        **loop_settings(recipe, output, prepared.updates, accumulation, state),
        "per_device_train_batch_size": at_once,
        "max_steps": prepared.updates,
    }
    multiplier = prepared.combination.multiplier
    callbacks: list[Any] = [
        RewardBar(progress),
        keep_checkpoints(recipe, output, model, state, progress),
    ]
    if multiplier is not None:
        callbacks.append(KeptMultiplier(multiplier))
        if checkpoint is not None:
            multiplier.value = KeptMultiplier.read(checkpoint)
    with opened_rewards(prepared.rewards, recipe.rewards, progress, state.device) as rates:
        reward = GlobalReward(rates, prepared.combination, recipe.rollout.num_generations)
        trainer = rloo_trainer(prepared, model, settings, reward, callbacks)
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        with progress.stage(f"train {recipe.method}", prepared.updates, unit="updates"):
            _run(trainer, checkpoint)
    seconds = {"training": time.monotonic() - clock}
    save_model(trainer, prepared.beside, output)
    record = training_record(
        *(recipe, prepared.base, identity, _data(prepared), trainer, seconds, started),
        notes=[NOTE, *prepared.beside.notes],
    )
    if state.is_main_process:
        finish_output(output, record, model_card(record))
    state.wait_for_everyone()
    return record


def _run(trainer: Any, checkpoint: Path | None) -> None:
    try:
        run_trainer(trainer, checkpoint, MEMORY)
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise RunFailed(
            "the policy's probabilities are no numbers any more; lower the learning rate, or "
            "train with precision: fp32."
        ) from error


def _data(prepared: PreparedOnPolicy) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "pairs": len(one.prompts),
            "rows": one.rows,
            "left_out": len(one.bad),
            "bad_rows": one.bad[:NAMED],
            "too_long": one.too_long,
            "tokens": one.tokens,
            "digest": one.digest,
        }
        for one in prepared.sets
    ]


class RewardBar(ProgressBar):
    """Shows updates, and the newest mean reward."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Takes the newest reward."""
        super().on_log(args, state, control, logs, **kwargs)
        if logs and "reward" in logs:
            self._note = f"reward {float(logs['reward']):.3f}"
            if "kl" in logs:
                self._note += f", KL {float(logs['kl']):.3f} a token"


class KeptMultiplier(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Lets Trainer write the multiplier into its checkpoints."""

    def __init__(self, multiplier: Multiplier) -> None:
        self._multiplier = multiplier

    def state(self) -> dict[str, Any]:
        """What Trainer writes into ``trainer_state.json``."""
        return {"args": {}, "attributes": {"value": self._multiplier.value}}

    @classmethod
    def read(cls, checkpoint: Path) -> float:
        """The multiplier at a checkpoint."""
        content = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        return float(content["stateful_callbacks"][cls.__name__]["attributes"]["value"])
