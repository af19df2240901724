"""Chat templates with a clock: what they write depends on the run's date and on nothing else."""

from __future__ import annotations

import copy
import json
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import chat_template_utils

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.run import run_evaluation
from bfpo_bench.models.chat import Chat
from bfpo_bench.models.clock import DATE, fixed_clock
from bfpo_bench.run.run_json import read_run

CLOCK = (
    "{{- bos_token }}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set said = messages[0]['content'] %}{%- set messages = messages[1:] %}"
    "{%- elif strftime_now is defined %}{%- set said = 'Today: ' + strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set said = 'Today: 26 Jul 2024' %}{%- endif %}"
    "{{- '<|system|>\n' + said + eos_token }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{%- endif %}"
)
"""In the manner of Llama 3.2 and Mistral Small 3: a date in the system message of its own."""

USER = [{"role": "user", "content": "Hi"}]


def set_clock(monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    """Has transformers' clock say noon of a day."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromisoformat(day) + timedelta(hours=12)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


def rendered(template: str) -> str:
    text = chat_template_utils._compile_jinja_template(template).render(messages=USER, eos_token="")
    return str(text)


def test_every_code_says_what_strftime_says() -> None:
    codes = "a A b B h d -d e m -m y Y C j -j H -H k I -I l p P M -M S -S f z Z U W u w G V D F T R"
    codes += " r x X c n t %"
    draw = random.Random(3)
    days = [datetime(1971, 1, 1) + timedelta(days=draw.randrange(40_000)) for _ in range(60)]
    # Turns of years are where weeks are counted in several ways.
    days += [datetime(year, *day) for year in range(2015, 2030) for day in ((1, 1), (12, 31))]
    formats = "|".join(f"%{code}" for code in codes.split())
    template = f"{{{{ strftime_now('{formats}') }}}}"
    for day in days:
        fixed = fixed_clock(template, day.date().isoformat())
        assert rendered(fixed) == day.strftime(formats), day
    # Seconds since 1970 in UTC, whatever the machine's time zone.
    assert rendered(fixed_clock("{{ strftime_now('%s') }}", "2001-09-09")) == "999993600"


def test_what_stands_around_the_clock_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = [
        "\n  {{ strftime_now('%Y') }}\n",
        "{% if strftime_now is defined %}\n{{ strftime_now('%d %B') }}{% endif %}\n\nx",
        "{% macro today() %}{{ strftime_now('%A') }}{% endmacro %}[{{ today() }}]",
        "{% set f = '%Y' %}{% set x = strftime_now(f)[2:] %}{{ x | int + 1 }}",
        CLOCK.replace("messages[0]['role']", "'none'"),
    ]
    set_clock(monkeypatch, "2025-03-09")
    for template in templates:
        right = rendered(template)
        assert rendered(fixed_clock(template, "2025-03-09")) == right
        assert rendered(fixed_clock(template, "2031-11-03")) != right
    assert fixed_clock("{{ messages }}") == "{{ messages }}"


def test_the_date_that_prompts_hold(tiny_llama: Path) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    chat = Chat(tokenizer, CLOCK, "2025-03-09")
    assert chat(USER) == "<s><|system|>\nToday: 09 Mar 2025</s><|user|>\nHi</s><|assistant|>\n"
    assert chat.date() == "2025-03-09"
    # With a system prompt this template has nothing to say of the day.
    assert chat.date("Be kind.") is None
    assert Chat(tokenizer).date() is None
    # Without a clock Llama 3 writes the same day.
    without = CLOCK.replace("strftime_now is defined", "false")
    assert Chat(tokenizer, CLOCK)(USER) == Chat(tokenizer, without)(USER)


def options(model: Path, output: Path, **more: Any) -> EvaluateOptions:
    return EvaluateOptions(
        model=str(model), suite="mini", tasks=("alert",), limit=2, backend="hf", judge="keyword",
        output=output, **more,
    )  # fmt: skip


def test_midnight_changes_no_prompt(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(CLOCK)
    set_clock(monkeypatch, "2025-01-31")
    first = run_evaluation(options(model, tmp_path / "run"))
    answers = (tmp_path / "run" / "samples.sqlite").read_bytes()
    set_clock(monkeypatch, "2025-02-01")
    # Without its results the run goes through all stages again, and finds every answer there.
    (tmp_path / "run" / "results.json").unlink()
    assert run_evaluation(options(model, tmp_path / "run")) == first
    assert (tmp_path / "run" / "samples.sqlite").read_bytes() == answers
    assert f"the chat template writes a date into prompts: {DATE} (--date)" in first.marks
    assert read_run(tmp_path / "run")["identity"]["model"]["date"] == DATE
    with pytest.raises(BadInput, match=r'model.date: "2024-07-26" there, "2025-02-01" asked'):
        run_evaluation(options(model, tmp_path / "run", date="2025-02-01"))


def test_runs_whose_prompts_hold_no_date_are_what_they_were(
    tiny_llama: Path, tmp_path: Path
) -> None:
    from bfpo_bench.evaluation.resolve import resolve

    identities = [
        resolve(options(tiny_llama, tmp_path, date=date)).identity for date in (DATE, "2025-02-01")
    ]
    assert identities[0] == identities[1]
    assert "date" not in identities[0]["model"]


@pytest.mark.parametrize("date", ["today", "2025-02-30", "20250201", "2025-2-1", ""])
def test_a_date_that_is_none(date: str) -> None:
    with pytest.raises(BadInput) as caught:
        EvaluateOptions(model="m", date=date)
    assert str(caught.value) == (
        f"--date is a day, written YYYY-MM-DD such as 2024-07-26, not {date!r}."
    )


def test_judges_and_reward_models_are_told_the_same(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.estimate.tokens import _NoModel
    from bfpo_bench.judges.chosen import choose_judge
    from bfpo_bench.judges.classifier import ClassifierJudge
    from bfpo_bench.judges.options import JudgeOptions
    from bfpo_bench.judges.protocol import Exchange

    model = Path(shutil.copytree(tiny_llama, tmp_path / "judge"))
    (model / "chat_template.jinja").write_text(CLOCK)
    card = tmp_path / "clocked.yaml"
    card.write_text(
        json.dumps(
            {
                "kind": "classifier", "version": 1, "source": "-", "licence": "-",
                "model": str(model), "template": "{prompt} {response}", "chat_template": True,
                "harmful_label": "yes", "safe_label": "no",
            }
        )
    )  # fmt: skip
    chosen = [
        choose_judge(JudgeOptions(judge=str(card), backend="hf", date=date))
        for date in (DATE, "2025-02-01")
    ]
    assert [one.identity()["date"] for one in chosen] == [DATE, "2025-02-01"]
    texts = []
    for day in ("2025-01-31", "2025-02-01"):
        set_clock(monkeypatch, day)
        judge = ClassifierJudge(chosen[0].card, _NoModel(load_tokenizer(model), 512))  # type: ignore[arg-type]
        texts.append(judge.render([Exchange("a", "b")]))
    assert texts[0] == texts[1]
    assert "Today: 26 Jul 2024" in str(texts[0])


def test_a_reward_model_with_a_clock(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bfpo_bench.engines.reward_model import RewardModel, find_reward_model
    from bfpo_bench.rankers import RankerOptions, choose_ranker
    from bfpo_bench.training.on_policy.rewards import choose_reward
    from bfpo_bench.training.recipe_parts import RewardRecipe
    from tests.engines.test_reward_model import classifier

    folder = classifier(tmp_path / "rm", tiny_llama, 1)
    (folder / "chat_template.jinja").write_text(CLOCK)
    found = find_reward_model(str(folder))
    cpu, asked = torch.device("cpu"), [(("user", "Hi"),)]
    rated = []
    for day, date in (("2025-01-31", DATE), ("2025-02-01", DATE), ("2025-02-01", "2025-02-01")):
        set_clock(monkeypatch, day)
        rated.append(RewardModel(found, cpu, date=date).rate(asked, ["Hello."]).item())
    assert rated[0] == rated[1] != rated[2]
    ranker = choose_ranker(RankerOptions(ranker=f"reward:{folder}", date="2025-02-01"))
    reward = choose_reward(RewardRecipe(model=str(folder)), date="2025-02-01")
    assert ranker.identity()["date"] == reward.identity()["date"] == "2025-02-01"


def test_training_is_told_the_same(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bfpo_bench.training.data.chat_template import ChatTemplate
    from bfpo_bench.training.data.preferences import Pair
    from bfpo_bench.training.data.tokenize import tokenize_conversations, tokenize_pairs
    from bfpo_bench.training.on_policy.prompts import sampling_tokenizer
    from bfpo_bench.training.recipe_file import load_recipe

    tokenizer = load_tokenizer(tiny_llama)
    pair = Pair((("user", "Hi"),), "Hello.", "No.", True, True, "set")
    said = [(*pair.prompt, ("assistant", pair.chosen))]
    found = []
    for day in ("2025-01-31", "2025-02-01"):
        set_clock(monkeypatch, day)
        [tokens], _ = tokenize_pairs([pair], tokenizer, template=CLOCK, date="2025-03-09")
        [ids], _ = tokenize_conversations(said, tokenizer, CLOCK, date="2025-03-09")
        asked = sampling_tokenizer(
            copy.deepcopy(tokenizer), ChatTemplate(tokenizer, CLOCK, "2025-03-09")
        ).apply_chat_template(USER, tokenize=False, add_generation_prompt=True)
        found.append((tokens, ids.tolist(), asked))
    assert found[0] == found[1]
    tokens, ids, asked = found[0]
    assert asked == Chat(tokenizer, CLOCK, "2025-03-09")(USER)
    assert ids == tokens.prompt + tokens.chosen == tokenizer(asked + "Hello.</s>").input_ids[1:]
    recipe = load_recipe("mistral/bfpo", ["tokens.date=2025-03-09"], base="m")
    assert recipe.tokens.date == "2025-03-09"
    with pytest.raises(BadInput, match=r"tokens: 'date' is written YYYY-MM-DD, such as 2024-07"):
        load_recipe("mistral/bfpo", ["tokens.date=tomorrow"], base="m")


def test_a_server_that_writes_the_prompts_itself(tmp_path: Path) -> None:
    from bfpo_bench.evaluation.chat_prompts import SERVER_CLOCK
    from bfpo_bench.evaluation.target import find_target

    asked = {"model": "m", "base_url": "http://localhost:9/v1"}
    marks = [
        find_target(EvaluateOptions(**asked, chat_template=choice), "openai").chat_marks  # type: ignore[arg-type]
        for choice in ("auto", "never")
    ]
    assert marks == [[SERVER_CLOCK], []]
