"""Conversations for fine-tuning, and prompts for on-policy training, from the data of a recipe.

Fine-tuning takes chat data, the winners of preference data, or with SteerLM (Dong et al. 2023,
arXiv 2310.05344) both responses of every pair, each told apart by its attributes in a system
message such as ``helpfulness: 1, safety: 0``. (Here attributes are the data's own labels; SteerLM
predicts graded ones with a model first.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.columns import check_unread
from bfpo_bench.training.data.fields import TALKS, answered, asked, check_texts, has_prompt
from bfpo_bench.training.data.formats import FORMATS
from bfpo_bench.training.data.load import draw, load_set, read_set, usable
from bfpo_bench.training.data.preferences import (
    Messages,
    PreferenceRecord,
    Segments,
    make_pairs,
)
from bfpo_bench.training.data.segments import opening, read_segments
from bfpo_bench.training.recipe_parts import DataRecipe, EmphasisRecipe

CHAT, PROMPTS_ONLY = "chat", "prompts"
"""What a recipe writes as ``pairs`` of a set whose rows are conversations, or prompts."""

ATTRIBUTES = "attributes"
"""What a recipe writes as ``pairs`` of a set whose responses are told apart by their attributes."""

HELPFULNESS, SAFETY = "helpfulness", "safety"


def attribute_line(values: Mapping[str, int]) -> str:
    """Attributes as the model reads them: ``helpfulness: 1, safety: 0``."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def attributes_of(record: PreferenceRecord, index: int) -> dict[str, int]:
    """What the labels say of a response: 1 or 0, nothing where they leave it open."""
    values = {}
    if record.more_helpful is not None:
        values[HELPFULNESS] = int(record.more_helpful == index)
    if record.safe[index] is not None:
        values[SAFETY] = int(bool(record.safe[index]))
    return values


def steered_conversations(
    records: Sequence[PreferenceRecord], name: str
) -> list[tuple[Messages, str, Segments]]:
    """A conversation for each response that has an attribute, in order, where its row stands, and
    what weighs in the response.

    Args:
        name: of the set, for messages.

    Raises:
        BadInput: no response has one.
    """
    found: list[tuple[Messages, str, Segments]] = []
    for record in records:
        for index, response in enumerate(record.responses):
            values = attributes_of(record, index)
            if values and response:
                asked = _with_system(record.prompt, attribute_line(values))
                said = (*asked, ("assistant", response))
                found.append((said, record.where, record.weights[index]))
    if not found:
        raise BadInput(
            f"set {name!r} says neither which response is more helpful nor which is safe, so there "
            "are no attributes to learn; take a set with labels."
        )
    return found


def _with_system(prompt: Messages, line: str) -> Messages:
    if prompt[0][0] == "system":
        return (("system", f"{line}\n{prompt[0][1]}"), *prompt[1:])
    return (("system", line), *prompt)


class Conversations(NamedTuple):
    """The conversations of a set.

    Attributes:
        conversations: each ends in an assistant's turn.
        places: where each stands, for messages.
        bad: a sentence for each row that was left out.
        weights: segments of each last answer that weigh more or less.
    """

    conversations: list[Messages]
    places: list[str]
    bad: list[str]
    weights: list[Segments]


def load_conversations(wanted: DataRecipe, seed: int) -> Conversations:
    """The conversations of a set.

    Args:
        wanted: ``pairs: chat`` reads conversations (``messages``, UltraChat's form, or
            ``conversations``, ShareGPT's) or a prompt and its answer (TRL's, Alpaca's, Dolly's);
            ``pairs: attributes`` takes both responses of preference data with their attributes; any
            other value answers each prompt of preference data with the response that wins. Of
            unpaired rows those with a desirable answer are taken.
        seed: of the draw that ``limit`` makes.

    Raises:
        BadInput: rows that cannot be used, unless they are to be skipped.
    """
    if wanted.pairs == CHAT:
        rows, bad = read_set(wanted, partial(_weighed_conversation, emphasis=wanted.emphasis))
        if not rows:
            raise BadInput(f"set {wanted.name!r} holds no conversation that can be used.")
        drawn = draw(rows, wanted.limit, seed)
    else:
        loaded = load_set(wanted, seed)
        bad = loaded.bad
        if wanted.pairs == ATTRIBUTES:
            drawn = steered_conversations(loaded.records, wanted.name)
        else:
            drawn = [
                ((*pair.prompt, ("assistant", pair.chosen)), pair.where, pair.weights[0])
                for pair in make_pairs(wanted.pairs, loaded.records)
                if pair.chosen
            ]
            if not drawn:
                raise BadInput(
                    f"set {wanted.name!r} holds no answer that is desirable, so there is nothing "
                    "to imitate; take another set, or loss: kto."
                )
    said, places, weights = (list(column) for column in zip(*drawn, strict=True))
    return Conversations(said, places, bad, weights)


def _weighed_conversation(
    row: Record, emphasis: EmphasisRecipe | None
) -> tuple[Messages, str, Segments]:
    said = _conversation(row)
    answer = said[-1][1]
    [weights] = read_segments(row, [answer])
    if emphasis is not None:
        weights = weights or opening(answer, emphasis.words, emphasis.weight, emphasis.rest)
    return said, row.at, weights


def _conversation(row: Record) -> Messages:
    """What is learnt of a row: every message of its conversation."""
    said = answered(row)
    empty = next((role for role, content in said if not content.strip()), "system")
    if empty != "system":
        raise BadInput(f"{row.at}: the {empty}'s message is empty, so there is nothing to learn.")
    texts = [content for _, content in said]
    check_texts(row, texts)
    check_unread(row, texts, responses=True)
    return said


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
    if wanted.pairs not in (PROMPTS_ONLY, CHAT):
        raise unknown_name(
            f"way to take prompts from set {wanted.name!r}:", wanted.pairs, (PROMPTS_ONLY, CHAT)
        )
    rows, bad = read_set(wanted, lambda row: (_prompt(row, wanted.pairs), row.at))
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
    elif has_prompt(row) or not all(name in row.values for name in FORMATS["trl"].fields):
        said = asked(row)
        if said[-1][0] == "assistant" and "prompt" not in row.values:
            said = said[:-1]
    else:
        said = FORMATS["trl"].read(row, "").prompt
    if not said or said[-1][0] != "user" or not said[-1][1].strip():
        raise BadInput(f"{row.at}: there is no user's turn at the end of the prompt.")
    texts = [content for _, content in said]
    check_texts(row, texts)
    check_unread(row, texts, only_prompts=True)
    return said
