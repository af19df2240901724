"""What a number was measured with: all that it depends on besides the model.

Complete by construction: made from the identity in ``run.json``, the same that answers are resumed
under, by leaving out what is the model itself. A setting that is added to identities some day is in
it from that day on, and a run that has it is not ranked against one that has it otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from bfpo_bench.common.dotted import dotted
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.models.clock import DATE
from bfpo_bench.run.also import AlsoResult
from bfpo_bench.run.results import HelpfulnessResult, Results, TaskResult
from bfpo_bench.run.shares import BOTH, COUNTED, HARM, REFUSAL
from bfpo_bench.tasks.alpaca_eval import SOURCE

OF_MODEL = frozenset(
    (
        *("name", "revision", "weights", "config", "settings", "tokens", "tokenizer", "templates"),
        *("chat_template", "generation", "code", "adapter", "server", "outputs"),
        "special_tokens",
    )
)
"""Parts of ``identity.model`` that are the model; others say how it was asked."""

SAID_ONLY = frozenset({"backend", "dtype"})
"""What is said but need not agree for a ranking: a 7B model in bfloat16 on vLLM is to stand beside
a small one in float32. What rounding changes is far below what another draw of items would (scores
of the two engines agree item by item, as tests/engines/vllm/test_engine.py shows). A judge's and an
annotator's have to agree with all else of theirs: it is one instrument that all rows share."""

CHAT_ONLY = frozenset({"system_prompt", "template", "date", "thinking"})
"""Settings that nothing depends on but tasks whose prompts go through a chat template."""

_WITHOUT = {"thinking": "auto", "answers_from": "bfpo-bench"}
"""What a setting is where it is not kept, of those that are kept only when asked for."""

_PER_CELL = frozenset(
    (
        *("model", "tasks", "data", "also", "judge", "refusal_judge", "limit", "precision"),
        *("seed", "suite"),
    )
)
"""Parts of the identity of which a cell's own share is taken, below."""

Key = tuple[str, str]
"""Column that a part belongs to ("" for all of a run), and its name."""


class Difference(NamedTuple):
    """A part that two protocols have otherwise; "not recorded" where it is in one alone."""

    columns: tuple[str, ...]
    name: str
    mine: str
    other: str

    def text(self, word: str) -> str:
        """In words, e.g. ``"AdvBench: temperature 0 instead of 0.7"`` with the word in between."""
        where = f"{', '.join(self.columns)}: " if any(self.columns) else ""
        return f"{where}{self.name} {self.mine} {word} {self.other}"


@dataclass(frozen=True)
class Protocol:
    """All that a number depends on besides the model.

    Attributes:
        parts: column and name of a setting, and its value, in the order of the keys.
    """

    parts: tuple[tuple[Key, str], ...] = ()

    @classmethod
    def of(cls, parts: Mapping[str, Any], column: str = "") -> Protocol:
        """From nested settings; a number's own ones are given with its column."""
        return cls(tuple(sorted(((column, k), _text(v)) for k, v in dotted(parts) if v != {})))

    def __add__(self, other: Protocol) -> Protocol:
        """What a number depends on that is made of both."""
        return Protocol(tuple(sorted({**dict(self.parts), **dict(other.parts)}.items())))

    @cached_property
    def key(self) -> str:
        """Equal for protocols whose numbers may be ranked against each other."""
        agreed = [part for part in self.parts if part[0][1] not in SAID_ONLY]
        return hashlib.sha256(json.dumps(agreed).encode()).hexdigest()[:12]

    def differences(self, other: Protocol, said: bool = False) -> tuple[Difference, ...]:
        """Where the other one is not the same, equal differences of several columns together.

        Args:
            said: of what need not agree, instead of what has to.
        """
        mine, theirs = dict(self.parts), dict(other.parts)
        found: dict[tuple[str, str, str], list[str]] = {}
        for key in sorted(mine.keys() | theirs.keys()):
            absent = _WITHOUT.get(key[1], "not recorded")
            one, two = (parts.get(key, absent) for parts in (mine, theirs))
            if one != two and (key[1] in SAID_ONLY) == said:
                found.setdefault((key[1], one, two), []).append(key[0])
        # Who judges is said; that another judge's weights are others goes without saying.
        named = {name.partition(".")[0] for name, *_ in found if name in _NAMES}
        return tuple(
            Difference(tuple(columns), _words(name, mine), _brief(one), _brief(two))
            for (name, one, two), columns in found.items()
            if name in _NAMES or name.partition(".")[0] not in named
        )

    def text(self) -> str:
        """In words: the settings of the run, and those that its tasks have in common."""
        values: dict[str, set[str]] = {}
        for (_, name), value in self.parts:
            values.setdefault(name, set()).add(value)
        told = [
            f"{_words(name)} {_brief(*found)}"
            for name, found in sorted(values.items(), key=lambda part: _place(part[0]))
            if len(found) == 1
            and not found & {"none", "[]"}
            and name not in _UNTOLD
            and ".of." not in name
            # One judge of both is told of once.
            and not _twice(name, values)
        ]
        return f"{', '.join(told)} (protocol {self.key})"


NOTHING = Protocol()

_JUDGES = ("judge", "refusal judge")
_NAMES = {**{f"{by}.judge": by for by in _JUDGES}, "annotator.annotator": "annotator"}
_UNTOLD = frozenset(
    (
        *("version", "metric", "chat_template", "annotator.config", "data.digest"),
        *(f"{by}.{part}" for by in _JUDGES for part in ("kind", "version", "implementation")),
    )
)
"""What goes without saying in a line that is to be short."""


def of_cell(
    identity: Mapping[str, Any], results: Results, cell: TaskResult, share: str | None = None
) -> Protocol:
    """The protocol of a task's score, or of a share of its responses."""
    counted = share or (COUNTED[cell.metric][0] if cell.judged else "")
    judges = {}
    if counted in HARM or counted in BOTH:
        judges["judge"] = results.judge
    if counted in REFUSAL or counted in BOTH:
        judges["refusal judge"] = results.refusal_judge
    by = {
        part: {**judge, "judge": _plain_name(str(judge.get("judge")))}
        for part, judge in judges.items()
        if judge
    }
    own = {"items": _items(results, cell.n, cell.n < cell.items)}
    if cell.enough is not None and cell.enough.sizes:
        # How many that are depends on the answers; what they are is the same for every model.
        own = {"items": f"enough for ±{results.precision:g}, drawn with seed {results.seed}"}
    return (
        _settings(identity, cell.task, cell.column, str(cell.source.get("name")))
        + Protocol.of(own, cell.column)
        + Protocol.of(by)
    )


def of_mean(results: Results, parts: Iterable[Protocol], groups: Iterable[str]) -> Protocol:
    """The protocol of an average: those of its tasks, and the suite that says which they are.

    Args:
        groups: those of its tasks; where suites were joined, they tell which of them it is.
    """
    suite = f"{results.suite.get('name')} {results.suite.get('version')}"
    averaged = results.suite.get("averaged", {})
    suites = dict.fromkeys(averaged.get(group, suite) for group in sorted(groups)) or [suite]
    return sum(parts, Protocol.of({"suite": " + ".join(suites)}))


def of_alpaca(
    identity: Mapping[str, Any], results: Results, found: HelpfulnessResult, rate: str
) -> Protocol:
    """The protocol of the Alpaca column.

    Args:
        rate: which win rate stands there, e.g. ``"raw"``.
    """
    # Where a server is says nothing of what it answers.
    settings = {k: v for k, v in found.settings.items() if k not in ("annotator", "base_url")}
    own = {
        "annotator": {**settings, "annotator": _plain_name(found.annotator)},
        "reference": found.reference,
        "win rate": rate,
    }
    return of_look(identity, results, found.n, own)


def of_look(
    identity: Mapping[str, Any], results: Results, n: int, own: Mapping[str, Any]
) -> Protocol:
    """The protocol of a number over n responses to AlpacaEval's instructions.

    Args:
        own: what it depends on besides the responses.
    """
    items = {"items": _items(results, n, n == results.limit)}
    asked = _settings(identity, TASK, ALPACA.title, SOURCE.name)
    return asked + Protocol.of({**own, **items}, ALPACA.title)


def of_also(identity: Mapping[str, Any], results: Results, found: AlsoResult) -> Protocol:
    """The protocol of a figure of one of lm-eval's own tasks, or of a group of them."""
    kept = _dict(identity, "also")
    own = _dict(kept, found.task)
    if found.leaves:
        text = json.dumps([kept.get(name) for name in found.leaves], sort_keys=True)
        own = {**own, "tasks": hashlib.sha256(text.encode()).hexdigest()[:32]}
    own = {**own, "items": _items(results, found.n, found.n < found.items)}
    return _general(identity, found.chat_template) + Protocol.of(own, found.title)


def _settings(identity: Mapping[str, Any], task: str, column: str, source: str) -> Protocol:
    """What the identity says of how a task was asked."""
    own = _dict(_dict(identity, "tasks"), task)
    data = {"data": _dict(_dict(identity, "data"), source)}
    general = _general(identity, bool(own.get("chat_template")))
    return general + Protocol.of({**own, **data}, column)


def _general(identity: Mapping[str, Any], chat_template: bool) -> Protocol:
    """What it says of all tasks that are asked through a chat template, or of the others."""
    model = _dict(identity, "model")
    general = {k: v for k, v in identity.items() if k not in _PER_CELL}
    general |= {k: v for k, v in model.items() if k not in OF_MODEL}
    if "template" not in general:
        # Version 0.1 kept the template's hash and not whose it was.
        general["template"] = "the model's" if model.get("chat_template") else "plain prompts"
    if general.get("date") == DATE:
        # Kept of models whose templates ask for it: told the usual one, they are asked as others.
        del general["date"]
    if not chat_template:
        general = {k: v for k, v in general.items() if k not in CHAT_ONLY}
    return Protocol.of(general)


def _items(results: Results, n: int, drawn: bool) -> str:
    """Which items a number is over: those of a limited run are drawn by its seed."""
    return f"{n} drawn with seed {results.seed}" if drawn else f"{n}"


def _plain_name(name: str) -> str:
    """A judge's or annotator's name without the hash that tells two of that name in one run."""
    return re.sub(r"-[0-9a-f]{8}$", "", name)


def _dict(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = parts.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    """A setting as a text; one that is off is "none"."""
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, sort_keys=True)


def _twice(name: str, values: Mapping[str, set[str]]) -> bool:
    """Whether a part of the refusal judge is that of the judge, because one model is both."""
    kind, _, part = name.partition(" ")
    return kind == "refusal" and name not in _NAMES and values[name] == values.get(part)


def _place(name: str) -> tuple[bool, bool, str]:
    """Suite and items come first, what is only said comes last, a judge's name before the rest."""
    kind, _, part = name.partition(".")
    return name not in ("suite", "items"), name in SAID_ONLY, kind if part == kind else name


_SPACES = str.maketrans("._", "  ")


def _words(name: str, beside: Mapping[Key, str] | None = None) -> str:
    """A setting's name in words; a judge's with the judge's name in it.

    Args:
        beside: the settings that the judge's name is among.
    """
    words = _NAMES.get(name, name).removeprefix("generation.").translate(_SPACES)
    kind = name.partition(".")[0]
    judge = (beside or {}).get(("", f"{kind}.judge")) if kind in _JUDGES else None
    return words.replace(f"{kind} ", f"{kind} {judge}, ", 1) if judge else words


def _brief(value: str) -> str:
    """A value in a sentence: hashes by their beginning, texts by theirs."""
    if len(value) >= 16 and set(value) <= set("0123456789abcdef-"):
        return value[:8]
    return value if len(value) <= 40 else f"{value[:39]}…"
