"""What the columns of a row mean, so that none that belongs to the conversation is left unread.

A reader takes what its layout knows. Whatever is left over is metadata (ids, sources, scores, …),
says what was read already, or belongs to the conversation; in the last case the set is refused:
training would not be on what the data say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.fields import transcript


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


PROMPT_WORDS = _set(
    "prompt prompts instruction instructions question query input inputs user system context "
    "history conversation conversations messages message dialogue dialog turns persona document "
    "passage background knowledge tools functions image images audio video text"
)
"""Last words of the names of columns that belong to what is asked."""

RESPONSE_WORDS = _set("response output completion answer assistant reply")
"""Of those that belong to what is answered; where two responses are named, they may be anything."""

_METADATA = _set(
    "id ids idx index uid uuid key hash sha sha256 md5 source sources origin dataset subset split "
    "file path url link category categories subcategory type kind topic topics domain field skill "
    "tag tags label labels labeled labelled labelling score scores rating ratings rank "
    "ranking grade quality margin preference strength confidence model models generator author "
    "annotator annotators annotation annotations judge ranker reviewer worker meta metadata info "
    "lang language locale license licence date time timestamp created updated version revision "
    "length len tokens num number count n total reason reasons rationale rationales explanation "
    "critique critiques feedback comment comments note notes justification principle status state "
    "flag flags name difficulty level severity harm hazard toxicity temperature seed "
    "checked valid winner better safer logps logprob logprobs reward rewards"
)
"""First or last words of the names of columns that say something about a row, not in it."""

_KNOWN = _set(
    # What argilla's and distilabel's sets keep of how they were made.
    "labelling_prompt raw_labelling_response original_chosen original_rejected original_response "
    "generations generation_prompt raw_generation_responses new_generations distilabel_metadata"
)

_SAFETY = {"safe", "unsafe", "harmful", "harmless", "toxic"}


class Tracked(dict[str, Any]):
    """The values of a row, which remembers those that were asked for by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        self.read.add(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The value of that name, read by this, or the default."""
        try:
            return self[name]
        except KeyError:
            return default


class Unread(BadInput):
    """A column that nobody reads: a fault of the whole set, not of its row."""


def tracked(row: Record | BadInput, ignored: Collection[str]) -> Record:
    """A row that remembers what was read of it, without the columns to ignore.

    Raises:
        BadInput: the row itself, where it is an error.
    """
    if isinstance(row, BadInput):
        raise row
    values = {name: found for name, found in row.values.items() if name not in ignored}
    return Record(row.at, Tracked(values))


@cache
def words(name: str) -> tuple[str, ...]:
    """The words of a column's name, in lower case: ``chosen-ratingAvg`` → chosen, rating, avg."""
    return tuple(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def is_metadata(name: str, responses: bool) -> bool:
    """Whether a column's name says that it is about the row.

    Args:
        responses: whether a column named like a response would be part of the conversation.
    """
    parts = words(name)
    if name in _KNOWN or not parts:
        return True
    return not belongs(name, responses) and not _METADATA.isdisjoint((parts[0], parts[-1]))


def belongs(name: str, responses: bool) -> bool:
    """Whether a column's name says that it is part of the conversation."""
    last = (words(name) or ("",))[-1]
    return last in PROMPT_WORDS or (responses and last in RESPONSE_WORDS)


def check_unread(
    row: Record,
    texts: Collection[str],
    *,
    responses: bool = False,
    only_prompts: bool = False,
) -> None:
    """Asks for columns that nobody has read and that may be part of the conversation.

    Args:
        row: as :func:`tracked` made it, and read.
        texts: what was made of it: a column that only repeats them need not be read.
        responses: whether columns named like a response count (in fine-tuning).
        only_prompts: whether only those count that are named like a part of the prompt.

    Raises:
        Unread: names the first one.
    """
    read = row.values.read if isinstance(row.values, Tracked) else row.values
    whole = None
    for name, found in row.values.items():
        if name in read or is_metadata(name, responses):
            continue
        named = belongs(name, responses)
        parts = set(words(name))
        if isinstance(found, bool | int) and parts & _SAFETY and parts & {"chosen", "rejected"}:
            raise Unread(
                f"{row.at}: field {name!r} looks like a safety label, which is read from "
                "'chosen_safe' and 'rejected_safe' only (true: safe); rename it, or name it under "
                "ignore_fields."
            )
        if only_prompts and not named:
            continue
        if only_prompts and isinstance(found, list) and found and _answers(found[-1]):
            found = found[:-1]
        for text in _texts(found):
            # One word by itself is a label, unless its column says otherwise.
            if text in texts or len(text.split(None, 2)) < (1 if named else 2):
                continue
            whole = whole if whole is not None else "\n".join(map(_plain, texts))
            parts_of_it = [content for _, content in transcript(text)] or [text]
            if not all(_repeats(_plain(part), whole) for part in parts_of_it):
                raise Unread(
                    f"{row.at}: nothing reads field {name!r}, which may be part of the "
                    "conversation; write it into the prompt, or name it under ignore_fields if it "
                    "is not."
                )


def _texts(found: Any) -> Iterator[str]:
    """All texts in a value, but for the roles of messages."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        for key, part in found.items():
            if key not in ("role", "from"):
                yield from _texts(part)
    elif isinstance(found, list | tuple):
        for part in found:
            yield from _texts(part)


def _answers(message: Any) -> bool:
    said_by = message.get("role", message.get("from")) if isinstance(message, Mapping) else None
    return said_by in ("assistant", "gpt")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _repeats(text: str, whole: str) -> bool:
    """Whether a text stands in another one, not as a part of a word."""
    start = whole.find(text)
    while start >= 0:
        around = whole[max(0, start - 1) : start], whole[start + len(text) : start + len(text) + 1]
        if not any(map(str.isalnum, around)):
            return True
        start = whole.find(text, start + 1)
    return False
