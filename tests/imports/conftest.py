"""Files of other tools, small and as they write them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic_runs import synthetic_run

INSPECT = Path(__file__).parent / "inspect_ai.eval"
"""By inspect_ai itself, see make_inspect_log.py: two questions, asked twice."""

EXCHANGES = [("How is tea made?", "With water."), ("And coffee?", "I cannot help with that.")]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 16 tasks of the paper, 20 items each, judged by two judges."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run = synthetic_run(folder, "org/model", limit=20, second_judge="keyword")
    with sqlite3.connect(run / "samples.sqlite") as db:
        # A choice of no chance at all, and thoughts.
        first = "(SELECT MIN(item) FROM scores)"
        db.execute(f"UPDATE scores SET loglikelihood = -9e999 WHERE choice = 1 AND item = {first}")
        db.execute("UPDATE responses SET thought = 'hm' WHERE item LIKE '%a'")
    db.close()
    return run


def written(path: Path, content: Any) -> Path:
    """A JSON file; of a list of objects, JSON lines."""
    lines = isinstance(content, list)
    text = "".join(json.dumps(one) + "\n" for one in content) if lines else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def completions(exchanges: Sequence[tuple[str, str]] = EXCHANGES) -> dict[str, Any]:
    """As HarmBench's generate_completions.py writes them."""
    return {
        f"behavior_{number}": [{"test_case": asked, "generation": said}]
        for number, (asked, said) in enumerate(exchanges)
    }


def attacks() -> dict[str, Any]:
    """As AdversariaLLM's run.json has them: two steps of an attack on each prompt."""
    config = {
        "model": "phi",
        "model_params": {"id": "microsoft/phi"},
        "dataset": "adv_behaviors",
        "attack": "gcg",
        "attack_params": {"generation_config": {"temperature": 0.0, "max_new_tokens": 32}},
    }
    runs = [
        {
            "original_prompt": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": "Sure, here is"},
            ],
            "steps": [
                {"step": 0, "model_completions": ["first"], "model_input": None},
                {
                    "step": 1,
                    "model_completions": [said],
                    "model_input": [{"role": "user", "content": f"{asked} !!!"}],
                },
            ],
            "total_time": 1.0,
        }
        for asked, said in EXCHANGES
    ]
    return {"config": config, "runs": runs}
