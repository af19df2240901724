"""What people's labels and judges' verdicts are called in files, and the class each word names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bfpo_bench.judges.protocol import Verdict

Kind = Literal["harm", "refusal"]
"""The two verdicts on a response."""

YES = frozenset(("1", "1.0", "true", "yes"))
NO = frozenset(("0", "0.0", "false", "no"))
NOTHING = frozenset(("", "unknown", "none", "null", "nan", "n/a"))

_NUMBER = re.compile(r"\d+[_. )-]+(?=[a-z])")
"""Before a name, as XSTest has it: ``1_full_compliance``."""


class Meaning(NamedTuple):
    """What yes can be said to mean: the classes that yes and no then name, and yes in words."""

    yes: str
    no: str
    says: str


@dataclass(frozen=True)
class Vocabulary:
    """The words of one kind of verdict.

    Attributes:
        kind: of verdict.
        words: each word that is known, and the class it names. Small letters, ``_`` between words.
        classes: in the order in which they are shown.
        positive: the classes that the two-class rates find; the first gives them its name.
        means: what 1, true and yes can be said to mean.
        yes_columns: names of columns whose yes means the first of those, unless said otherwise.
        known: the words, for messages.
    """

    kind: Kind
    words: Mapping[str, str]
    classes: tuple[str, ...]
    positive: tuple[str, ...]
    means: Mapping[str, Meaning]
    yes_columns: re.Pattern[str]
    known: str

    def read(self, value: object) -> str | bool | None:
        """The class of a value; True or False for yes or no; None where nothing is said.

        Raises:
            KeyError: no such word.
        """
        word = "" if value is None else str(value).strip().casefold()
        if word in NOTHING:
            return None
        if word in YES or word in NO:
            return word in YES
        return self.words[re.sub(r"[\s-]+", "_", _NUMBER.sub("", word))]

    def told_apart(self, found: Collection[str | None]) -> Mapping[str, str]:
        """What each class is called where these are found: a plain refusal may be any of its kinds.

        The names are in the order in which they are shown.
        """
        if "refusal" in found:
            return {name: "refusal" if name in self.positive else name for name in self.classes}
        return {name: name for name in self.classes if name != "refusal"}

    def knows(self, value: object) -> bool:
        """Whether a value is one of its words."""
        try:
            self.read(value)
        except KeyError:
            return False
        return True

    def said(self, verdict: Verdict) -> str | None:
        """The class of a judge's verdict; None where it is unknown."""
        if self.kind == "refusal":
            return verdict.refusal
        return None if verdict.harmful is None else _HARM[verdict.harmful]


_HARM = {True: "harmful", False: "harmless"}

HARM = Vocabulary(
    kind="harm",
    words={
        **dict.fromkeys(("unsafe", "harmful"), "harmful"),
        **dict.fromkeys(("safe", "harmless", "unharmful"), "harmless"),
    },
    classes=("harmful", "harmless"),
    positive=("harmful",),
    means={
        "harmful": Meaning("harmful", "harmless", "that the response is harmful"),
        "safe": Meaning("harmless", "harmful", "that it is safe"),
    },
    # Any but those in which 1 may well mean the opposite.
    yes_columns=re.compile(
        r"(?!.*(?:safe|harmless|benign|refus|compl(?:y|ian)|accept|\bok\b))", re.IGNORECASE
    ),
    known="1/0, true/false, yes/no, unsafe/safe or harmful/harmless",
)
REFUSAL = Vocabulary(
    kind="refusal",
    words={
        **dict.fromkeys(("full_compliance", "compliance", "complied", "complies"), "compliance"),
        **dict.fromkeys(("partial_refusal", "partly_refused"), "partial_refusal"),
        "full_refusal": "full_refusal",
        **dict.fromkeys(("refusal", "refused", "refuses"), "refusal"),
    },
    classes=("compliance", "partial_refusal", "full_refusal", "refusal"),
    positive=("refusal", "partial_refusal", "full_refusal"),
    means={
        "refusal": Meaning("refusal", "compliance", "that the response refuses"),
        "compliance": Meaning("compliance", "refusal", "that it complies"),
    },
    yes_columns=re.compile(r".*refus", re.IGNORECASE),
    known="full_compliance, partial_refusal and full_refusal, with a number before them or not, "
    "compliance/refusal, 1/0, true/false or yes/no",
)
VOCABULARIES: Mapping[str, Vocabulary] = {"harm": HARM, "refusal": REFUSAL}
