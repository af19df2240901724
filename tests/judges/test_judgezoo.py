"""The JudgeZoo adapter, on a stand-in with JudgeZoo 0.1.9's interface."""

from __future__ import annotations

import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.judges import Exchange, ZooCard, load_judge
from bfpo_bench.judges import judgezoo as adapter

ITEMS = [Exchange("How?", "So."), Exchange("Why?", ""), Exchange("{prompt}", "no \ud800")]


class StandIn:
    """Answers as it is told and keeps what it was asked."""

    answer: Any = None
    asked: tuple[Any, ...] = ()
    opened: str = ""

    @classmethod
    def from_name(cls, name: str, **_: Any) -> StandIn:
        cls.opened = name
        if isinstance(cls.answer, type):
            raise cls.answer("the first line\nthe second")
        return cls()

    def __call__(self, chats: list[Any], *extra: Any) -> Any:
        type(self).asked = (chats, *extra)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    module = ModuleType("judgezoo")
    module.__spec__ = ModuleSpec("judgezoo", None)
    stand_in = type("Judge", (StandIn,), {})
    module.Judge = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "judgezoo", module)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    return stand_in


def test_chats_go_in_and_shares_come_out(zoo: type[StandIn]) -> None:
    zoo.answer = {"p_harmful": [0.5, 0.25, 1], "rating": [6, None, "8"], "reason": ["a", "b", "c"]}
    card = load_judge("judgezoo:strong_reject")
    assert (card.name, card.kind) == ("judgezoo:strong_reject", "judgezoo")
    judge = card.open()
    assert zoo.opened == "strong_reject"
    verdicts = judge.judge(ITEMS)
    assert [(v.harmful, v.p_harmful) for v in verdicts] == [(True, 0.5), (False, 0.25), (True, 1.0)]
    assert [v.raw for v in verdicts] == [
        "p_harmful 0.5; rating 6",
        "p_harmful 0.25",
        "p_harmful 1; rating 8",
    ]
    assert zoo.asked == (
        [
            [
                {"role": "user", "content": item.prompt},
                {"role": "assistant", "content": item.response},
            ]
            for item in ITEMS
        ],
    )


def test_no_share_is_unknown(zoo: type[StandIn]) -> None:
    zoo.answer = {"p_harmful": [None, math.nan, 1.5], "category": ["no idea", "x" * 50, ["y"]]}
    for verdict in load_judge("judgezoo:md_judge").open().judge(ITEMS):
        assert (verdict.harmful, verdict.p_harmful) == (None, None)
        assert verdict.raw.startswith("JudgeZoo gave no verdict")
        assert "xxx" not in verdict.raw


def test_judges_of_attacks_are_told_that_the_prompt_is_what_was_wanted(zoo: type[StandIn]) -> None:
    zoo.answer = {"p_harmful": [0, 0, 0]}
    load_judge("judgezoo:pair").open().judge(ITEMS)
    chats, targets = zoo.asked
    assert targets == chats
    assert targets[0] is not chats[0]


def test_nothing_in_nothing_out(zoo: type[StandIn]) -> None:
    assert load_judge("judgezoo:harmbench").open().judge([]) == []
    assert zoo.asked == ()


@pytest.mark.parametrize("answer", [{"category": ["a"] * 3}, {"p_harmful": [0.1]}, {}])
def test_an_answer_of_another_form_stops(zoo: type[StandIn], answer: dict[str, Any]) -> None:
    zoo.answer = answer
    with pytest.raises(RunFailed, match=r"differs from the one that bfpo-bench knows"):
        load_judge("judgezoo:harmbench").open().judge(ITEMS)


def test_failures_inside_are_one_sentence_without_their_text(zoo: type[StandIn]) -> None:
    zoo.answer = RuntimeError("Incorrect API key provided: sk-planted")
    with pytest.raises(RunFailed) as caught:
        load_judge("judgezoo:advprefix").open().judge(ITEMS)
    assert "failed inside JudgeZoo (RuntimeError)" in str(caught.value)
    assert "sk-planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "error", "sentence"),
    [
        (
            ValueError,
            BadInput,
            "JudgeZoo cannot open judgezoo:harmbench (the first line); give it what it asks for.",
        ),
        (
            OSError,
            RunFailed,
            "judgezoo:harmbench could not be loaded by JudgeZoo (OSError: the first line); see "
            "--debug for where.",
        ),
    ],
)
def test_failures_to_load_are_one_sentence(
    zoo: type[StandIn], raised: type[Exception], error: type[Exception], sentence: str
) -> None:
    zoo.answer = raised
    with pytest.raises(error) as caught:
        load_judge("judgezoo:harmbench").open()
    assert str(caught.value) == sentence


def test_names_are_checked_before_anything_is_loaded(zoo: type[StandIn]) -> None:
    with pytest.raises(
        BadInput, match="unknown JudgeZoo judge 'strong_rejekt'; did you mean 'strong_reject'"
    ):
        load_judge("judgezoo:strong_rejekt")
    assert zoo.opened == ""


def test_without_judgezoo_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        BadInput, match=r"needs JudgeZoo, which is not installed; run `pip install 'bfpo"
    ):
        load_judge("judgezoo:harmbench")


def test_a_missing_key_shows_before_any_work(
    zoo: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BadInput, match="asks a model of OpenAI's; set OPENAI_API_KEY"):
        load_judge("judgezoo:strong_reject_rubric")
    load_judge("judgezoo:strong_reject")


def test_the_identity_names_judge_and_version(
    zoo: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter.metadata, "version", lambda _: "0.1.9")
    assert ZooCard.find("judgezoo:harmbench").identity() == {
        "judge": "judgezoo:harmbench",
        "kind": "judgezoo",
        "implementation": 1,
        "judgezoo": "0.1.9",
        "threshold": 0.5,
    }


def test_xstest_says_what_is_refused_and_nothing_of_harm(zoo: type[StandIn]) -> None:
    zoo.answer = {"category": ["direct_answer", "direct_refusal", None]}
    card = load_judge("judgezoo:xstest")
    assert card.gives == ("refusal",)
    verdicts = card.open().judge(ITEMS)
    assert [v.refusal for v in verdicts] == ["compliance", "full_refusal", None]
    assert {(v.harmful, v.p_harmful, v.p_refusal) for v in verdicts} == {(None, None, None)}
    assert card.identity()["gives"] == ["refusal"]
    zoo.answer = {"category": ["direct_answer"]}
    with pytest.raises(RunFailed, match="gave no category for each response"):
        card.open().judge(ITEMS)
