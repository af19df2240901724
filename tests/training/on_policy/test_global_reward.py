"""Global rewards against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.on_policy.global_reward import (
    bilinear,
    cvar,
    lagrangian,
    linear,
    llama2,
    load_combination,
    minimum,
    multiplicative,
    rbr,
    repo,
)

HELPFUL = torch.tensor([[0.8, 0.2, 0.5]])
SAFE = torch.tensor([[0.1, 1.0, 0.4]])
BOTH = ["helpful", "safe"]


def values(found: torch.Tensor) -> list[float]:
    return [pytest.approx(value, abs=1e-6) for value in found.flatten().tolist()]


def test_linear() -> None:
    assert values(linear(HELPFUL, SAFE, weight=0.25)) == [0.625, 0.4, 0.475]
    assert torch.equal(linear(HELPFUL, SAFE, weight=0), HELPFUL)
    assert torch.equal(linear(HELPFUL, SAFE, weight=1), SAFE)


def test_minimum() -> None:
    assert values(minimum(HELPFUL, SAFE)) == [0.1, 0.2, 0.4]


def test_llama2_takes_safety_for_unsafe_prompts_and_unsafe_responses() -> None:
    harmless, unsafe = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    assert values(llama2(HELPFUL, SAFE, harmless)) == [0.1, 0.2, 0.5]
    assert values(llama2(HELPFUL, SAFE, harmless, threshold=0.5)) == [0.1, 0.2, 0.4]
    assert values(llama2(HELPFUL, SAFE, unsafe)) == [0.1, 1.0, 0.4]


def test_bilinear_is_equation_10_over_the_other_responses() -> None:
    """(p_safe + E_s)(p_help + 1/2). The first response beats both others, the second none."""
    by_hand = [
        (0.1 + (1.0 + 0.4) / 2) * (1.0 + 0.5),
        (1.0 + (0.1 + 0.4) / 2) * (0.0 + 0.5),
        (0.4 + (0.1 + 1.0) / 2) * (0.5 + 0.5),
    ]
    assert values(bilinear(HELPFUL, SAFE, scale=0)) == by_hand
    # Ties are worth a half.
    assert values(bilinear(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), scale=0)) == [1.0, 1.0]


def test_bilinear_prefers_by_bradley_terry() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    p_help = [
        (sigmoid(0.6 / 0.5) + sigmoid(0.3 / 0.5)) / 2,
        (sigmoid(-0.6 / 0.5) + sigmoid(-0.3 / 0.5)) / 2,
        (sigmoid(-0.3 / 0.5) + sigmoid(0.3 / 0.5)) / 2,
    ]
    others = [0.7, 0.25, 0.55]
    by_hand = [
        (s + e) * (p + 0.5) for s, e, p in zip(SAFE[0].tolist(), others, p_help, strict=True)
    ]
    assert values(bilinear(HELPFUL, SAFE, scale=0.5)) == by_hand


def test_bilinear_agrees_with_the_theory_on_average() -> None:
    """Over many draws of groups, a response's mean is Eq. 10 with expectations under the policy."""
    torch.manual_seed(0)
    help_level, safe_level = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.9, 0.2, 0.6, 0.1])
    drawn = torch.randint(4, (200_000, 4))
    found = bilinear(help_level[drawn], safe_level[drawn], scale=0)
    for action in range(4):
        p_help = (action + 0.5) / 4
        expected = (safe_level[action] + safe_level.mean()) * (p_help + 0.5)
        mean = found[drawn == action].mean().item()
        # Both means are over the same three others: a third of the covariance stays.
        other_help = torch.tensor(
            [1.0 if action > o else 0.5 if action == o else 0 for o in range(4)]
        )
        covariance = (other_help * safe_level).mean() - other_help.mean() * safe_level.mean()
        assert mean == pytest.approx(float(expected + covariance / 3), abs=5e-3)


def test_lagrangian() -> None:
    assert values(lagrangian(HELPFUL, SAFE, multiplier=3.0)) == [1.1 / 4, 3.2 / 4, 1.7 / 4]
    assert torch.equal(lagrangian(HELPFUL, SAFE, multiplier=0.0), HELPFUL)


def test_repo_lets_no_response_make_up_for_another() -> None:
    """0.8 - 2 · 0.3, and nothing for the second, which has more than enough."""
    assert values(repo(HELPFUL, SAFE, multiplier=2.0, threshold=0.4)) == [0.2, 0.2, 0.5]
    assert torch.equal(repo(HELPFUL, SAFE, multiplier=0.0, threshold=0.4), HELPFUL)


def test_multiplicative() -> None:
    assert values(multiplicative(HELPFUL, SAFE)) == [0.08, 0.2, 0.2]
    assert torch.equal(multiplicative(HELPFUL, torch.ones(1, 3)), HELPFUL)
    # Nothing is gained by an unsafe answer of negative worth, nor by more than certain safety.
    assert values(multiplicative(torch.tensor([[-1.0, 0.5]]), torch.tensor([[0.1, 1.2]]))) == [
        0,
        0.5,
    ]


def test_cvar_is_the_mean_of_the_worst_share() -> None:
    """Rewards 0.45, 0.6, 0.45, 0.9 of the first prompt: the worst half is 0.45 and 0.45."""
    helpful = torch.tensor([[0.8, 0.2, 0.5, 0.9], [0.0, 1.0, 2.0, 4.0]])
    safe = torch.tensor([[0.1, 1.0, 0.4, 0.9], [0.0, 1.0, 2.0, 4.0]])
    half = cvar(helpful, safe, weight=0.5, alpha=0.5)
    assert values(half.mean(1)) == [0.45, 0.5]
    # Better ones than the quantile are all worth the quantile: only the worst teach anything.
    assert values(half[1]) == [-1.0, 1.0, 1.0, 1.0]
    # 0.6 of four: the two worst whole and 0.4 of the third.
    assert values(cvar(helpful, safe, weight=0.5, alpha=0.6)[1].mean()) == [(0 + 1 + 0.4 * 2) / 2.4]
    assert values(cvar(helpful, safe, weight=0.5, alpha=0.01)[1].mean()) == [0.0]
    # A share of one of four: all are worth the worst, so nothing would be learnt.
    assert values(cvar(helpful, safe, weight=0.5, alpha=0.25)[1]) == [0.0] * 4
    parameters = {"weight": 0.5, "alpha": 0.25}
    assert load_combination("cvar", parameters, BOTH, responses=5).name == "cvar"
    with pytest.raises(BadInput, match=r"of 4 responses .* one at most.* an alpha above 0.25, or"):
        load_combination("cvar", parameters, BOTH, responses=4)
    assert torch.allclose(
        cvar(helpful, safe, weight=0.3, alpha=1), linear(helpful, safe, weight=0.3)
    )


def test_rbr_adds_weighted_rules() -> None:
    rules = {"safe": SAFE, "brief": torch.tensor([[1.0, 0.0, 1.0]])}
    found = rbr(HELPFUL, weights={"safe": 2.0, "brief": -0.5}, **rules)
    assert values(found) == [0.5, 2.2, 0.8]
    assert values(HELPFUL) == [0.8, 0.2, 0.5]  # not changed in place


@pytest.mark.parametrize(
    ("name", "parameters", "rewards", "sentence"),
    [
        ("linear", {}, BOTH, "the combination linear needs the parameter 'weight'"),
        ("linear", {"weigth": 0.5}, BOTH, "did you mean 'weight'"),
        ("linear", {"weight": 2}, BOTH, "weight of safety in 'linear' is from 0 to 1, not 2"),
        (
            "linear",
            {"weight": "much"},
            BOTH,
            "'weight' of a combination of rewards must be a number",
        ),
        ("llama2", {"threshold": None}, BOTH, "'threshold' of a combination of rewards must be"),
        ("bilinear", {"scale": -1}, BOTH, "scale of preferences in 'bilinear' is 0 or more"),
        ("lagrangian", {}, BOTH, "the combination lagrangian needs the parameter 'threshold'"),
        ("lagrangian", {"threshold": 1, "value": 1}, BOTH, "unknown parameter of the combination"),
        ("lagrangian", {"threshold": 1, "rate": 0}, BOTH, "'rate' of a combination's multiplier"),
        ("repo", {}, BOTH, "the combination repo needs the parameter 'threshold'"),
        ("repo", {"threshold": 1, "multiplier": 2}, BOTH, "unknown parameter of the combination"),
        ("cvar", {"weight": 0.5, "alpha": 0}, BOTH, "'alpha' in 'cvar' is above 0 and at most 1"),
        ("cvar", {"weight": 0.5}, BOTH, "the combination cvar needs the parameter 'alpha'"),
        ("multiplicative", {}, ["helpful"], "takes the rewards helpful, safe, and the recipe has"),
        ("rbr", {"weights": {"safe": 1}}, [*BOTH, "brief"], "'rbr' needs a weight for each"),
        ("linaer", {"weight": 1}, BOTH, "unknown combination of rewards 'linaer'; did you mean"),
        (
            "linear",
            {"weight": 1},
            ["helpful"],
            "takes the rewards helpful, safe, and the recipe has",
        ),
        ("linear", {"weight": 1}, [*BOTH, "brief"], "makes no use of the reward 'brief'"),
        (f"{__name__}:flat", {}, BOTH, "must return one value per response, a tensor of shape"),
        (f"{__name__}:broken", {}, BOTH, "fails on made-up rewards: Zero"),
        (f"{__name__}:missing", {}, BOTH, "unknown function of the module"),
    ],
)
def test_what_is_wrong_is_said(
    name: str, parameters: dict[str, Any], rewards: list[str], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_combination(name, parameters, rewards)


def flat(helpful: torch.Tensor, safe: torch.Tensor) -> torch.Tensor:
    return (helpful + safe).mean()


def broken(helpful: torch.Tensor, safe: torch.Tensor) -> torch.Tensor:
    return helpful / (1 // 0) + safe


def own(brief: torch.Tensor, unsafe_prompt: torch.Tensor, *, bonus: float = 1.0) -> torch.Tensor:
    return brief + bonus * unsafe_prompt


def test_a_function_of_ones_own_takes_rewards_by_name() -> None:
    combination = load_combination(f"{__name__}:own", {"bonus": 2.0}, ["brief"])
    unsafe = torch.tensor([[True, False, False]])
    assert values(combination({"brief": SAFE}, unsafe)) == [2.1, 1.0, 0.4]


def test_the_lagrangian_of_a_recipe_uses_its_multiplier() -> None:
    combination = load_combination("lagrangian", {"threshold": 0.9, "initial": 3.0}, BOTH)
    harmless = torch.zeros(1, 3, dtype=torch.bool)
    found = combination({"helpful": HELPFUL, "safe": SAFE}, harmless)
    assert values(found) == [1.1 / 4, 3.2 / 4, 1.7 / 4]
    strict = load_combination("repo", {"threshold": 0.4, "initial": 2.0}, BOTH)
    assert values(strict({"helpful": HELPFUL, "safe": SAFE}, harmless)) == [0.2, 0.2, 0.5]


def test_bilinear_needs_company() -> None:
    with pytest.raises(BadInput, match="compares the responses to a prompt; sample at least 2"):
        bilinear(HELPFUL[:, :1], SAFE[:, :1])
