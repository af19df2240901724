"""The output folder: a plain transformers checkpoint, and how it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfpo_bench.errors import BadInput, RunFailed
from bfpo_bench.training.identity import LATER, differences

RECORD = "training.json"
"""How a checkpoint was trained; its presence says that training is finished."""

STARTED = "recipe.json"
"""What an unfinished training in a folder is of."""


def claim_output(folder: Path, identity: dict[str, Any]) -> Path | None:
    """Makes an output folder ready.

    Args:
        identity: from :func:`training_identity`: a training is only gone on with when all of it
            is the same.

    Returns:
        the newest checkpoint of an interrupted training to go on from, or None.

    Raises:
        BadInput: the folder holds something else, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(
            f"a checkpoint is a folder, and {folder} is a file; name another with --output."
        )
    if (folder / RECORD).exists():
        raise BadInput(
            f"{folder} holds a finished training already; name another folder with --output, or "
            "delete this one."
        )
    started = folder / STARTED
    try:
        if started.exists():
            different = differences(_read(started), identity)
            if different:
                raise BadInput(
                    f"{folder} holds an unfinished training with another "
                    f"{' and '.join(different)}; go on with the same, name another folder with "
                    "--output, or delete this one."
                )
            return _newest_checkpoint(folder)
        if folder.exists() and any(folder.iterdir()):
            raise BadInput(f"{folder} is not empty; name a new folder with --output.")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(started, identity)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a file is in the way" if in_the_way else error.strerror
        raise BadInput(
            f"the output {folder} cannot be written ({why}); name another folder with --output."
        ) from error
    return None


def finished_record(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """``training.json`` of a folder that holds the result of this very training; None without one.

    Raises:
        BadInput: it is that of another training.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    record = _read(path)
    try:
        made_of = {
            "recipe": record["recipe"],
            "base weights": record["base"]["weights"],
            "data": {one["name"]: one["digest"] for one in record["data"]},
            "rewards": record.get("rewards", {}),
            **{part: record[part] for part in LATER if part in record},
        }
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} does not say what it is of; name another --output.") from error
    different = differences(made_of, identity)
    if different:
        raise BadInput(
            f"{folder} holds a finished training already, with another "
            f"{' and '.join(different)}; name another folder with --output, or delete this one."
        )
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except ValueError:
        pass
    raise BadInput(f"{path} is damaged; delete its folder, or name another one with --output.")


def _newest_checkpoint(folder: Path) -> Path | None:
    # Trainer writes its state last: a checkpoint without it was cut off.
    whole = [p for p in folder.glob("checkpoint-*") if (p / "trainer_state.json").exists()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def save_model(trainer: Any, tokenizer: Any, template: str | None, folder: Path) -> None:
    """Saves the trained model in the recipe's precision, with tokenizer and chat template.

    Works for models that are split over processes too; all of them must call it.

    Args:
        trainer: a transformers Trainer after training.
        template: chat template to save instead of the tokenizer's own.

    Raises:
        RunFailed: weights are not numbers; nothing is saved.
    """
    accelerator = trainer.accelerator
    # Every process has a part of it, where the model is split.
    state = accelerator.get_state_dict(trainer.model_wrapped)
    if accelerator.is_main_process:
        model = accelerator.unwrap_model(trainer.model)
        if hasattr(model, "peft_config"):
            config = model.peft_config["default"]
            state = merge_adapters(state, config.lora_alpha / config.r)
            model = model.get_base_model()
        # Not the config's: Trainer's checkpoints overwrite it with that of the trained weights.
        dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
            # A tied weight is saved under one name.
            if name not in model.all_tied_weights_keys
        }
        broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if broken:
            raise RunFailed(
                f"the training has ended in weights that are not numbers ({broken[0]}), so no "
                "model is saved; lower the learning rate, or train with precision: fp32."
            )
        model.save_pretrained(folder, state_dict=state)
        # It has written the trained weights' number format, float32, into config.json.
        model.config.dtype = dtype
        model.config.save_pretrained(folder)
        if template is not None:
            tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
    accelerator.wait_for_everyone()


def merge_adapters(state: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Adds low-rank adapters to the weights that they stand beside.

    On whole weights and not in PEFT's modules, whose weights may be split over processes.

    Args:
        state: of a PEFT model, all of it.
        scale: of the adapters' product: alpha / rank.

    Returns:
        the state of a model without adapters.
    """
    merged = {}
    for name, tensor in state.items():
        layer, _, rest = name.rpartition("base_layer.")
        if ".lora_" in name:
            continue
        if layer and rest == "weight":
            down, up = (state[f"{layer}lora_{side}.default.weight"] for side in "AB")
            tensor = tensor.float() + scale * up.float() @ down.float()
        merged[(layer + rest).removeprefix("base_model.model.")] = tensor
    return merged


def finish_output(folder: Path, record: dict[str, Any], card: str) -> None:
    """Writes how the checkpoint was made, and clears what was only there to resume from."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_json(folder / RECORD, record)
    (folder / STARTED).unlink(missing_ok=True)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
