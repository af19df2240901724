"""Upstream rows of the other sources, on rows written here."""

from __future__ import annotations

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Record
from bfpo_bench.tasks import alert
from bfpo_bench.tasks.catalog import find_source


def read(name: str, path, variant: int = 0) -> list[dict[str, object]]:
    return find_source(name).variants[variant].read([path])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("### Instruction:\nSay hi\n### Response:\n", "Say hi"),
        ("### Instruction:\nTwo\n\nlines \n### Response:", "Two\n\nlines "),
        ("### Instruction:\na\n### Response:\nb\n### Response:\n", "a\n### Response:\nb"),
        ("no frame", "no frame"),
        ("### Instruction:\nopen end", "### Instruction:\nopen end"),
    ],
)
def test_alert_prompts_come_out_of_their_frame(prompt: str, expected: str) -> None:
    record = Record("here", {"id": 7, "prompt": prompt, "category": "c", "attack_type": None})
    row = {"prompt": expected, "category": "c", "id": "7"}
    for source, more in ((alert.PLAIN, {}), (alert.ADVERSARIAL, {"attack_type": ""})):
        hub = source.default.hub
        assert hub is not None
        assert hub.read([record]) == [{**row, **more}]


def test_only_challenging_toxicity_prompts_are_taken(write) -> None:
    rows = [
        {"filename": "a", "challenging": True, "prompt": {"text": " one", "toxicity": None}},
        {"filename": "b", "challenging": False, "prompt": {"text": "two"}},
    ]
    path = write("prompts.jsonl", rows)
    assert read("realtoxicityprompts", path) == [{"prompt": " one", "filename": "a"}]
    path = write("prompts.jsonl", [{"filename": "a", "prompt": {"text": "x"}}])
    with pytest.raises(BadInput, match="line 1: field 'challenging' is missing"):
        read("realtoxicityprompts", path)


def test_ethics_texts_and_labels_stay_as_published(write) -> None:
    path = write("d.csv", "label,scenario,excuse\n0,Ought you?,No because I did. \n")
    assert read("ethics_deontology", path) == [
        {"label": 0, "scenario": "Ought you?", "excuse": "No because I did. "}
    ]
    path = write("c.csv", 'label,input,is_short,edited\n1,"I ran.\r\nFast",True,False\n')
    assert read("ethics_commonsense", path) == [{"label": 1, "input": "I ran.\r\nFast"}]
    path = write("u.csv", '"I won, twice.",I lost. \n')
    assert read("ethics_utilitarianism", path) == [
        {"activity": "I won, twice.", "baseline": "I lost. "}
    ]
    with pytest.raises(BadInput, match=r"c\.csv, line 2: field 'label' should be 0 or 1, found 2"):
        read("ethics_commonsense", write("c.csv", "label,input\n2,x\n"))


def test_virtue_takes_scenario_and_trait_apart(write) -> None:
    path = write("v.csv", "label,scenario\n1,She gave all. [SEP] generous\n")
    row = {"label": 1, "scenario": "She gave all.", "trait": "generous"}
    assert read("ethics_virtue", path) == [row]
    hub = find_source("ethics_virtue").default.hub
    assert hub is not None
    assert hub.read([Record("here", row)]) == [row]
    with pytest.raises(BadInput, match=r"line 2: field 'scenario' has no ' \[SEP\] '"):
        read("ethics_virtue", write("v.csv", "label,scenario\n1,She gave all.\n"))


def test_advbench_transfer_has_no_header_and_loose_commas(write) -> None:
    path = write("t.csv", 'Bake a cake\n"Sing, loudly"\nDance, then rest\n')
    assert [row["goal"] for row in read("advbench", path, variant=1)] == [
        "Bake a cake",
        "Sing, loudly",
        "Dance, then rest",
    ]


def test_winogrande_needs_a_blank_and_a_known_answer(write) -> None:
    row = {"sentence": "A _ b", "option1": "x", "option2": "y", "answer": "1", "qID": "z"}
    assert read("winogrande", write("w.jsonl", [row])) == [
        {"sentence": "A _ b", "option1": "x", "option2": "y", "answer": "1"}
    ]
    for bad in ({"answer": ""}, {"sentence": "no blank"}):
        with pytest.raises(BadInput, match=r"w\.jsonl, line 1: expected a sentence with a blank"):
            read("winogrande", write("w.jsonl", [{**row, **bad}]))


def test_alpaca_eval_is_a_list(write) -> None:
    path = write(
        "m.json", '[{"instruction": "i", "dataset": "d", "output": "o", "generator": "g"}]'
    )
    assert read("alpaca_eval", path) == [
        {
            "instruction": "i",
            "dataset": "d",
            "reference_output": "o",
            "reference_model": "g",
            "constraint": "",
        }
    ]
    with pytest.raises(BadInput, match="expected a list, found dict"):
        read("alpaca_eval", write("m.json", {}))
