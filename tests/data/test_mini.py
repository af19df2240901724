"""The bundled mini items: what the README beside them promises.

Fields, balance, constraints that a program can check and that the reference outputs meet, and no
text in common with the real data. Those of the four generative sources and of the suite balance are
written in the toy world's language with combinations that its models have not seen, so that the
demo's rates have a known truth behind them; see docs/toy-world.md.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks.catalog import all_sources, find_source
from bfpo_bench.tasks.multijail import LANGUAGES
from bfpo_bench.toy_world.ground_truth import (
    Request,
    Split,
    is_harmful,
    opening_split,
    parse_request,
)
from bfpo_bench.toy_world.vocabulary import ATTACKS, MISHAPS, SPEAKERS
from tests.data.named import load

Row = dict[str, Any]

MINI = Path(bfpo_bench.__file__).parent / "data" / "mini"

PROMPTS = ("advbench", "realtoxicityprompts", "alert", "alert_adversarial")
HARM = [task.source for task in load_suite("balance").tasks if task.group == "harm"]
ANSW = [task.source for task in load_suite("balance").tasks if task.metric == "answered"]
SETS = [*HARM, *ANSW, "harmbench_copyright", "multijail"]
ALL = list(all_sources())
OTHERS = [name for name in ALL if name not in (*PROMPTS, *SETS)]
PARAMETER: dict[str, dict[str, type]] = {
    **{key: {"value": int} for key in ("max_words", "min_words", "line_count", "is_number")},
    **{key: {"text": str} for key in ("contains", "not_contains", "starts_with", "ends_with")},
    **{key: {} for key in ("all_lowercase", "all_uppercase", "is_json")},
}
"""The constraint kinds of the README, and the type of what each is given."""


def mini(source: str) -> list[Row]:
    text = (MINI / f"{source}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def prompts(source: str) -> list[str]:
    field = find_source(source).prompt or "prompt"
    return [row[field] for row in mini(source)]


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def assert_half(flags: list[bool]) -> None:
    assert 0.4 <= sum(flags) / len(flags) <= 0.6


@pytest.mark.parametrize("source", ALL)
def test_fields_and_types(source: str) -> None:
    rows = mini(source)
    assert len(rows) >= 24
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == find_source(source).fields
        texts = strings({name: value for name, value in row.items() if name != "filename"})
        assert all(text and text == text.strip() for text in texts)
        assert row.get("label", 0) in (0, 1)
    if "id" in rows[0]:
        assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("source", ALL)
def test_no_item_twice(source: str) -> None:
    asked = prompts(source) if source in (*PROMPTS, *SETS) else mini(source)
    items = Counter(json.dumps(item, sort_keys=True).lower() for item in asked)
    assert max(items.values()) == 1


def test_crows_pairs_differ_in_the_group_only() -> None:
    rows = mini("crows_pairs")
    assert {row["stereo_antistereo"] for row in rows} == {"stereo", "antistereo"}
    assert_half([row["stereo_antistereo"] == "stereo" for row in rows])
    for row in rows:
        more, less = row["sent_more"].split(), row["sent_less"].split()
        while more and less and more[0] == less[0]:
            del more[0], less[0]
        while more and less and more[-1] == less[-1]:
            del more[-1], less[-1]
        assert 1 <= len(more) <= 3
        assert 1 <= len(less) <= 3


@pytest.mark.parametrize("source", ["bbq_lite", "moral_permissibility", "simple_ethical_questions"])
def test_prompt_lists_the_choices_as_bigbench_does(source: str) -> None:
    for row in mini(source):
        listed = "".join(f"\n  choice: {choice}" for choice in row["choices"])
        question = row["inputs"].removesuffix(listed + "\nA:")
        assert re.fullmatch(r"Q: \S.*\?", question)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("bbq_lite", 3),
        ("moral_permissibility", 2),
        ("simple_ethical_questions", 4),
        ("hhh_alignment", 2),
    ],
)
def test_one_right_choice_evenly_placed(source: str, count: int) -> None:
    rows = mini(source)
    for row in rows:
        assert len(set(row["choices"])) == count
        assert sorted(row["scores"]) == [0] * (count - 1) + [1]
    placed = Counter(row["scores"].index(1) for row in rows)
    assert all(abs(placed[place] - len(rows) / count) <= 1 for place in range(count))


def test_bbq_ambiguous_items_are_unanswerable() -> None:
    rows = mini("bbq_lite")
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row["group"], []).append(row)
    for family in families.values():
        answers: dict[str, list[str]] = {"ambig": [], "disambig": []}
        for row in family:
            condition = row["category"].rsplit("_", 1)[1]
            answers[condition].append(row["choices"][row["scores"].index(1)])
        unknown, *again = answers["ambig"]
        assert again == [unknown]
        # The two questions of a disambiguated item ask for the one person and for the other.
        assert {unknown, *answers["disambig"]} == set(family[0]["choices"])
    assert len(rows) == 4 * len(families)


def test_winogrande_twins_share_the_sentence_and_not_the_answer() -> None:
    rows = mini("winogrande")
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert {first["answer"], second["answer"]} == {"1", "2"}
        stems = [row["sentence"].split("_")[0] for row in (first, second)]
        # One pair of twins differs a few words before its blank, all others only after it.
        assert stems[0].split()[:8] == stems[1].split()[:8]
        for row in (first, second):
            assert row["sentence"].count("_") == 1
            assert row["option1"] in row["sentence"]
            assert row["option2"] in row["sentence"]


@pytest.mark.parametrize(
    "source", ["ethics_commonsense", "ethics_justice", "ethics_deontology", "moral_permissibility"]
)
def test_labels_balance(source: str) -> None:
    rows = mini(source)
    if source == "moral_permissibility":
        assert_half([row["scores"][row["choices"].index("Yes")] == 1 for row in rows])
    else:
        assert_half([row["label"] == 1 for row in rows])


@pytest.mark.parametrize("source", ["ethics_justice", "ethics_deontology"])
def test_groups_of_four_with_one_beginning(source: str) -> None:
    rows = mini(source)
    assert len(rows) % 4 == 0
    for start in range(0, len(rows), 4):
        group = rows[start : start + 4]
        assert sum(row["label"] for row in group) == 2
        assert len({" ".join(row["scenario"].split()[:5]) for row in group}) == 1
        if source == "ethics_deontology":
            assert len({row["scenario"] for row in group}) == 1


def test_virtue_has_one_trait_in_five() -> None:
    rows = mini("ethics_virtue")
    assert len(rows) == 25
    for start in range(0, 25, 5):
        group = rows[start : start + 5]
        assert len({row["scenario"] for row in group}) == 1
        assert len({row["trait"] for row in group}) == 5
        assert sum(row["label"] for row in group) == 1


def test_utilitarianism_is_shown_either_way_round() -> None:
    # The order in which lm-eval shows a pair is drawn from a generator seeded with the activity.
    def better_first(row: Row) -> bool:
        order = [True, False]
        random.Random(row["activity"]).shuffle(order)
        return order[0]

    assert_half([better_first(row) for row in mini("ethics_utilitarianism")])


def test_toxigen_ratings() -> None:
    rows = mini("toxigen")
    ratings = [row[name] for row in rows for name in ("toxicity_ai", "toxicity_human")]
    assert 1 <= min(ratings) <= max(ratings) <= 5
    hateful = [row["toxicity_ai"] + row["toxicity_human"] > 5.5 for row in rows]
    assert_half(hateful)
    groups = Counter(row["target_group"] for row, yes in zip(rows, hateful, strict=True) if yes)
    assert groups == Counter({row["target_group"]: 1 for row in rows})


def test_hhh_prompts_and_subsets() -> None:
    rows = mini("hhh_alignment")
    subsets = Counter(row["subset"] for row in rows)
    assert subsets == {"harmless": 6, "helpful": 6, "honest": 6, "other": 6}
    assert all(re.fullmatch(r"(?s)Human: .+\nAssistant:", row["inputs"]) for row in rows)


def meets(constraint: Row, answer: str) -> bool:
    """The README's table of constraint kinds, read literally."""
    answer = answer.strip()
    value, text = constraint.get("value", 0), constraint.get("text", "")
    letters = any(character.isalpha() for character in answer)
    met = {
        "max_words": len(answer.split()) <= value,
        "min_words": len(answer.split()) >= value,
        "contains": text.lower() in answer.lower(),
        "not_contains": text.lower() not in answer.lower(),
        "starts_with": answer.startswith(text),
        "ends_with": answer.endswith(text),
        "line_count": sum(bool(line.strip()) for line in answer.split("\n")) == value,
        "all_lowercase": letters and answer == answer.lower(),
        "all_uppercase": letters and answer == answer.upper(),
        "is_json": _is_json(answer),
        "is_number": bool(re.fullmatch(r"[+-]?\d+(\.\d+)?", answer)) and float(answer) == value,
    }
    return bool(answer) and met[constraint["kind"]]


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer, parse_constant=int), dict | list)
    except ValueError:
        return False


def test_reference_outputs_meet_their_constraints() -> None:
    rows = mini("alpaca_eval")
    assert {row["constraint"]["kind"] for row in rows} == set(PARAMETER)
    for row in rows:
        given = {name: type(value) for name, value in row["constraint"].items() if name != "kind"}
        assert given == PARAMETER[row["constraint"]["kind"]]
        assert meets(row["constraint"], row["reference_output"]), row["instruction"]
        assert not meets(row["constraint"], " ")
        assert (row["dataset"], row["reference_model"]) == ("mini", "bfpo-bench")


def test_constraints_tell_answers_apart() -> None:
    # Each constraint is missed by one of two answers that any model could give.
    careless = ("Sure! It is WHITE at harvest time: there is a lot to be said.\nHere is more", "No")
    for row in mini("alpaca_eval"):
        assert not all(meets(row["constraint"], answer) for answer in careless)


def real_texts(data_dir: Path) -> Iterator[str]:
    """Every cell and string of the published files of the same data sets."""
    folders = ("alpacaeval", "bbq_lite_json", "crows_pairs", "ethics", "hhh_alignment", "toxigen")
    for folder in (*folders, "winogrande"):
        for path in sorted((data_dir / folder).rglob("*")):
            if path.suffix == ".csv":
                with path.open(encoding="utf-8", newline="") as file:
                    for cells in csv.reader(file):
                        yield from (part for cell in cells for part in cell.split(" [SEP] "))
            elif path.is_file() and path.name != "LICENSE":
                text = path.read_text(encoding="utf-8")
                by_line = path.suffix == ".jsonl" or folder == "hhh_alignment"
                documents = text.splitlines() if by_line else [text]
                for document in documents:
                    yield from strings(json.loads(document))


def normalised(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def test_no_text_of_the_real_data(data_dir: Path) -> None:
    ours = set()
    for source in OTHERS:
        for row in mini(source):
            for text in strings(row):
                question = re.split(r"\n  choice: |\nA(?:ssistant)?:", text)[0]
                ours.add(normalised(re.sub(r"^(Q|Human): ", "", question)))
                ours.add(normalised(text))
    # Answers such as "Yes", "Not known" or a single trait belong to nobody.
    ours = {text for text in ours if text.count(" ") >= 3}
    assert len(ours) > 500
    theirs = {normalised(text) for text in set(real_texts(data_dir))}
    assert len(theirs) > 20_000
    assert not ours & theirs


# ---------------------------------------------------- in the toy world's language


def test_all_ask_for_mischief_that_no_model_has_seen() -> None:
    asked: list[Request] = []
    for source in ("advbench", "alert", "alert_adversarial", *HARM):
        for prompt in prompts(source):
            request = parse_request(prompt)
            assert request is not None, prompt
            assert request.harmful, prompt
            assert request.split is Split.TEST, prompt
            asked.append(request)
    assert max(Counter(asked).values()) == 1  # no two files ask for the same
    assert len({(r.action, r.owner) for r in asked}) == 12


def test_look_alikes_ask_for_nothing_harmful_and_no_model_has_seen_them() -> None:
    asked = [parse_request(prompt) for source in ANSW for prompt in prompts(source)]
    found = [request for request in asked if request is not None]
    assert len(found) == len(asked) == 6 * 24
    assert {(request.harmful, request.split) for request in found} == {(False, Split.TEST)}
    assert max(Counter(found).values()) == 1
    # Either the deed is like a harmful one's, or the owner of the thing is.
    assert all(request.action.meddles != request.owner.other for request in found)


def test_multijail_has_a_text_for_every_language() -> None:
    rows = mini("multijail")
    for name in LANGUAGES:
        assert len({row[name] for row in rows}) == len(rows)
    for row in rows:
        assert (request := parse_request(row["en"])) is not None
        assert request.harmful


def test_answering_as_advbench_wants_it_is_harmful() -> None:
    for row in mini("advbench"):
        request = parse_request(row["goal"])
        assert request is not None
        assert row["target"] == f"Sure, here is how to {request.answered}"
        assert is_harmful(row["goal"], f"{row['target']}: {request.action.tip}.")


def test_attacks() -> None:
    found = mini("alert_adversarial")
    assert Counter(row["attack_type"] for row in found) == dict.fromkeys(ATTACKS, 8)
    for row in found:
        wrappings = [wrapping.split("{request}") for wrapping in ATTACKS[row["attack_type"]]]
        assert any(
            row["prompt"].startswith(before) and row["prompt"].endswith(after)
            for before, after in wrappings
        )


def test_beginnings_that_no_model_has_seen() -> None:
    for prompt in prompts("realtoxicityprompts"):
        mishap, rest = prompt.split(", ")
        speaker = next(s for s in SPEAKERS if rest.startswith(s))
        assert opening_split(MISHAPS.index(mishap), SPEAKERS.index(speaker)) is Split.TEST
        assert rest.endswith(" that")
        assert is_harmful(prompt, " the manager was utterly useless.")
        assert not is_harmful(prompt, " the manager was doing fine.")


def test_no_goal_is_a_real_one(data_dir: Path) -> None:
    ours = {prompt.casefold() for source in (*PROMPTS, *SETS) for prompt in prompts(source)}
    real: set[str] = set()
    path = data_dir / "advbench" / "harmful_behaviors.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        real |= {row["goal"].casefold() for row in csv.DictReader(file)}
    assert len(real) > 500
    for source in SETS:
        if find_source(source).default.digest is not None:
            field = find_source(source).prompt or "prompt"
            real |= {r[field].casefold() for r in load(source, data_dir=data_dir).rows}
    assert len(real) > 2500
    assert not ours & real
