"""Prompts for on-policy training: what the policy answers by itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data.files import Record
from bfpo_bench.training.data import trl, usable
from bfpo_bench.training.data.asked import TALKS, asked, has_prompt
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.columns import check_unread
from bfpo_bench.training.data.fields import check_texts
from bfpo_bench.training.data.load import draw, read_set
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.recipe import DataRecipe

PROMPTS, CHAT = "prompts", "chat"


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a set.

    Attributes:
        prompts: different conversations, each ending in the user's turn.
        unsafe: whether the recipe says that they ask for something unsafe.
        rows: number of rows found.
        bad: a sentence for each row that was left out because it cannot be used.
        too_long: prompts left out because they are longer than the recipe allows.
        tokens: of all prompts together.
        digest: of the prompts.
    """

    name: str
    prompts: list[Messages]
    unsafe: bool
    rows: int
    bad: list[str]
    too_long: int
    tokens: int
    digest: str


def load_prompts(wanted: DataRecipe, seed: int, tokenizer: Any, longest: int) -> PromptSet:
    """The prompts of a set, each once, in order.

    Args:
        wanted: ``pairs: prompts`` reads the prompt of each row (of all preference formats, and of
            plain files of prompts); ``pairs: chat`` a conversation up to its last answer.
        seed: of the draw that ``limit`` makes.
        tokenizer: with the chat template of the training.
        longest: prompts of more tokens are left out: a response to half a prompt is rated against
            the other half.

    Raises:
        BadInput: rows that cannot be used, by the chat template for instance, unless they are to
            be skipped; or more than half of the prompts too long.
    """
    if wanted.pairs not in (PROMPTS, CHAT):
        raise unknown_name(
            f"way to take prompts from set {wanted.name!r}:", wanted.pairs, (PROMPTS, CHAT)
        )
    rows, bad = read_set(wanted.as_set(seed), lambda row: (_prompt(row, wanted.pairs), row.at))
    if not rows:
        raise BadInput(f"set {wanted.name!r} holds no prompt that can be used.")
    first: dict[Messages, str] = {}
    for prompt, where in rows:
        first.setdefault(prompt, where)
    drawn = draw(list(first.items()), wanted.limit, seed)
    chat = ChatTemplate(tokenizer)
    lengths: dict[Messages, int] = {}
    broken: dict[int, str] = {}
    for index, (prompt, where) in enumerate(drawn):
        try:
            ids = tokenizer(chat.question(prompt), add_special_tokens=False, verbose=False)
            lengths[prompt] = len(ids["input_ids"])
        except BadInput as error:
            broken[index] = f"{where}: {error}"
    prompts = [prompt for prompt, _ in usable(drawn, broken, wanted.name, wanted.skip_bad_rows)]
    bad += broken.values()
    short = [prompt for prompt in prompts if lengths[prompt] <= longest]
    if len(short) < len(prompts) / 2:
        raise BadInput(
            f"{len(prompts) - len(short)} of {len(prompts)} prompts of set {wanted.name!r} are "
            f"longer than max_prompt ({longest} tokens), more than half; raise it."
        )
    digest = hashlib.sha256(json.dumps(short).encode()).hexdigest()
    too_long = len(prompts) - len(short)
    return PromptSet(
        wanted.name,
        short,
        wanted.unsafe_prompts,
        rows=len(rows) + len(bad) - len(broken),
        bad=bad,
        too_long=too_long,
        tokens=sum(lengths[prompt] for prompt in short),
        digest=digest,
    )


def _prompt(row: Record, way: str) -> Messages:
    if way == CHAT:
        said = asked(row, TALKS)
        said = said[:-1] if said[-1][0] == "assistant" else said
    elif has_prompt(row) or not all(name in row.values for name in trl.FIELDS):
        said = asked(row)
        if said[-1][0] == "assistant" and "prompt" not in row.values:
            said = said[:-1]
    else:
        said = trl.read_row(row, "").prompt
    if not said or said[-1][0] != "user" or not said[-1][1].strip():
        raise BadInput(f"{row.at}: there is no user's turn at the end of the prompt.")
    texts = [content for _, content in said]
    check_texts(row, texts)
    check_unread(row, texts, only_prompts=True)
    return said
