"""BIG-bench's rendering, against what its transcripts and its data set card show."""

from __future__ import annotations

import numpy as np
import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import Record
from bfpo_bench.tasks import bbq_lite, bigbench


@pytest.mark.parametrize(
    ("count", "order"),
    [
        (2, (1, 0)),  # known_unknowns, transcript
        (3, (0, 1, 2)),  # bbq_lite_json, transcript
        (4, (1, 3, 0, 2)),  # simple_ethical_questions, human_organs_senses, transcripts
        (5, (1, 4, 2, 0, 3)),  # emoji_movie, card of the hub data set
    ],
)
def test_choices_are_listed_in_the_published_order(count: int, order: tuple[int, ...]) -> None:
    assert bigbench.listing_order(count) == order
    assert order == tuple(np.random.RandomState(42).permutation(count))


def test_choices_are_listed_as_on_the_data_set_card() -> None:
    # The instance of emoji_movie on the card of google/bigbench, with another question.
    choices = ["harry potter", "shutter island", "die hard", "inglourious basterds", "moonlight"]
    assert bigbench.render("Which film?", choices, {}) == (
        "Q: Which film?\n  choice: harry potter\n"
        "  choice: shutter island\n  choice: inglourious basterds\n  choice: die hard\n"
        "  choice: moonlight\nA:"
    )


def test_a_task_may_change_prefixes_and_leave_the_choices_out(write) -> None:
    task = {
        "task_prefix": "Decide.",
        "example_input_prefix": "\nCase: ",
        "example_output_prefix": "\nVerdict: ",
        "choice_prefix": "\n- ",
        "examples": [{"input": "May she?", "target_scores": {"Yes ": 0.0, " No": 1}}],
    }
    path = write("task.json", task)
    # Sorted (" No" before "Yes ") and then the second first.
    assert bigbench.read_task([path]) == [
        {
            "inputs": "Decide.\nCase: May she?\n- Yes \n-  No\nVerdict:",
            "choices": ["Yes", "No"],
            "scores": [0, 1],
        }
    ]
    path = write("task.json", {**task, "append_choices_to_input": False})
    assert bigbench.read_task([path])[0]["inputs"] == "Decide.\nCase: May she?\nVerdict:"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"name": "x"}, "field 'examples' is missing"),
        ({"examples": {}}, "'examples' should be a list"),
        ({"examples": [{"input": "a"}]}, "example 0: field 'target_scores' is missing"),
        ({"examples": [{"input": "a", "target_scores": ["b"]}]}, "expected an object, found list"),
        ({"examples": [{"input": "a", "target_scores": {"b": 1}}]}, "at least two choices"),
        ({"examples": [{"input": "a", "target_scores": {"b": 0, "c": 0}}]}, "one of them 1"),
        ({"examples": [{"input": "a", "target_scores": {"b": 0.5, "c": 1}}]}, "a whole number"),
    ],
)
def test_a_bad_task_file_names_the_example(write, task: object, expected: str) -> None:
    path = write("task.json", task)
    with pytest.raises(BadInput, match=expected):
        bigbench.task_rows(path)


def test_families_follow_shared_questions_and_openings() -> None:
    def item(text: str) -> dict[str, object]:
        return {"inputs": f"Q: {text}\n  choice: x\n  choice: y\nA:", "choices": [], "scores": []}

    rows = [
        item("Ann met Bob. Who was late?"),
        item("Ann met Bob. Bob ran. Who was on time?"),  # opening of the first
        item("Cy met Di. Who was late?"),  # question of the first
        item("Ed met Flo. Who was rude?"),
        item("Ed met Flo and no stop follows Who was rude?"),
    ]
    groups = [row["group"] for row in bbq_lite.with_families(rows)]
    assert groups == ["Who was late?"] * 3 + ["Who was rude?"] * 2
    assert [row["group"] for row in bbq_lite.with_families(rows[::-1])] == groups[::-1]


def test_the_key_ignores_how_the_choices_are_listed() -> None:
    row = {
        "inputs": "Q: q\n  choice: a\n  choice: b\nA:",
        "choices": ["a", "b"],
        "scores": [1, 0],
    }
    other = {
        "inputs": "Q: q\n  choice: b\n  choice: a\nA:",
        "choices": ["b", "a"],
        "scores": [0, 1],
    }
    swapped = {**row, "scores": [0, 1]}
    assert bigbench.choice_key(row) == bigbench.choice_key(other)
    assert bigbench.choice_key(row) != bigbench.choice_key(swapped)


def test_hub_rows_are_checked_too() -> None:
    bad = {"inputs": "q", "multiple_choice_targets": ["a"], "multiple_choice_scores": [1]}
    with pytest.raises(BadInput, match="row 0: expected at least two choices"):
        bigbench.hub_rows([Record("hub, row 0", bad)])
    with pytest.raises(BadInput, match="row 0: the scores should be a list, found int; fetch the"):
        bigbench.hub_rows([Record("hub, row 0", {**bad, "multiple_choice_scores": 1})])
