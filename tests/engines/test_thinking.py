"""``--thinking``: told to templates and servers that can be told, refused by the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.thinking import Thinking
from bfpo_bench.evaluation.chat_prompts import ChatPrompts
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.run.results import Results
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.store import ResponseRecord, Store
from tests.client.fake_server import serving
from tests.engines.openai.toy_openai import MODEL, Toy
from tests.engines.scripted import write_scripted

TASK = "bfpo_advbench"
SCRIPT = ["go", "[THINK]", "a", "b", "c", "d", "[/THINK]", "No", ",", "never", "."]
QWEN = "{{ messages[-1].content }} {% if enable_thinking is defined and enable_thinking is false %}"
SWITCHED = QWEN + "[/THINK]{% else %}go{% endif %}"
"""Without thoughts its prompt ends where a thought has ended."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Thinking()),
        ("on", Thinking("on")),
        ("off", Thinking("off")),
        ("budget:512", Thinking("budget", 512)),
        ("budget 8", Thinking("budget", 8)),
        ("Budget=8", Thinking("budget", 8)),
    ],
)
def test_what_can_be_asked_for(text: str, expected: Thinking) -> None:
    assert Thinking.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "yes", "budget", "budget:0", "budget:-1", "512", "budget:1.5"]
)
def test_what_cannot(text: str) -> None:
    with pytest.raises(BadInput, match=r"--thinking is auto, on, off or budget:N with at least 1"):
        EvaluateOptions("m", thinking=text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripted") / "model"
    return write_scripted(folder, SCRIPT, ("[THINK]", "[/THINK]"), SWITCHED)


def prompt(model: Path, template: str, thinking: str) -> str:
    chat = ChatPrompts(model, template, thinking=Thinking.parse(thinking)).chat
    return chat([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("template", "on", "off", "budget"),
    [
        # As Qwen3 and GLM, Granite and DeepSeek V3.1, Command A, Seed-OSS, Mistral have them.
        (
            "{{ messages[-1].content }}"
            "{{ 'T' if enable_thinking is not defined or enable_thinking else 'F' }}",
            "T",
            "F",
            "T",
        ),
        ("{{ messages[-1].content }}{% if thinking %}T{% else %}F{% endif %}", "T", "F", "T"),
        (
            "{{ messages[-1].content }}{{ 'T' if reasoning is undefined or reasoning else 'F' }}",
            "T",
            "F",
            "T",
        ),
        ("{{ messages[-1].content }}{{ thinking_budget | default('own') }}", "-1", "0", "8"),
        (
            "{{ messages[-1].content }}{{ reasoning_effort | default('own') }}",
            "high",
            "none",
            "high",
        ),
        # A name that only stands there switches nothing; the next one does.
        (
            "{{ messages[-1].content }}{# enable_thinking #}{{ 'T' if thinking else 'F' }}",
            "T",
            "F",
            "T",
        ),
    ],
)
def test_templates_are_told_by_their_own_switch(
    model: Path, template: str, on: str, off: str, budget: str
) -> None:
    found = [prompt(model, template, wish) for wish in ("on", "off", "budget:8")]
    assert found == [f"x{said}" for said in (on, off, budget)]


def test_templates_that_cannot_be_told(model: Path, tiny_llama: Path) -> None:
    always = "{{ messages[-1].content }}<think>"
    assert prompt(model, always, "on") == prompt(model, always, "budget:8") == "x<think>"
    with pytest.raises(BadInput, match=r"knows no switch for thoughts .*--thinking off cannot be"):
        prompt(model, always, "off")
    harmony = "{{ messages[-1].content }}{{ reasoning_effort }}<|channel|>analysis<|message|>"
    with pytest.raises(BadInput, match="knows no switch for thoughts"):
        prompt(model, harmony, "off")
    with pytest.raises(
        BadInput, match=r"knows thoughts, so --thinking on has nothing to switch on"
    ):
        prompt(tiny_llama, "{{ messages[-1].content }}", "on")


def test_plain_prompts_tell_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"--thinking off and --chat-template never exclude each other"
    ):
        EvaluateOptions(str(model), thinking="off", chat_template="never")
    base = write_scripted(tmp_path / "base", SCRIPT)
    (base / "chat_template.jinja").unlink()
    with pytest.raises(
        BadInput, match=r"--thinking on cannot be told to a model without any template"
    ):
        evaluated(tmp_path / "run", base, "on")


def evaluated(run: Path, model: Path, thinking: str) -> Results:
    return bfpo_bench.evaluate(
        str(model), suite="mini", tasks=["advbench"], limit=2, judge="keyword", backend="hf",
        dtype="float32", output=run, thinking=thinking,
    )  # fmt: skip


def stored(run: Path) -> list[ResponseRecord]:
    with Store(run / "samples.sqlite", read_only=True) as store:
        return store.responses(TASK)


def test_a_model_that_can_be_switched(model: Path, tmp_path: Path) -> None:
    found = {wish: evaluated(tmp_path / wish, model, wish) for wish in ("auto", "on", "off")}
    texts = {wish: {(r.response, r.thought) for r in stored(tmp_path / wish)} for wish in found}
    assert texts["auto"] == texts["on"] == {("No,never.", "abcd")}
    assert texts["off"] == {("No,never.", None)}
    marks = {wish: results.tasks[TASK].marks for wish, results in found.items()}
    assert marks["auto"] == ["2 of 2 responses hold a thought, which nobody judges"]
    assert marks["off"] == []
    # Part of what the answers depend on; auto is what every run was before there was a choice.
    identities = {wish: read_run(tmp_path / wish)["identity"]["model"] for wish in found}
    assert "thinking" not in identities["auto"]
    assert (identities["on"]["thinking"], identities["off"]["thinking"]) == ("on", "off")
    with pytest.raises(BadInput, match=r'model\.thinking: "off" there, "budget 8" asked for'):
        evaluated(tmp_path / "off", model, "budget:8")


@pytest.mark.parametrize(("room", "whole"), [(5, False), (6, True)])
def test_a_budget_is_room_of_its_own(model: Path, tmp_path: Path, room: int, whole: bool) -> None:
    """The thought and its two marks are six tokens."""
    results = evaluated(tmp_path, model, f"budget:{room}")
    assert results.tasks[TASK].no_answer == (0 if whole else 2)
    for response in stored(tmp_path):
        assert (response.response, response.thought) == ("No,never." if whole else "", "abcd")


class Server(Toy):
    """Thinks or does not, as it is told in the one field that it knows."""

    def __init__(self, known: str | None, heeds: bool = True) -> None:
        super().__init__()
        self.unknown = {"chat_template_kwargs", "reasoning_effort"} - {known}
        self.heeds = heeds
        self.told: set[str] = set()

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        told = body.get("chat_template_kwargs", body.get("reasoning_effort"))
        self.told.add(str(told))
        thinks = told not in ("none", {"enable_thinking": False, "thinking": False})
        message = {"content": "Never."}
        if thinks or not self.heeds:
            message["reasoning"] = "Hm."
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 2}
        return {"choices": [choice], "usage": usage, "most": body["max_tokens"]}


def served(run: Path, server: Server, thinking: str) -> Results:
    with serving(server) as fake:
        return bfpo_bench.evaluate(
            MODEL, backend="openai", base_url=fake.url, suite="mini", tasks=["advbench"], limit=2,
            judge="keyword", output=run, thinking=thinking,
        )  # fmt: skip


@pytest.mark.parametrize("field", ["chat_template_kwargs", "reasoning_effort"])
def test_a_server_is_told_in_the_field_that_it_knows(tmp_path: Path, field: str) -> None:
    for wish, thought in (("on", "Hm."), ("off", None), ("budget:8", "Hm.")):
        server = Server(field)
        results = served(tmp_path / wish, server, wish)
        assert {response.thought for response in stored(tmp_path / wish)} == {thought}
        assert len(server.told - {"None"}) == 1
        assert read_run(tmp_path / wish)["identity"]["model"]["thinking"] == wish.replace(":", " ")
        assert not [mark for mark in results.marks if "although" in mark]


def test_a_server_that_does_not_heed_or_cannot_be_told(tmp_path: Path) -> None:
    results = served(tmp_path / "deaf", Server("chat_template_kwargs", heeds=False), "off")
    assert results.tasks[TASK].marks == [
        "2 of 2 responses hold a thought, which nobody judges, although --thinking off was asked "
        "for"
    ]
    with pytest.raises(BadInput, match=r"takes neither chat_template_kwargs nor reasoning_effort,"):
        served(tmp_path / "none", Server(None), "off")
    # A budget is a limit of ours: a model that always thinks needs not be told to.
    assert served(tmp_path / "budget", Server(None), "budget:8").tasks[TASK].no_answer == 0
