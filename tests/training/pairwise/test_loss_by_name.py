"""What a recipe may write behind ``loss:``, and what it is told when that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.pairwise.loss_by_name import check_loss, load_loss
from bfpo_bench.training.pairwise.losses import PairLogps, bfpo

OWN = """
from torch import Tensor
from bfpo_bench.training.pairwise.losses import PairLogps

VALUE = 3

def hinge(logps: PairLogps, *, beta: float, offset: float = 1.0) -> Tensor:
    return (offset - beta * logps.log_ratio).clamp(min=0)

def mean(logps):
    return logps.log_ratio.mean()

def constant(logps):
    return logps.ref_chosen

def number(logps):
    return 1.0

def with_safety(logps):
    return logps.log_ratio * logps.chosen_safe.float()

def anything(logps, **parameters):
    return logps.log_ratio * parameters["scale"]

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of somebody else's losses."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def batch() -> PairLogps:
    return PairLogps(
        chosen=torch.tensor([-1.0, -2.0]),
        rejected=torch.tensor([-3.0, -1.0]),
        ref_chosen=torch.zeros(2),
        ref_rejected=torch.zeros(2),
        chosen_tokens=torch.ones(2),
        rejected_tokens=torch.ones(2),
        chosen_safe=torch.tensor([True, False]),
        rejected_safe=torch.tensor([False, True]),
        margin=torch.zeros(2),
    )


def test_built_in_with_its_parameters() -> None:
    loss = load_loss("bfpo", {"tau": 0.2, "alpha": 0})
    assert torch.equal(loss(batch()), bfpo(batch(), tau=0.2, alpha=0))


def test_a_function_from_outside_the_package(own: str) -> None:
    loss = load_loss(f"{own}:hinge", {"beta": 0.5})
    assert loss(batch()).tolist() == [0, 1.5]  # 1 - 0.5·2 and 1 + 0.5·1


def test_a_function_that_takes_any_parameter(own: str) -> None:
    assert load_loss(f"{own}:anything", {"scale": 2})(batch()).tolist() == [4, -2]


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("bfop", {}, "unknown loss 'bfop'; did you mean 'bfpo'"),
        ("dpo", {"betta": 1}, "unknown parameter of the loss dpo: 'betta'; did you mean 'beta'"),
        ("dpo", {"logps": 1}, "unknown parameter of the loss dpo: 'logps'"),
        ("bfpo", {"tau": 0}, "tau must be above 0"),
        (
            "nowhere:hinge",
            {},
            "'nowhere:hinge' cannot be imported: No module named 'nowhere'; install",
        ),
        ("{own}:hing", {"beta": 1}, "unknown function of the module .*did you mean 'hinge'"),
        ("{own}:VALUE", {}, "unknown function of the module"),
        ("{own}:hinge", {}, "needs the parameter 'beta', which is not given"),
        ("{own}:hinge", {"beta": 1, "ofset": 2}, "'ofset'; did you mean 'offset'"),
        ("{own}:hinge", {"beta": "1"}, "fails on pairs: TypeError"),
        ("{own}:mean", {}, "one value per pair.*for 4 pairs it returned a Tensor of shape \\[\\]"),
        ("{own}:mean", {"beta": 1}, "unknown parameter of the loss .*'beta'; there are none"),
        ("{own}:number", {}, "returned a float of shape"),
        ("{own}:constant", {}, "has no gradient with respect to logps.chosen"),
        ("{own}:nothing", {}, "must take the batch as its first argument"),
    ],
)
def test_bad_names_and_parameters(
    name: str, parameters: dict[str, object], sentence: str, own: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_loss(name.format(own=own), parameters)


def test_a_module_that_breaks_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_loss_module.py").write_text("def loss(logps:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"breaks while it is imported .SyntaxError"):
        load_loss("broken_loss_module:loss")


def test_what_the_data_lacks_is_said_before_training(own: str) -> None:
    for name in ("dpo", "ipo"):
        check_loss(name, load_loss(name), safety=False, margin=False)
    with pytest.raises(BadInput, match="bfpo loss needs to know"):
        check_loss("bfpo", load_loss("bfpo"), safety=False)
    with pytest.raises(BadInput, match="modpo loss needs a margin"):
        check_loss("modpo", load_loss("modpo"), margin=False)
    with pytest.raises(BadInput, match="fails on pairs without safety labels: AttributeError"):
        check_loss("own", load_loss(f"{own}:with_safety"), safety=False)
