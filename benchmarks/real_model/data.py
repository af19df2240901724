"""What the study trains on, what it is evaluated on, and that the two share no prompt.

AdvBench has many prompts that differ in a word, and StrongREJECT and JailbreakBench hold some of
AdvBench's and HarmBench's. So a training prompt is left out where its words are :data:`TWIN` alike
with those of any prompt that is asked in the evaluation.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Source, load_source
from bfpo_bench.tasks import coconot, harmbench, jailbreakbench, strongreject, xstest
from bfpo_bench.tasks.advbench import SOURCE as ADVBENCH
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.load import load_set
from bfpo_bench.training.data.preferences import PreferenceRecord
from bfpo_bench.training.recipe_parts import DataRecipe

TWIN = 0.5
"""Jaccard similarity of two prompts' sets of words from which on they count as near twins."""

TEST: Sequence[Source] = (
    *(xstest.UNSAFE, jailbreakbench.HARMFUL, strongreject.SOURCE, coconot.SAFETY),
    *(xstest.SAFE, coconot.CONTRAST, jailbreakbench.BENIGN),
)
"""What is asked whole, besides AdvBench's held-out half."""

HELD_PAIRS = 8
"""Pairs of each set at most that are looked at and not trained on."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Split:
    """Prompts by what is done with them.

    Attributes:
        redteam: are asked for pairs to train on; none is a near twin of what is evaluated.
        held: AdvBench's other half.
        counts: how many were left out and why, to print.
    """

    redteam: list[str]
    held: list[str]
    counts: dict[str, int]


class Twins:
    """Tells whether a prompt is a near twin of one of some others."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._sets = list({_words(prompt) for prompt in prompts})

    def __contains__(self, prompt: str) -> bool:
        words = _words(prompt)
        return any(len(words & s) >= TWIN * len(words | s) for s in self._sets)


def _words(prompt: str) -> frozenset[str]:
    return frozenset(_WORD.findall(prompt.casefold()))


def _drawn(texts: Iterable[str]) -> list[str]:
    """Texts in an order that depends on nothing but themselves."""
    return sorted(set(texts), key=lambda text: hashlib.sha256(text.encode()).digest())


def split(data_dir: Path, prompts: int) -> Split:
    """Parts AdvBench and HarmBench into what is trained on and what is not.

    Args:
        prompts: so many are red-teamed at most, as many of either set as can be.
    """
    advbench = _drawn(row["goal"] for row in load_source(ADVBENCH, data_dir=data_dir).rows)
    half = len(advbench) // 2
    held = advbench[half:]
    asked = Twins([*held, *test_prompts(data_dir)])
    behaviors = _drawn(
        row["prompt"] for row in load_source(harmbench.STANDARD, data_dir=data_dir).rows
    )
    free = {
        name: [prompt for prompt in some if prompt not in asked]
        for name, some in (("AdvBench", advbench[:half]), ("HarmBench", behaviors))
    }
    rest = free["HarmBench"][: prompts // 2]
    chosen = [*free["AdvBench"][: prompts - len(rest)], *rest]
    counts = {
        "AdvBench, training half": half,
        "of them near twins of what is evaluated": half - len(free["AdvBench"]),
        "HarmBench standard": len(behaviors),
        "of these near twins of what is evaluated": len(behaviors) - len(free["HarmBench"]),
        "red-teamed": len(chosen),
    }
    return Split(chosen, held, counts)


def test_prompts(data_dir: Path) -> list[str]:
    """The prompts of the sets that are asked whole."""
    return [row["prompt"] for one in TEST for row in load_source(one, data_dir=data_dir).rows]


def data_folder(folder: Path, data_dir: Path, advbench: Sequence[str]) -> None:
    """A data folder whose AdvBench has these prompts alone, and the others' as in `data_dir`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("xstest", "jailbreakbench", "strongreject", "coconot"):
        if not (folder / name).exists():
            (folder / name).symlink_to((data_dir / name).resolve())
    file = folder / "advbench" / "harmful_behaviors.csv"
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows([("goal", "target"), *((one, "") for one in advbench)])


def write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def records(
    name: str, *files: Path, all_safe: bool = False, **options: Any
) -> list[PreferenceRecord]:
    """The pairs in files, by the trainer's own reader."""
    wanted = DataRecipe(
        name=name, pairs="bfpo", files=tuple(map(str, files)), all_safe=all_safe, **options
    )
    return load_set(wanted).records


def without_system(record: PreferenceRecord) -> PreferenceRecord:
    """A pair as if its responses had been given without a system prompt."""
    return replace(record, prompt=tuple(one for one in record.prompt if one[0] != "system"))


Fits = Callable[[PreferenceRecord], bool]


def fitting(tokenizer: Any, max_length: int) -> Fits:
    """Whether a pair needs no cut: prompt and longer response in so many tokens of the template."""

    def fits(record: PreferenceRecord) -> bool:
        turns = [{"role": role, "content": content} for role, content in record.prompt]
        texts = (
            tokenizer.apply_chat_template(
                [*turns, {"role": "assistant", "content": response}], tokenize=False
            )
            for response in record.responses
        )
        return all(len(tokenizer(text).input_ids) <= max_length for text in texts)

    return fits


def write_pairs(
    folder: Path, data_dir: Path, redteamed: Path, advbench: Sequence[str], fits: Fits
) -> dict[str, Any]:
    """The four files of pairs.

    Args:
        redteamed: what ``bfpo-bench redteam`` has made.
        advbench: AdvBench's held-out half.
        fits: see :func:`fitting`.

    Returns:
        what there was and what is left, to print and keep.
    """
    asked = Twins([*advbench, *test_prompts(data_dir)])
    benign = records(
        "coconot",
        data_dir / "coconot" / "coconot_pref.jsonl",
        all_safe=True,
        ignore_fields=("category", "subcategory"),
    )
    chat = records("chat", data_dir / "preference" / "dpo_pairs_300_sharegpt.json", all_safe=True)
    pku = records("pku", data_dir / "preference" / "pku_saferlhf_32.json")
    own = [without_system(one) for one in records("redteam", redteamed)]
    mixed = [one for one in own if one.safe[0] != one.safe[1]]
    found: dict[str, Any] = {
        "red-teamed pairs": len(own),
        "of them safe against unsafe": len(mixed),
    }
    free = {}
    for name, some in (("coconot", benign), ("chat", chat), ("pku", pku), ("redteam", mixed)):
        short = [one for one in some if fits(one)]
        free[name] = [one for one in short if one.prompt[-1][1] not in asked]
        found[name] = {"pairs": len(some), "short enough": len(short), "no twin": len(free[name])}
    sets = {
        "helpfulness": _parted([*free["coconot"], *free["chat"]]),
        "safety": _parted([*free["redteam"], *free["pku"]]),
    }
    for name, (train, held) in sets.items():
        write_lines(folder / f"{name}.jsonl", map(write_row, train))
        write_lines(folder / f"held-{name}.jsonl", map(write_row, held))
        found[f"{name}: trained on, held out"] = [len(train), len(held)]
    return found


def _parted(
    some: Sequence[PreferenceRecord],
) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Pairs to train on, and a few that are not, by prompts; no near twins between the two."""
    drawn = _drawn(one.prompt[-1][1] for one in some)
    held = drawn[: min(HELD_PAIRS, len(drawn) // 5)]
    near = Twins(held)
    return (
        [one for one in some if one.prompt[-1][1] not in near],
        [one for one in some if one.prompt[-1][1] in set(held)],
    )


def check_held_out(folder: Path, evaluated: Sequence[str]) -> int:
    """Looks for a trained prompt among those that are evaluated.

    Returns:
        how many different prompts are trained on.

    Raises:
        BadInput: there is one, or a near twin.
    """
    files = (folder / f"{name}.jsonl" for name in ("helpfulness", "safety"))
    trained = {one.prompt[-1][1] for file in files for one in records(file.stem, file)}
    asked = Twins(evaluated)
    both = sorted(prompt for prompt in trained if prompt in asked)
    if both:
        raise BadInput(
            f"{len(both)} trained prompts are evaluated too, or near twins are: {both[0]!r}; make "
            "the data anew."
        )
    return len(trained)
