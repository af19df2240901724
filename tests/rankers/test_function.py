"""Rankers of one's own, and names that are none."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.rankers import Comparison, RankerOptions, choose_ranker
from bfpo_bench.rankers.function import FunctionRanker

ITEM = Comparison("Why?", "Because of that.", "So.")


def function(name: str) -> FunctionRanker:
    found = choose_ranker(RankerOptions(ranker=f"tests.rankers.own:{name}"))
    assert isinstance(found, FunctionRanker)
    return found


def test_what_it_says_is_the_preference() -> None:
    swapped = Comparison(ITEM.prompt, ITEM.second, ITEM.first)
    found = function("longer").rank([ITEM, swapped])
    assert [ranking.preference for ranking in found] == [13.0, -13.0]


def test_a_changed_module_is_another_ranker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    identities = []
    for sign in ("", "-"):
        file = tmp_path / "prefer_mine.py"
        file.write_text(f"def prefer(p, a, b):\n    return {sign}(len(a) - len(b))\n")
        importlib.invalidate_caches()
        identities.append(
            choose_ranker(RankerOptions(ranker="prefer_mine:prefer")).identity()["module"]
        )
        monkeypatch.delitem(__import__("sys").modules, "prefer_mine")
        __import__("linecache").clearcache()
    assert identities[0] != identities[1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken", "own:broken fails on a pair (KeyError: 'nothing there'); mend the function."),
        ("silent", "own:silent returned a NoneType; it should return a number, above 0"),
    ],
)
def test_a_function_that_fails(name: str, sentence: str) -> None:
    with pytest.raises(BadInput) as found:
        function(name).rank([ITEM])
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pairmr", "unknown ranker 'pairmr'; did you mean 'pairrm'?"),
        ("pairrm:", "ranker 'pairrm:' breaks off after its colon; give one of pairrm, reward:PATH"),
        ("reward:", "ranker 'reward:' breaks off after its colon"),
        ("reward:./nowhere", "there is no model folder './nowhere'"),
        (
            "no_such_module:f",
            "folder on PYTHONPATH, or give pairrm, reward:PATH, openai:MODEL or length.",
        ),
        ("tests.rankers.failing:f", "breaks while it is imported (OSError: no such device)"),
        (
            "tests.rankers.own:longr",
            "function of the module tests.rankers.own: 'longr'; did you",
        ),
        ("lenght", "unknown ranker 'lenght'; did you mean 'length'?"),
        ("length:", "ranker 'length:' breaks off after its colon"),
        ("tests.rankers.empty:f", "of ranker 'tests.rankers.empty:f' holds no function at all"),
        ("tests.rankers.own:of_two", "cannot be called with a prompt and two responses; write it"),
    ],
)
def test_no_such_ranker(name: str, sentence: str) -> None:
    with pytest.raises(BadInput) as found:
        choose_ranker(RankerOptions(ranker=name))
    assert sentence in str(found.value)


def test_the_longer_response_wins_and_equal_length_is_a_draw() -> None:
    ranker = choose_ranker(RankerOptions(ranker="length"))
    assert ranker.identity() == {"ranker": "length", "kind": "length"}
    pairs = [("abc", "a"), ("a", "abc"), ("abc", "xyz"), ("  a \n", "b"), ("", "b"), ("你好", "ab")]
    with ranker.opened(Progress(show=False)) as opened:
        found = opened.rank([Comparison("p", first, second) for first, second in pairs])
    assert [ranking.preference for ranking in found] == [2.0, -2.0, 0.0, 0.0, -1.0, 0.0]


def test_a_ranker_without_a_server_is_given_none() -> None:
    with pytest.raises(BadInput, match="'pairrm' asks no server; leave --ranker-url out"):
        choose_ranker(RankerOptions(ranker="pairrm", ranker_url="http://localhost:1/v1"))
