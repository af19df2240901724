"""What a checkpoint's own generation config asks for, and an evaluation leaves out.

An evaluation generates by the suite's settings alone, on every engine, so that models are compared
under the same ones. Temperature, nucleus and length are the suite's to say; what else a checkpoint
would do to its logits is told beside the figures.
"""

from __future__ import annotations

import json
from typing import Any

from bfpo_bench.models.checkpoint import ModelFiles

_IDLE: dict[str, float | None] = {
    "repetition_penalty": 1,
    "encoder_repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "no_repeat_ngram_size": 0,
    "penalty_alpha": 0,
    "guidance_scale": 1,
    "num_beams": 1,
    "min_length": 0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "watermarking_config": None,
}
"""Settings of transformers' GenerationConfig, and the values at which they do nothing."""


def unused_settings(files: ModelFiles) -> list[str]:
    """A mark for the tasks that generate, where the checkpoint asks for more than the suite."""
    path = files.folder / "generation_config.json"
    content: Any = files.config  # where older checkpoints have them
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
    if not isinstance(content, dict):
        return []
    told = [
        f"{name} {value}" if isinstance(value, (int, float)) else name
        for name, idle in _IDLE.items()
        if (value := content.get(name)) and value != idle
    ]
    if not told:
        return []
    *first, last = told
    names = f"{', '.join(first)} and {last} were" if first else f"{last} was"
    return [f"the checkpoint's own {names} not used"]
