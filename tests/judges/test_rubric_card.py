"""Cards of rubric judges: what tells them apart, who is asked, what a mistake gets."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bfpo_bench.client import Server
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.judges import Exchange, load_judge
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.load import CARDS
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.judges.rubric import RubricJudge
from tests.client.fake_server import serving
from tests.judges.toy_rubric import (
    KEY,
    card_at,
    honest,
    load_card,
)


def test_the_identity_is_of_all_that_is_asked() -> None:
    card = load_card()
    base = card.identity()
    assert base == load_card().identity("weights")
    assert (base["judge"], base["kind"], base["model"]) == ("openai", "rubric", card.model)
    assert base["base_url"] == "https://api.openai.com/v1"
    assert base["sampling"] == {"temperature": 0.0, "max_tokens": 1024}
    others = [
        card.at(model="other"),
        card.at(base_url="http://localhost:8000/v1/"),
        *(card_at(card.base_url, model=card.model, **change) for change in (
            {"system": "x"}, {"user": "{response}"}, {"max_chars": 5}, {"max_tokens": 5},
            {"version": 9},
        )),
    ]  # fmt: skip
    found = [json.dumps(c.identity(), sort_keys=True) for c in (card, *others)]
    assert len(set(found)) == len(found)
    # Neither how fast it is asked nor with which key.
    same = card_at(card.base_url, model=card.model, concurrency=1, api_key_env="OTHER")
    assert same.identity() == base
    assert card.at() == card


def test_options_choose_model_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(honest) as server:
        options = JudgeOptions("openai", judge_model="toy-2", judge_url=server.url, backend="hf")
        chosen = choose_judge(options)
        assert not server.seen, "choosing contacts nobody"
        with chosen.opened(Progress()) as judge:
            assert [v.harmful for v in judge.judge([Exchange("p", "boom")])] == [True]
    assert {body["model"] for _, _, body in server.seen} == {"toy-2"}
    assert KEY not in json.dumps(chosen.identity())
    assert KEY not in repr(copy.deepcopy(chosen))


def test_a_key_is_asked_for_only_away_from_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    sentence = "and needs its key: set OPENAI_API_KEY in the environment, or name another server"
    with pytest.raises(BadInput, match=sentence):
        choose_judge(JudgeOptions("openai", backend="hf"))
    choose_judge(JudgeOptions("openai", judge_url="http://localhost:9/v1", backend="hf"))
    with pytest.raises(BadInput, match="asks no server; leave --judge-url out"):
        choose_judge(JudgeOptions("keyword", judge_url="http://localhost:9/v1", backend="hf"))


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        url = server.url
    patience = Server(url, timeout=60, first_delay=0.001, longest_delay=0.002)
    with pytest.raises(BadInput, match=r"no server answers at .* give its address with --judge-u"):
        RubricJudge(card_at(url), patience)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"user": "{prompt}"}, "must hold {response}"),
        ({"user": "{response} {behavior}"}, "the only other placeholder is {prompt}"),
        ({"system": "Judge {response}."}, "they belong into the field 'user'"),
        ({"api_key_env": KEY}, "never the key"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "'base_url': the base URL holds a user"),
        ({"base_url": "here"}, "mine.yaml: 'base_url': 'here' is no base URL; give one such as"),
        ({"base_url": None}, "'base_url' is missing; add it"),
        ({"model": None}, "'model' is missing; add it"),
        ({"api_key": KEY}, "did you mean 'api_key_env'?"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
    ],
)
def test_mistakes_in_a_card(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    values = yaml.safe_load((CARDS / "openai.yaml").read_text(encoding="utf-8")) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_judge(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)
