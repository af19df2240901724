"""What the generation benchmark asks: prompts, a suite of one task with them, a model that ends."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.random_models import SHAPES, copy_model, make_model

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

SUITE = """\
name: generation
version: 1
data: real
judge: keyword
tasks:
  - task: bfpo_alert
    column: ALERT
    group: gen
    metric: harmless
    direction: higher
    chat_template: true
    generation: {{temperature: 0.7, top_p: 0.95, max_new_tokens: {new}}}
"""


def make_prompts(count: int, seed: int = 0) -> list[str]:
    """Questions of 8 to 120 words drawn from the task's bundled items; no two are alike."""
    from bfpo_bench.data import load_source
    from bfpo_bench.tasks.alert import PLAIN

    words = [w for row in load_source(PLAIN, mini=True).rows for w in row["prompt"].split()]
    rng = random.Random(seed)
    return [f"{number}: {_words(rng, words)}?" for number in range(count)]


def _words(rng: random.Random, words: list[str]) -> str:
    return " ".join(rng.choices(words, k=round(8 * 15 ** rng.random())))


def write_data(folder: Path, prompts: list[str]) -> Path:
    """A data folder in which these are the prompts of ALERT."""
    path = folder / "alert" / "alert.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps({"id": n, "prompt": f"### Instruction:\n{p}\n### Response:\n"})
        for n, p in enumerate(prompts)
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_suite(folder: Path, max_new_tokens: int) -> Path:
    """A suite of that task alone, with the keyword judge."""
    path = folder / "generation.yaml"
    path.write_text(SUITE.format(new=max_new_tokens), encoding="utf-8")
    return path


def prepare_model(
    name: str, folder: Path, prompts: list[str], dtype: str, mean_tokens: int
) -> Path:
    """The checkpoint to measure: a folder as it is, or random weights of one of `SHAPES`.

    Random weights draw nearly every token alike, and a response would never end; so many tokens
    are declared to end one that the lengths are geometric with the mean asked for.
    """
    if name not in SHAPES:
        return Path(name)
    made = make_model(name, folder, prompts, dtype)
    model = folder / f"{made.name}-ends-{mean_tokens}"
    if not model.exists():
        copy_model(made, model)
        vocabulary = SHAPES[name]["vocab_size"]
        ends = list(range(0, vocabulary, mean_tokens))
        config = {"eos_token_id": ends, "pad_token_id": 0}
        (model / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")
        (model / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return model
