"""A stand-in for the alpaca_eval package: its layout, with prompts of our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHAT = """\
<|im_start|>system
Compare two answers.
<|im_end|>
<|im_start|>user
Asked: {instruction}
m said: {output_1}
M said: {output_2}
Name the better one.
<|im_end|>
"""

WEIGHTED: dict[str, Any] = {
    "prompt_template": "shared/prompt.txt",
    "fn_completions": "openai_completions",
    "completions_kwargs": {
        "model_name": "gpt-4-1106-preview",
        "max_tokens": 1,
        "temperature": 1,
        "logprobs": True,
        "top_logprobs": 5,
    },
    "fn_completion_parser": "logprob_parser",
    "completion_parser_kwargs": {
        "numerator_token": "m",
        "denominator_tokens": ["m", "M"],
        "is_binarize": False,
    },
    "completion_key": "completions_all",
    "batch_size": 1,
}

IN_WORDS: dict[str, Any] = {
    "prompt_template": "shared/prompt.txt",
    "fn_completions": "openai_completions",
    "completions_kwargs": {"model_name": "gpt-4", "max_tokens": 100, "temperature": 0},
    "fn_completion_parser": "ranking_parser",
    "batch_size": 1,
}


def write_package(folder: Path, **configs: dict[str, Any]) -> Path:
    """Writes the package with these configurations beside the two above; returns its folder."""
    evaluators = folder / "alpaca_eval" / "evaluators_configs"
    (evaluators / "shared").mkdir(parents=True)
    (folder / "alpaca_eval" / "__init__.py").write_text("raise ImportError('read, not run')\n")
    (evaluators / "shared" / "prompt.txt").write_text(CHAT)
    (evaluators / "shared" / "plain.txt").write_text("Compare {output_1} and {output_2}.")
    known = {
        "weighted_alpaca_eval_gpt4_turbo": WEIGHTED,
        "alpaca_eval_gpt4": IN_WORDS,
        **configs,
    }
    for name, config in known.items():
        (evaluators / name).mkdir()
        (evaluators / name / "configs.yaml").write_text(yaml.safe_dump({name: config}))
    return folder


def install_package(
    monkeypatch: pytest.MonkeyPatch, folder: Path, **configs: dict[str, Any]
) -> Path:
    """Writes the package and puts it before the real one, which may have been imported already."""
    site = write_package(folder, **configs)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "alpaca_eval", raising=False)
    return site
