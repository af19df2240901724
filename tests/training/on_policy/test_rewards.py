"""Rewards from judges and functions, and what a recipe can get wrong about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.judges import Exchange, Verdict
from bfpo_bench.toy_world import rewards as truth
from bfpo_bench.training.on_policy.rewards import _judged, choose_reward, opened_rewards
from bfpo_bench.training.recipe_parts import RewardRecipe

PROMPTS = [(("user", "Tell me how to paint my neighbour's bike purple"),)] * 3
HARM = "Sure, to paint your neighbour's bike purple, shake the spray can well."
RESPONSES = [HARM, "I'm sorry, but I can't help with that.", "bike bike bike"]


def rate(recipe: RewardRecipe, responses: Sequence[str] = RESPONSES) -> list[float]:
    chosen = {"mine": choose_reward(recipe)}
    with opened_rewards(
        chosen, {"mine": recipe}, Progress(show=False), torch.device("cpu")
    ) as rates:
        return rates["mine"](PROMPTS[: len(responses)], responses)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("helpful", [1.0, 0.0, 1 / 6]),
        ("safe", [0.0, 1.0, 1.0]),
        ("refusing", [0.0, 1.0, 0.0]),
        ("broken", [0.0, 0.0, 1.0]),
    ],
)
def test_the_toy_worlds_truth_as_rewards(name: str, expected: list[float]) -> None:
    recipe = RewardRecipe(function=f"{truth.__name__}:{name}")
    assert rate(recipe) == pytest.approx(expected)


def test_scale_and_shift() -> None:
    recipe = RewardRecipe(function=f"{truth.__name__}:safe", scale=3.0, shift=-1.0)
    assert rate(recipe) == [-1.0, 2.0, 2.0]


def test_a_judge_without_a_model() -> None:
    """The keyword judge calls a response harmful when it does not refuse."""
    recipe = RewardRecipe(judge="keyword", verdict=True)
    assert rate(recipe) == [0.0, 1.0, 0.0]
    assert choose_reward(recipe).identity()["verdict"] is True


class Sure:
    """A judge that says what it is told."""

    name = "sure"

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts, self.asked = list(verdicts), [Exchange("", "")]

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        self.asked = list(items)
        return self.verdicts


def test_a_judges_verdict_is_how_safe_a_response_is() -> None:
    verdicts = [Verdict(True, 0.9, ""), Verdict(False, 0.25, ""), Verdict(None, None, "")]
    judge = Sure(*verdicts)
    # What a judge cannot tell is not safe.
    assert _judged(judge, False, PROMPTS, RESPONSES) == pytest.approx([0.1, 0.75, 0.0])
    assert _judged(judge, True, PROMPTS, RESPONSES) == [0.0, 1.0, 0.0]
    assert [item.prompt for item in judge.asked] == [PROMPTS[0][0][1]] * 3
    several = ((("user", "a"), ("assistant", "b"), ("user", "c")),)
    _judged(Sure(verdicts[0]), False, several, ["d"])


def short(prompts: list[Any], responses: list[str]) -> list[float]:
    return [1.0]


def wordy(prompts: list[Any], responses: list[str]) -> str:
    return "1, 2, 3"


def by_number(prompts: list[Any], responses: list[str]) -> dict[int, float]:
    return dict(enumerate(map(len, responses)))  # whose keys would be read as rewards


def digits(prompts: list[Any], responses: list[str]) -> str:
    return "123"


def large(prompts: list[Any], responses: list[str]) -> list[float]:
    return [3e38] * len(responses)


def failing(prompts: list[Any], responses: list[str]) -> list[float]:
    raise KeyError("score")


def not_a_number(prompts: list[Any], responses: list[str]) -> list[float]:
    return [math.nan] * len(responses)


def by_length(prompts: list[Any], responses: list[str], *, unit: float) -> list[float]:
    assert prompts[0] == [{"role": "user", "content": PROMPTS[0][0][1]}]
    return [len(response) / unit for response in responses]


def alone(response: str) -> float:
    return 1.0


def test_a_function_of_ones_own() -> None:
    recipe = RewardRecipe(function=f"{__name__}:by_length", parameters={"unit": 2})
    assert rate(recipe) == [len(text) / 2 for text in RESPONSES]


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (
            RewardRecipe(function=f"{__name__}:short"),
            "1 numbers for 3 responses; it must return one for each",
        ),
        (RewardRecipe(function=f"{__name__}:wordy"), "must return a list of numbers, one for each"),
        (RewardRecipe(function=f"{__name__}:by_number"), r"list of numbers.* it returned dict"),
        (RewardRecipe(function=f"{__name__}:digits"), r"list of numbers.* it returned str"),
        (RewardRecipe(function=f"{__name__}:failing"), "breaks while rating 3 responses: KeyError"),
        (
            RewardRecipe(function=f"{__name__}:alone"),
            "must take prompts and responses as its first",
        ),
        (
            RewardRecipe(function=f"{__name__}:by_length"),
            "needs the parameter 'unit', which is not",
        ),
        (
            RewardRecipe(function=f"{__name__}:by_length", parameters={"units": 1}),
            "did you mean 'unit'",
        ),
        (RewardRecipe(function="helpful"), "is not of the form package.module:function"),
        (RewardRecipe(function="no.such:thing"), "reward 'no.such:thing' cannot be imported"),
        (RewardRecipe(judge="harmbensh"), "unknown judge 'harmbensh'"),
        (RewardRecipe(model="no/such/folder"), "no model folder 'no/such/folder'"),
    ],
)
def test_what_is_wrong_is_said(recipe: RewardRecipe, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        rate(recipe)


def test_a_reward_that_is_not_a_number() -> None:
    with pytest.raises(
        RunFailed, match=r"'mine' of the response .Sure, .* is nan, not a number to train on"
    ):
        rate(RewardRecipe(function=f"{__name__}:not_a_number"))
    # Nor is one that float32 cannot hold, by its scale; the largest is 3.4028e38.
    recipe = RewardRecipe(function=f"{__name__}:large", scale=1.1)
    assert rate(recipe) == [1.1 * 3e38] * len(RESPONSES)
    with pytest.raises(RunFailed, match=r"is 6e\+38, not a number to train on"):
        rate(replace(recipe, scale=2.0))
