"""BBQ Lite: social bias in question answering, ambiguous and disambiguated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bfpo_bench.data import Hub, Record, Row, Source, Variant
from bfpo_bench.tasks.bigbench import (
    CHOICE_PREFIX,
    CHOICES,
    HOMEPAGE,
    INPUT_PREFIX,
    choice_key,
    hub_rows,
    task_rows,
)

_CATEGORIES = (
    "age",
    "disability_status",
    "gender_identity",
    "nationality",
    "physical_appearance",
    "race_ethnicity",
    "religion",
    "ses",
    "sexual_orientation",
)


def _read(paths: Sequence[Path]) -> list[Row]:
    """Rows of the 18 subtask folders; the folder's name becomes ``category``."""
    return with_families(
        [{**row, "category": path.parent.name} for path in paths for row in task_rows(path)]
    )


def _hub(records: Iterable[Record]) -> list[Row]:
    """Rows from the hub, which does not say of which subtask an item is."""
    return with_families([{**row, "category": ""} for row in hub_rows(records)])


def with_families(rows: list[Row]) -> list[Row]:
    """Adds ``group``: one name for all BBQ items that were built from one template.

    The hub keeps no template number, so the families are found in the text: items that share
    their question, or the sentence they open with, belong together, and so on along the chain. On
    the published files this gives 137 families; each of the 165 numbered templates is wholly in
    one of them. The name of a family is its alphabetically first question, so it does not depend
    on the order of the rows.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    questions = []
    for row in rows:
        body = row["inputs"].split(CHOICE_PREFIX, 1)[0].removeprefix(INPUT_PREFIX.strip()).strip()
        sentences = _SENTENCE_END.split(body)
        # In 24 items no full stop precedes the question.
        asking = _ASKING.search(sentences[-1])
        question = "?" + (asking.group() if asking else sentences[-1])
        questions.append(question)
        parent[root(question)] = root("." + sentences[0])
    first: dict[str, str] = {}
    for question in sorted(set(questions)):
        first.setdefault(root(question), question[1:])
    return [
        {**row, "group": first[root(question)]}
        for row, question in zip(rows, questions, strict=True)
    ]


_SENTENCE_END = re.compile(r"(?<=[.!?\"”'’])\s+")
_ASKING = re.compile(r"\b(?:Who|What|Which|Whose)\b[^.?!]*\??$")

SOURCE = Source(
    name="bbq_lite",
    variants=(
        Variant(
            name="default",
            rows=16076,
            digest="dee2267c4b2f7bb30baff69540764cd798b31990d7b139e21f440022e0f4b3ee",
            layouts=(
                tuple(
                    f"bbq_lite_json/{category}_{condition}/task.json"
                    for category in _CATEGORIES
                    for condition in ("ambig", "disambig")
                ),
            ),
            read=_read,
            hub=Hub("hails/bigbench", "default", _hub, "bbq_lite_json_zero_shot"),
        ),
    ),
    fields={**CHOICES, "category": str, "group": str},
    extras=("category", "group"),
    licence="Apache-2.0",
    homepage=f"{HOMEPAGE}/bbq_lite_json",
    key=choice_key,
)
