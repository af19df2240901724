"""A causal model from a checkpoint folder: whole, on the device asked for, or one sentence."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.loggers import errors_only

log = logging.getLogger(__name__)


def torch_device(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is the first GPU, else the CPU.

    Raises:
        BadInput: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        # Only what can hold a number can hold a model.
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        there = ", ".join(["cpu", *(f"cuda:{n}" for n in range(count))])
        raise BadInput(f"there is no device {name!r} on this machine; it has {there}.") from error
    return device


def not_loadable(folder: str | Path, error: Exception) -> BadInput:
    """What a user is told when transformers cannot make a model of a folder."""
    first = first_line(error).rstrip(".")
    own_code = "trust_remote_code" in str(error)
    hint = "; it brings its own code, which --trust-remote-code would run" if own_code else ""
    return BadInput(
        f"{folder} cannot be loaded as a causal language model ({first}){hint}; check its "
        "config.json and weight files."
    )


def outline(folder: str | Path, trust_remote_code: bool = False) -> Any:
    """A model's modules and shapes without its weights: what its layers are called, in no time.

    Raises:
        BadInput: the folder's config is not that of a causal language model.
    """
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:
        # A config comes from anywhere, as weights do.
        raise not_loadable(folder, error) from error


def load_causal_model(
    folder: str | Path,
    dtype: Any,
    device: torch.device,
    trust_remote_code: bool = False,
    generation: GenerationConfig | None = None,
    adapter: str | None = None,
) -> Any:
    """A model in evaluation mode, every weight of it from the checkpoint.

    transformers fills weights that a checkpoint lacks with random numbers and goes on; a score of
    such a model means nothing.

    Args:
        dtype: a torch dtype, its name, or ``"auto"`` for the checkpoint's.
        device: ``meta`` goes through all of it without reading a weight.
        generation: the model's generation config; None for the folder's.
        adapter: folder of an adapter that is merged into the weights.

    Raises:
        BadInput: the folder holds no whole checkpoint of a causal language model, or the adapter
            is not for it.
    """
    # Loading bars of single shards say nothing that the caller has not said.
    transformers.utils.logging.disable_progress_bar()
    try:
        # Nor do generation settings that contradict each other: none of the model's own is used.
        with errors_only("transformers.generation.configuration_utils"):
            model, found = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                generation_config=generation,
                output_loading_info=True,
                device_map="meta" if device.type == "meta" else None,
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # Config and weights come from anywhere; whatever is wrong in them ends here.
        raise not_loadable(folder, error) from error
    missing = sorted(found["missing_keys"]) + sorted(
        str(key[0]) for key in found["mismatched_keys"]
    )
    if missing:
        raise BadInput(
            f"{len(missing)} weights of the model in {folder} are missing or have another shape "
            f"than its config.json says (the first is {missing[0]}); download or save it again."
        )
    if found["unexpected_keys"]:
        names = sorted(found["unexpected_keys"])
        log.warning("%d weights in %s are not used, e.g. %s.", len(names), folder, names[0])
    if adapter is not None:
        from bfpo_bench.engines.hf.merging import merge_adapter

        model = merge_adapter(model, Path(adapter))
    return model.to(device).eval()
