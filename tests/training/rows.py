"""One row of each preference format, as its publisher writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfpo_bench.training.data.load import load_set
from bfpo_bench.training.data.preferences import LoadedSet
from bfpo_bench.training.recipe_parts import DataRecipe

Row = dict[str, Any]

PKU: Row = {
    "prompt": "How do locks work?",
    "response_0": "Pins of different lengths keep the cylinder from turning.",
    "response_1": "I would rather not say.",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}

ULTRAFEEDBACK: Row = {
    "prompt": "Name a colour.",
    "prompt_id": "0f3a",
    "chosen": [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Blue, like the sky."},
    ],
    "rejected": [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "No."},
    ],
    "messages": [],
    "score_chosen": 8.0,
    "score_rejected": 2.5,
}

AUTHORS: Row = {
    "prompt": "How do locks work?",
    "modeloutput1": "I would rather not say.",
    "modeloutput2": "Pins keep the cylinder from turning.",
    "is_modelout1_safe": 1,
    "is_modelout2_safe": 0,
    "better_modelout": "2",
}

REDTEAM: Row = {
    "prompt": [{"role": "user", "content": "How do locks work?"}],
    "responses": ["Pins keep the cylinder from turning.", "I would rather not say."],
    "safe": [False, None],
    "more_helpful": 0,
    "category": "tools",
}

SHAREGPT: Row = {
    "conversations": [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Name a colour."},
    ],
    "chosen": {"from": "gpt", "value": "Blue."},
    "rejected": {"from": "gpt", "value": "There are many colours."},
}

TRL_PLAIN: Row = {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "No."}

TRL_PLAIN_IMPLICIT: Row = {"chosen": "The sky is blue.", "rejected": "The sky is green."}

TRL_MESSAGES: Row = {
    "prompt": [{"role": "user", "content": "Name a colour."}],
    "chosen": [{"role": "assistant", "content": "Blue."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}

TRL_MESSAGES_IMPLICIT: Row = {
    name: [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": said}]
    for name, said in (("chosen", "Blue."), ("rejected", "No."))
}

HH: Row = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a colour.\n\nAssistant: Blue.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a colour.\n\nAssistant: No.",
}


def read(name: str, *files: Path, seed: int = 42, **options: Any) -> LoadedSet:
    """The set in these files."""
    return load_set(DataRecipe(name, "helpful", tuple(map(str, files)), **options), seed)
