"""Adapters merged into the weights of their base: once, when a model is loaded.

What an engine works with is then an ordinary model: packed scoring, vLLM's prefix cache and every
other short cut run as they do without an adapter, and both engines have the very same weights. The
sum is taken in the number format of loading, by PEFT's own rule: the adapter's product in float32,
rounded, added to the weight. (PEFT unmerged, and vLLM's own LoRA, round at other places; in
bfloat16 their answers differ from these by such roundings.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.models.adapters import WEIGHTS
from bfpo_bench.models.weights import safetensors_header

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")


def merge_adapter(model: Any, folder: Path) -> Any:
    """A model with an adapter added to its weights, which are changed in place.

    Raises:
        BadInput: the adapter is made for another model, or holds numbers that are none.
    """
    import torch
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        _grow(model, folder)
        wrapped = PeftModel(model, config)
        found = wrapped.load_adapter(str(folder), "default", use_safetensors=True)
        # Whole embeddings are saved twice, where PEFT saw that they had grown.
        unknown = [key for key in found.unexpected_keys if ".modules_to_save." not in key]
        wrong = [*found.missing_keys, *unknown]
        if not wrong:
            return wrapped.merge_and_unload(safe_merge=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # config and weights come from anywhere
        first = first_line(error).rstrip(".")
        raise BadInput(
            f"the adapter {folder} cannot be put on this model ({first}); give the base that it "
            "was made for with --model."
        ) from error
    raise BadInput(
        f"the adapter {folder} and the model do not go together: {len(wrong)} of its weights have "
        f"no counterpart (the first is {wrong[0]}); give the base that it was made for with "
        "--model."
    )


def _grow(model: Any, folder: Path) -> None:
    """Makes room for tokens that were added before the adapter was trained and saved with it."""
    for name, tensor in safetensors_header(folder / WEIGHTS).items():
        rows = tensor["shape"][0]
        if name.endswith(_EMBEDDINGS) and rows != model.get_input_embeddings().weight.shape[0]:
            # The new rows are the adapter's, which are read right after this.
            model.resize_token_embeddings(rows, mean_resizing=False)
