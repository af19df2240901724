"""A method whose data lack something: which, and what provides it, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.pairwise.prepare import prepare_pairs
from tests.training.conftest import Mine


@pytest.mark.parametrize(
    ("changes", "row", "sentence"),
    [
        (
            ["data.0.pairs=helpful"],
            {"more_helpful": None},
            r"'helpful' need to know which response is more helpful, which set 'one' leaves open "
            r"in 12 of its 12 records \(first: pairs\.jsonl, line 1\); it is provided by better_",
        ),
        (
            ["data.0.pairs=safe"],
            {"safe": [None, None]},
            r"which response is safer, .* by safer_response_id",
        ),
        (
            ["data.0.pairs=safedpo"],
            {"safe": [None, None]},
            r"whether each response is safe, .*all_safe: tr",
        ),
        (
            ["data.0.pairs=safedpo"],
            {"safe": [False, False]},
            r"'safedpo' leave nothing of set 'one': in all of its 12 records both responses are un",
        ),
        (
            ["loss=bfpo", "data.0.pairs=helpful"],
            {"safe": [None, None]},
            r"set 'one': the bfpo loss needs to know whether each response of a pair is safe, .*al",
        ),
        (
            ["loss=safedpo", "loss_parameters={delta: 1}", "data.0.pairs=helpful"],
            {"safe": [True, None]},
            r"the safedpo loss needs to know whether each .* provided by PKU-SafeRLHF",
        ),
        (
            ["loss=modpo", "loss_parameters={weight: 0.5}"],
            {},
            r"the modpo loss needs a margin for every pair: .*say with 'margin' in the recipe",
        ),
        (
            ["loss=midpo", "margin={label: safe}", "data.0.pairs=helpful"],
            {"safe": [None, None]},
            r"the margin is to come from safety labels, which a pair of set 'one' does not have",
        ),
    ],
)
def test_what_the_data_lack_is_said(
    mine: Mine, changes: list[str], row: dict[str, Any], sentence: str
) -> None:
    recipe = mine("preference", *changes)
    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    Path("pairs.jsonl").write_text("\n".join(json.dumps({**one, **row}) for one in rows))
    with pytest.raises(BadInput, match=sentence):
        prepare_pairs(recipe, Progress(show=False))
