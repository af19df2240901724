"""A checkpoint's generation config as it can be saved again, and what ends a response in it.

transformers reads settings that contradict each other (``temperature`` without ``do_sample``, which
vicuna and Llama-2 were published with) but refuses to write them. A training would end in that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

NAME = "generation_config.json"


def read_generation(folder: Path, config: Any) -> tuple[GenerationConfig, str | None]:
    """A checkpoint's generation config, mended where it could not be saved.

    Sampling settings without ``do_sample`` get it, as they were meant; of other contradictions
    the settings are left out that make them.

    Args:
        config: the checkpoint's model config, which stands in where there is no other.

    Returns:
        the config, and what was mended as a sentence.
    """
    path = folder / NAME
    if not path.exists():
        return GenerationConfig.from_model_config(config), None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        return (
            GenerationConfig.from_model_config(config),
            f"The base model's {NAME} cannot be read; the trained model gets a new one.",
        )
    content.pop("transformers_version", None)
    if (found := _valid(content)) is not None:
        return found, None
    if (found := _valid({**content, "do_sample": True})) is not None:
        return found, (
            f"The base model's {NAME} has sampling settings without do_sample, which cannot be "
            "saved; the trained model's says do_sample: true."
        )
    kept: dict[str, Any] = {"do_sample": True} if content.get("do_sample") else {}
    for name, value in content.items():
        if _valid({**kept, name: value}) is not None:
            kept[name] = value
    left_out = ", ".join(name for name in content if name not in kept)
    return GenerationConfig(**kept), (
        f"The base model's {NAME} contradicts itself and cannot be saved; the trained model's "
        f"leaves out {left_out}."
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
