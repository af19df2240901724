"""What is held out answers no prompt that is trained on, or that is said."""

from __future__ import annotations

import json
from pathlib import Path

from bfpo_bench.common.progress import Progress
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.pairwise.prepare import prepare_pairs
from tests.training.conftest import Mine


def test_a_prompt_is_on_one_side_wherever_it_was_cut(mine: Mine) -> None:
    """A long answer takes its prompt's room, so that the same prompt has two sets of tokens."""
    changes = ("tokens={max_length: 130, max_prompt: 110}", "eval={share: 0.5}")
    recipe = mine("preference", *changes)
    rows = []
    for i in range(24):
        prompt = "how do i clean lamp " * 10 + f"number {i} ?"
        short = {"prompt": prompt, "responses": ["gently", "no"], "safe": [True, False]}
        rows.append({**short, "more_helpful": 0})
        rows.append({**rows[-1], "responses": ["gently with drops of water " * 6, "no"]})
        # Half of the pairs stay whole, or the set would be refused.
        rows += [{**rows[-2], "prompt": f"lamp {i} {n} ?"} for n in range(3)]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prepared = prepare_pairs(recipe, Progress(show=False))
    [one] = prepared.sets
    every = zip(prepared.answered, one.tokens + one.held_out, strict=True)
    ways: dict[object, set[tuple[int, ...]]] = {}
    for (asked, _), pair in every:
        ways.setdefault(asked, set()).add(tuple(pair.prompt))
    assert sum(len(tokens) == 2 for tokens in ways.values()) == 24
    trained = {prompt for prompt, _ in prepared.answered[: len(one.tokens)]}
    held = {prompt for prompt, _ in prepared.answered[len(one.tokens) :]}
    assert len(trained) > 24 < len(held)
    assert not trained & held
    assert prepared.notes == []


def test_held_out_pairs_of_prompts_that_are_trained_on_are_told(mine: Mine) -> None:
    """Three of the file's five pairs: with the very answers, or with others."""
    held = "eval={data: [{name: held, pairs: bfpo, files: [held.jsonl]}]}"
    recipe = mine("preference", held)
    lines = Path("pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:5]]
    rows[1]["responses"] = ["with a cloth", "never"]
    for row in rows[3:]:
        row["prompt"] += " please"
    Path("held.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    said = "3 of the 5 held-out pairs of set 'held' answer prompts that are trained on as well"
    [note] = prepare_pairs(recipe, Progress(show=False)).notes
    assert note.startswith(said)
    assert note in dry_run(recipe, Path("out"), Progress(show=False))
    Path("held.jsonl").write_text("\n".join(map(json.dumps, rows[3:])), encoding="utf-8")
    assert prepare_pairs(recipe, Progress(show=False)).notes == []
