"""Prompts that the model itself is to answer: read and counted before it is loaded."""

from __future__ import annotations

from typing import Any

from bfpo_bench.common.progress import Progress
from bfpo_bench.training.data.chat import PromptSet, load_prompts
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.prepared import Base, left_out, tell_left_out
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import DataRecipe
from bfpo_bench.training.record import set_entry
from bfpo_bench.training.saving import check_ids, embedding_rows, padded


def sampling_tokenizer(tokenizer: Any, chat: ChatTemplate) -> Any:
    """Makes a tokenizer that renders the prompts of the training alone: its clock stands still."""
    tokenizer.padding_side = "left"
    tokenizer.chat_template = chat.for_texts()
    return tokenizer


def read_prompts(recipe: Recipe, wanted: DataRecipe, base: Base, progress: Progress) -> PromptSet:
    """The prompts of a set.

    Raises:
        BadInput: they cannot be read, or hold a token that the model does not know.
    """
    rows = embedding_rows(base.outline)
    tokenizer = sampling_tokenizer(padded(base.tokenizer, rows), base.chat)
    with progress.stage(f"read {wanted.name}", 1, unit=""):
        found = load_prompts(wanted, recipe.seed, tokenizer, recipe.tokens.max_prompt)
    tell_left_out(found.bad, progress)
    if len(tokenizer) > rows:
        texts = [base.chat.write(prompt, True) for prompt in found.prompts]
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        check_ids(base.outline, tokenizer, ids, found.name)
    return found


def prompt_entry(one: PromptSet, held_out: int = 0) -> dict[str, Any]:
    """What ``training.json`` says of a set of prompts.

    Args:
        held_out: how many of them are not trained on.
    """
    return set_entry(
        one.name,
        len(one.prompts) - held_out,
        one.rows,
        one.bad,
        one.tokens,
        one.digest,
        too_long=one.too_long,
        **({"held_out": held_out} if held_out else {}),
    )


def prompt_line(one: PromptSet, held_out: int = 0) -> str:
    """What a dry run says of it."""
    long = f", {one.too_long} longer than max_prompt left out" if one.too_long else ""
    held = f"; {held_out:,} of the prompts are held out" if held_out else ""
    counts = f"{len(one.prompts):,} prompts, {one.tokens:,} tokens"
    return f"{one.name}: {counts}{left_out(one.bad)}{long}{held}"
