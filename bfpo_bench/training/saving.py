"""The trained model on disk: its weights, and what stands beside them as it did with the base.

What can only fail at the end is tried at the beginning: config, generation config, tokenizer and
the model's own way of saving are written to a folder that is thrown away, before any weight is
loaded. transformers reads generation configs that contradict themselves (``temperature`` without
``do_sample``, which vicuna and Llama-2 were published with) but refuses to write them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, GenerationConfig

from bfpo_bench.common.errors import BadInput, RunFailed, disk_is_full, first_line
from bfpo_bench.common.json_file import read_json
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.training.disk import written
from bfpo_bench.training.output import SAVED

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Beside:
    """What is saved beside the trained weights.

    None of it is what the trainers work with: they write into a model's config (``use_cache``,
    tokens of their own), and dropout is switched off there.

    Attributes:
        config: the base model's.
        generation: the base model's, mended if it has to be; it knows what ends an answer.
        tokenizer: the base model's.
        template: chat template to save instead of the tokenizer's own.
        notes: what was mended, as sentences.
    """

    config: Any
    generation: GenerationConfig
    tokenizer: Any
    template: str | None
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes it all."""
        self.config.save_pretrained(folder)
        self.generation.save_pretrained(folder)
        tokenizer = deepcopy(self.tokenizer)  # the training still goes by the other template
        if self.template is not None:
            tokenizer.chat_template = self.template
        tokenizer.save_pretrained(folder)

    @property
    def while_training(self) -> GenerationConfig:
        """The model's meanwhile: of a checkpoint's own settings none may leak into rollouts."""
        return GenerationConfig(
            bos_token_id=self.generation.bos_token_id,
            eos_token_id=self.generation.eos_token_id,
            pad_token_id=self.generation.pad_token_id,
        )


def beside(
    base: ModelFiles,
    model: Any,
    tokenizer: Any,
    template: str | None,
    ends: Iterable[int],
    trust_remote_code: bool = False,
) -> Beside:
    """What will be saved, tried out.

    Args:
        model: the base model without its weights.
        ends: tokens that training teaches as the end of an answer.

    Raises:
        BadInput: it could not be saved, or not be read again.
    """
    config = AutoConfig.from_pretrained(str(base.folder), trust_remote_code=trust_remote_code)
    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    config.architectures = [type(whole).__name__]
    generation, mended = read_generation(base.folder, config)
    found = Beside(
        config,
        with_ends(generation, [tokenizer.eos_token_id, *ends]),
        tokenizer,
        template,
        () if mended is None else (mended,),
    )
    transformers.utils.logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            whole.generation_config = found.while_training
            whole.save_pretrained(scratch, state_dict={})
            found.write(Path(scratch))
            AutoConfig.from_pretrained(scratch, trust_remote_code=trust_remote_code)
            load_tokenizer(Path(scratch), trust_remote_code)
    except Exception as error:  # config, tokenizer and code come from anywhere
        if disk_is_full(error):
            raise RunFailed(
                f"the disk of {tempfile.gettempdir()} is full; free some, or set TMPDIR to a "
                "folder on another."
            ) from error
        first = first_line(error).rstrip(".")
        raise BadInput(
            f"a model trained from {base.folder} could not be saved ({first}); mend its config, "
            "generation config or tokenizer."
        ) from error
    return found


def check_ids(
    model: Any, tokenizer: Any, used: Iterable[Sequence[int] | np.ndarray], name: str
) -> None:
    """Refuses a set with tokens that the model has no embedding for.

    Args:
        model: the base model, with or without its weights.
        used: ids that go into the model.
        name: of the set.

    Raises:
        BadInput: one of them is beyond the embedding.
    """
    rows = embedding_rows(model)
    largest = max((int(np.max(ids)) for ids in used if len(ids)), default=0)
    if largest >= rows:
        raise BadInput(
            f"set {name!r} is written with token {largest} "
            f"({tokenizer.convert_ids_to_tokens(largest)!r}), and the base model's embedding has "
            f"{rows} rows; resize it to its tokenizer (resize_token_embeddings in transformers) "
            "and save it, or take the tokenizer and the chat template that belong to it."
        )


def embedding_rows(model: Any) -> int:
    """Number of tokens that a model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def padded(tokenizer: Any, rows: int) -> Any:
    """A copy of a tokenizer that fills up with a token that the model knows.

    Args:
        rows: see :func:`embedding_rows`.
    """
    found = deepcopy(tokenizer)
    known = [t for t in (found.pad_token_id, found.eos_token_id) if t is not None and t < rows]
    # What fills up is never read: any token will do.
    found.pad_token = found.convert_ids_to_tokens([*known, 0][0])
    return found


def save_model(trainer: Any, kept: Beside, folder: Path) -> None:
    """Saves the trained model in the recipe's precision, with all that stands beside it.

    Works for models that are split over processes too; all of them must call it.

    Args:
        trainer: a transformers Trainer after training.

    Raises:
        RunFailed: weights are not numbers, or cannot be written; nothing is said to be finished.
    """
    accelerator = trainer.accelerator
    # Every process has a part of it, where the model is split.
    state = accelerator.get_state_dict(trainer.model_wrapped)
    if accelerator.is_main_process:
        model = accelerator.unwrap_model(trainer.model)
        if hasattr(model, "peft_config"):
            config = model.peft_config["default"]
            state = merge_adapters(state, config.lora_alpha / config.r, transposed_layers(model))
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
        model.generation_config = kept.while_training
        # Trainers have changed the model's own config, and saving its number format.
        kept.config.dtype = dtype
        size, saved = sum(tensor.nbytes for tensor in state.values()), folder / SAVED
        with written("the trained model", size, folder, SAVED):
            model.save_pretrained(saved, state_dict=state)
            kept.write(saved)
    accelerator.wait_for_everyone()


def transposed_layers(model: Any) -> set[str]:
    """Names of a PEFT model's adapted layers whose weights are ``[in, out]`` (GPT-2's Conv1D)."""
    return {
        name for name, module in model.named_modules() if getattr(module, "fan_in_fan_out", False)
    }


def merge_adapters(
    state: dict[str, Tensor], scale: float, transposed: Collection[str] = ()
) -> dict[str, Tensor]:
    """Adds low-rank adapters to the weights that they stand beside.

    On whole weights and not in PEFT's modules, whose weights may be split over processes.

    Args:
        state: of a PEFT model, all of it.
        scale: of the adapters' product: alpha / rank.
        transposed: names of the layers whose weights are ``[in, out]``.

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
            change = scale * up.float() @ down.float()
            tensor = tensor.float() + (change.T if layer.rstrip(".") in transposed else change)
        merged[(layer + rest).removeprefix("base_model.model.")] = tensor
    return merged


def read_generation(folder: Path, config: Any) -> tuple[GenerationConfig, str | None]:
    """A checkpoint's generation config, mended where it could not be saved.

    Sampling settings without ``do_sample`` get it, as they were meant; of other contradictions
    the settings are left out that make them.

    Args:
        config: the checkpoint's model config, which stands in where there is no other.

    Returns:
        the config, and what was mended as a sentence.
    """
    path = folder / GENERATION
    if not path.exists():
        return GenerationConfig.from_model_config(config), None
    try:
        content = read_json(path)
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        return (
            GenerationConfig.from_model_config(config),
            f"The base model's {GENERATION} cannot be read; the trained model gets a new one.",
        )
    content.pop("transformers_version", None)
    if (found := _valid(content)) is not None:
        return found, None
    if (found := _valid({**content, "do_sample": True})) is not None:
        return found, (
            f"The base model's {GENERATION} has sampling settings without do_sample, which cannot "
            "be saved; the trained model's says do_sample: true."
        )
    kept: dict[str, Any] = {"do_sample": True} if content.get("do_sample") else {}
    for name, value in content.items():
        if _valid({**kept, name: value}) is not None:
            kept[name] = value
    left_out = ", ".join(name for name in content if name not in kept)
    return GenerationConfig(**kept), (
        f"The base model's {GENERATION} contradicts itself and cannot be saved; the trained "
        f"model's leaves out {left_out}."
    )


def _valid(content: Mapping[str, Any]) -> GenerationConfig | None:
    try:
        # Whatever stands in the file: what it holds is checked by type nowhere else.
        found = GenerationConfig(**deepcopy(dict(content)))
        found.validate(strict=True)
        list(end_ids(found))
    except Exception:
        return None
    return found


def end_ids(generation: GenerationConfig) -> list[int]:
    """Tokens that end a response."""
    ends = generation.eos_token_id
    every = ends if isinstance(ends, list | tuple) else [ends]
    return [int(token) for token in every if token is not None]


def with_ends(generation: GenerationConfig, more: Iterable[int | None]) -> GenerationConfig:
    """The same with more tokens that end a response."""
    ends = list(dict.fromkeys([*end_ids(generation), *(t for t in more if t is not None)]))
    found = deepcopy(generation)
    found.eos_token_id = ends[0] if len(ends) == 1 else ends or None
    return found
