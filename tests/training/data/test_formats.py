"""Layouts of published preference sets: every column that carries meaning is used, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data.files import Record
from bfpo_bench.training.data.chat import _prompt, load_conversations
from bfpo_bench.training.data.columns import tracked
from bfpo_bench.training.data.preferences import LoadedSet, make_pairs
from bfpo_bench.training.recipe_parts import DataRecipe
from tests.training import rows

ASKED = ("user", "Is salt white?")
BRIEF = ("system", "Be brief.")
TWO = {"chosen": "Sure, it is.", "rejected": "Salt is black."}
HISTORY = (("user", "Hi"), ("assistant", "Hello!"))
TRANSCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Is salt white?\n\nAssistant:"


def write(folder: Path, *found: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def load(folder: Path, *found: Any, **options: Any) -> LoadedSet:
    return rows.read("toy", write(folder, *found), **options)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def shared(role: str, content: str) -> dict[str, str]:
    return {"from": role, "value": content}


MESSAGES = {name: [said(*ASKED), said("assistant", text)] for name, text in TWO.items()}


@pytest.mark.parametrize(
    ("row", "format_", "prompt"),
    [
        # Intel/orca_dpo_pairs, with and without a system message
        ({"system": "Be brief.", "question": ASKED[1], **TWO}, "orca", (BRIEF, ASKED)),
        ({"system": "", "question": ASKED[1], **TWO}, "orca", (ASKED,)),
        # jondurbin/truthy-dpo-v0.1
        (
            {"id": "7f", "source": "x y", "system": "Be brief.", "prompt": ASKED[1], **TWO},
            "trl",
            (BRIEF, ASKED),
        ),
        # argilla/distilabel-intel-orca-dpo-pairs
        (
            {
                "system": "Be brief.",
                "input": ASKED[1],
                **TWO,
                "generations": ["What else?", "Some more."],
                "order": ["chatgpt", "llama2-13b-chat"],
                "labelling_model": "gpt-4-1106-preview",
                "labelling_prompt": [said("system", "You are a judge."), said("user", "Rate it.")],
                "raw_labelling_response": "9 8\nBoth are fine.",
                "rating": [9.0, 8.0],
                "rationale": "Both are fine.",
                "status": "unchanged",
                "original_chosen": "What else?",
                "original_rejected": "Some more.",
                "chosen_score": 9.0,
                "in_gsm8k_train": False,
            },
            "trl",
            (BRIEF, ASKED),
        ),
        # LLaMA-Factory's alpaca form: https://github.com/hiyouga/LLaMA-Factory, data/README.md
        (
            {"instruction": "Answer this:", "input": ASKED[1], **TWO},
            "llama-factory",
            (("user", "Answer this:\nIs salt white?"),),
        ),
        (
            {
                "instruction": ASKED[1],
                "input": "",
                **TWO,
                "system": "Be brief.",
                "history": [["Hi", "Hello!"]],
            },
            "llama-factory",
            (BRIEF, *HISTORY, ASKED),
        ),
        (
            {"instruction": ASKED[1], "input": "", "output": list(TWO.values())},
            "llama-factory-output",
            (ASKED,),
        ),
        # and its sharegpt form
        (
            {
                "conversations": [shared("human", ASKED[1])],
                "chosen": shared("gpt", TWO["chosen"]),
                "rejected": shared("gpt", TWO["rejected"]),
                "system": "Be brief.",
                "tools": "",
            },
            "sharegpt",
            (BRIEF, ASKED),
        ),
        # its openai form
        (
            {
                "messages": [said(*BRIEF), said(*ASKED)],
                "chosen": said("assistant", TWO["chosen"]),
                "rejected": said("assistant", TWO["rejected"]),
            },
            "trl",
            (BRIEF, ASKED),
        ),
        # argilla/ultrafeedback-binarized-preferences
        (
            {
                "source": "evol_instruct",
                "instruction": ASKED[1],
                "chosen_response": TWO["chosen"],
                "rejected_response": TWO["rejected"],
                "chosen_avg_rating": 4.5,
                "rejected_avg_rating": 2.0,
                "chosen_model": "gpt-4",
            },
            "argilla",
            (ASKED,),
        ),
        # argilla/ultrafeedback-binarized-preferences-cleaned
        (
            {
                "source": "x",
                "prompt": ASKED[1],
                **MESSAGES,
                "chosen-rating": 5,
                "chosen-model": "a",
            },
            "trl",
            (ASKED,),
        ),
        # mlabonne/orpo-dpo-mix-40k
        ({"source": "x", **MESSAGES, "prompt": ASKED[1], "question": ASKED[1]}, "orca", (ASKED,)),
        # Dahoas/full-hh-rlhf
        (
            {"prompt": TRANSCRIPT, "response": TWO["chosen"], **TWO},
            "trl",
            (*HISTORY, ASKED),
        ),
        # Anthropic/hh-rlhf, and the same with the prompt once more
        ({k: f"{TRANSCRIPT} {v}" for k, v in TWO.items()}, "trl", (*HISTORY, ASKED)),
        (
            {"prompt": TRANSCRIPT, **{k: f"{TRANSCRIPT} {v}" for k, v in TWO.items()}},
            "trl",
            (*HISTORY, ASKED),
        ),
        # TRL's conversational form, explicit and implicit, parts for texts included
        (
            {
                "prompt": [said("user", [{"type": "text", "text": ASKED[1]}])],  # type: ignore
                **{name: [said("assistant", text)] for name, text in TWO.items()},
            },
            "trl",
            (ASKED,),
        ),
        ({**MESSAGES, "system": "Be brief."}, "trl", (BRIEF, ASKED)),
    ],
)
def test_known_layouts(tmp_path: Path, row: Any, format_: str, prompt: Any) -> None:
    loaded = load(tmp_path, row)
    (record,) = loaded.records
    assert loaded.formats == (format_,)
    assert record.prompt == prompt
    assert record.responses == tuple(TWO.values())
    assert record.more_helpful == 0
    # The same prompt trains an on-policy method.
    whole = tracked(Record("here", row), ())
    if "output" not in row:
        assert _prompt(whole, "prompts") == prompt


@pytest.mark.parametrize("desirable", [True, False])
@pytest.mark.parametrize(
    ("row", "label", "format_"),
    [
        ({"prompt": ASKED[1], "completion": "Yes."}, "label", "trl-unpaired"),
        (
            {"prompt": [said(*ASKED)], "completion": [said("assistant", "Yes.")], "score": 0.9},
            *("label", "trl-unpaired"),
        ),
        # LLaMA-Factory's kto_en_demo, in both of its forms
        (
            {"messages": [said(*ASKED), said("assistant", "Yes.")], "id": 7},
            *("kto_tag", "llama-factory-kto"),
        ),
        (
            {"instruction": ASKED[1], "input": "", "output": "Yes."},
            *("kto_tag", "llama-factory-kto"),
        ),
    ],
)
def test_rows_of_one_response(
    tmp_path: Path, row: Any, label: str, format_: str, desirable: bool
) -> None:
    loaded = load(tmp_path, row | {label: desirable})
    (record,) = loaded.records
    assert loaded.formats == (format_,)
    assert (record.prompt, record.responses) == ((ASKED,), ("Yes.", ""))
    assert (record.safe, record.safer) == ((None, None), None)
    (pair,) = make_pairs("naive", loaded.records)
    assert (pair.chosen, pair.rejected) == (("Yes.", "") if desirable else ("", "Yes."))
    # Where the row tells of safety, that is what the rules of safety take.
    for safe in (True, False):
        loaded = load(tmp_path, row | {label: desirable, "safe": safe}, all_safe=True)
        (pair,) = make_pairs("safe", loaded.records)
        assert (pair.chosen, pair.rejected) == (("Yes.", "") if safe else ("", "Yes."))
        assert {pair.chosen_safe, pair.rejected_safe} == {safe, None}
        (pair,) = make_pairs("helpful", loaded.records)
        assert bool(pair.chosen) is desirable


PLAIN = {"prompt": ASKED[1], **TWO}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"context": "Salt comes from the sea."}, "context"),
        ({"context": "Sea"}, "context"),
        ({"input": "sea salt"}, "input"),
        ({"question": "Is it?"}, "question"),
        ({"messages": [said("user", "Something else?")]}, "messages"),
        ({"tools": '[{"name": "weather"}]'}, "tools"),
        ({"images": ["salt.png"]}, "images"),
        ({"source_document": "Salt comes from the sea."}, "source_document"),
        ({"whatever": "Two words"}, "whatever"),
        ({"persona": {"name": "Ann", "job": "a cook"}}, "persona"),
        ({"UserContext": "Pepper"}, "UserContext"),
    ],
)
def test_a_column_that_may_be_part_of_the_conversation(
    tmp_path: Path, more: dict[str, Any], named: str
) -> None:
    # Whether bad rows are skipped or not: it is the set that is misread.
    for skip in (False, True):
        with pytest.raises(BadInput) as error:
            load(tmp_path, PLAIN, PLAIN | more, skip_bad_rows=skip)
        assert str(error.value) == (
            f"{tmp_path / 'rows.jsonl'}, line 2: nothing reads field {named!r}, which may be part "
            "of the conversation; write it into the prompt, or name it under ignore_fields if it "
            "is not."
        )
    (_, record) = load(tmp_path, PLAIN, PLAIN | more, ignore_fields=(named,)).records
    assert record.prompt == (ASKED,)


@pytest.mark.parametrize(
    "more",
    [
        {"id": "two words", "prompt_id": "a b", "source": "a b", "subcategory": "a b"},
        {"score_chosen": 8.5, "chosen-model": "some model", "rejected_avg_rating": 2},
        {"context": "", "system_prompt": None, "history": [], "tools": None},
        {"rationale": "The first is right.", "comments": "None so far.", "whatever": "word"},
        {"response": TWO["chosen"], "messages": [said(*ASKED), said("assistant", TWO["chosen"])]},
        {"metadata": {"text": "some words", "n": 3}, "turns": 2, "language": "English"},
        {"labelSource": "some people", "question_type": "yes or no"},
    ],
)
def test_columns_that_say_something_about_a_row(tmp_path: Path, more: dict[str, Any]) -> None:
    (record,) = load(tmp_path, PLAIN | more).records
    assert record.prompt == (ASKED,)


def test_safety_labels_under_other_names_are_not_guessed(tmp_path: Path) -> None:
    for name in ("chosen_harmful", "chosen_is_safe", "rejected_unsafe"):
        with pytest.raises(BadInput, match=rf"{name!r} looks like a safety label, which is read"):
            load(tmp_path, PLAIN | {name: True}, all_safe=True)
    (record,) = load(tmp_path, PLAIN | {"chosen_safe": 1, "is_rejected_safe": False}).records
    assert record.safe == (True, False)
    with pytest.raises(BadInput, match="'chosen_safe' should be true or false, found"):
        load(tmp_path, PLAIN | {"chosen_safe": "safe"})


@pytest.mark.parametrize(
    ("row", "said_"),
    [
        (
            {"system": "Rhyme.", **{k: [said(*BRIEF), *v] for k, v in MESSAGES.items()}},
            "field 'system' and the first message of the conversation are two different system",
        ),
        (
            {"instruction": "x", "history": "Hi", **TWO},
            "field 'history' should be a list of pairs of texts",
        ),
        (
            {"instruction": "x", "history": [["Hi"]], **TWO},
            "field 'history' should be a list of pairs of texts",
        ),
        (
            {"instruction": "x", "output": ["a", None]},
            "'output' should be two texts, the better one first",
        ),
        (
            {"messages": [said(*ASKED)], "chosen": said("user", "a"), "rejected": "b"},
            "'chosen' should be the model's message, found 1 messages that begin with the user's",
        ),
        (
            {**PLAIN, "chosen": [said("assistant", "a") | {"tool_calls": [{"id": 1}]}]}
            | {"rejected": [said("assistant", "b")]},
            "'chosen', message 1 has 'tool_calls' beside its text, which cannot be trained on",
        ),
        (
            {**PLAIN, "chosen": [said("assistant", "a") | {"reasoning_content": "So …"}]}
            | {"rejected": [said("assistant", "b")]},
            "'chosen', message 1 has 'reasoning_content' beside its text",
        ),
        (
            {"prompt": ASKED[1], "completion": "Yes.", "label": "good"},
            "field 'label' should be true or false, found \"good\"",
        ),
        ({"prompt": ASKED[1], "completion": " ", "label": 1}, "'completion' should hold the ans"),
        ({"messages": [said(*ASKED)], "kto_tag": True}, "goes from the user to the assistant's"),
    ],
)
def test_rows_of_these_layouts_that_cannot_be_used(tmp_path: Path, row: Any, said_: str) -> None:
    with pytest.raises(BadInput, match="1 of the 1 rows of set 'toy' cannot be used") as error:
        load(tmp_path, row)
    assert said_ in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "mark"),
    [
        ("prompt", "<|user|>\nHi</s>\n<|assistant|>\n", "<|user|>"),
        ("prompt", "<s>[INST] Hi [/INST]", "<s>"),
        ("prompt", "Hi [/INST]", "[/INST]"),
        ("prompt", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>"),
        ("prompt", "<start_of_turn>user\nHi<end_of_turn>", "<start_of_turn>"),
        ("prompt", "<|start_header_id|>user<|end_header_id|>\n\nHi", "<|start_header_id|>"),
        ("prompt", "### Instruction:\nHi\n\n### Response:\n", "### Response:"),
        ("prompt", "USER: Hi ASSISTANT:", "ASSISTANT:"),
        ("prompt", "User: Hi\nAssistant: ", "Assistant:"),
        ("chosen", "Yes</s>", "</s>"),
        ("chosen", "Yes<|eot_id|>", "<|eot_id|>"),
    ],
)
def test_a_templates_words_in_the_data(tmp_path: Path, name: str, text: str, mark: str) -> None:
    row = PLAIN | {name: text}
    with pytest.raises(BadInput) as error:
        load(tmp_path, PLAIN, row)
    assert f"rows.jsonl, line 2: a text holds the mark {mark!r} of a chat" in str(error.value)
    loaded = load(tmp_path, PLAIN, row, skip_bad_rows=True)
    assert (len(loaded.records), len(loaded.bad)) == (1, 1)


def test_marks_that_may_be_somebodys_words(tmp_path: Path) -> None:
    text = "In HTML <s>this</s> is struck out; a <| b |> c; assistants: three; [INSTANCE]"
    (record,) = load(tmp_path, PLAIN | {"chosen": text}).records
    assert record.responses[0] == text


# ----------------------------------------------------------------- conversations and prompts

ANSWERED = (ASKED, ("assistant", "Sure, it is."))


@pytest.mark.parametrize(
    ("row", "conversation"),
    [
        # HuggingFaceH4/ultrachat_200k
        (
            {"prompt": ASKED[1], "prompt_id": "f0", "messages": [said(*one) for one in ANSWERED]},
            ANSWERED,
        ),
        # ShareGPT, as LLaMA-Factory has it
        (
            {
                "conversations": [shared("human", ASKED[1]), shared("gpt", "Sure, it is.")],
                "system": "Be brief.",
                "tools": "",
            },
            (BRIEF, *ANSWERED),
        ),
        # tatsu-lab/alpaca
        (
            {"instruction": "Answer this:", "input": ASKED[1], "output": "Sure, it is."},
            (("user", "Answer this:\nIs salt white?"), ANSWERED[1]),
        ),
        # databricks/databricks-dolly-15k
        (
            {
                "instruction": ASKED[1],
                "context": "Salt is white.",
                "response": "Sure, it is.",
                "category": "closed_qa",
            },
            (("user", "Is salt white?\nSalt is white."), ANSWERED[1]),
        ),
        # TRL's prompt and completion
        ({"prompt": ASKED[1], "completion": "Sure, it is."}, ANSWERED),
        (
            {"prompt": [said(*BRIEF), said(*ASKED)], "completion": [said(*ANSWERED[1])]},
            (BRIEF, *ANSWERED),
        ),
        # Open-Orca/OpenOrca
        (
            {
                "id": "cot.1",
                "system_prompt": "Be brief.",
                "question": ASKED[1],
                "response": "Sure, it is.",
            },
            (BRIEF, *ANSWERED),
        ),
    ],
)
def test_layouts_of_conversations(tmp_path: Path, row: Any, conversation: Any) -> None:
    wanted = DataRecipe("toy", "chat", (str(write(tmp_path, row)),))
    assert load_conversations(wanted, seed=0)[0] == [conversation]


CALL = {"type": "function", "function": {"name": "get", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("row", "said_"),
    [
        (
            {"messages": [said(*ASKED), said("assistant", "") | {"tool_calls": [CALL]}]},  # type: ignore
            "'messages', message 2 has 'tool_calls' beside its text, which cannot be trained on",
        ),
        (
            {"messages": [said(*ASKED), said("assistant", " \n")]},
            "the assistant's message is empty, so there is nothing to learn",
        ),
        (
            {"messages": [said("user", ""), said("assistant", "Yes.")]},
            "the user's message is empty, so there is nothing to learn",
        ),
        (
            {"messages": [said(*ASKED), said("assistant", None)]},  # type: ignore
            "'messages', message 2: field 'content' should be a text, found null",
        ),
        (
            {"messages": [said(*ASKED), said("tool", "4")]},
            "'role' should be one of system, human, user, gpt, assistant, found \"tool\"",
        ),
        (
            {"instruction": ASKED[1], "input": "", "output": ""},
            "field 'output' should hold the answer, and is empty",
        ),
        (
            {"prompt": ASKED[1], "completion": "Yes.<|im_end|>"},
            "a text holds the mark '<|im_end|>' of a chat template",
        ),
        (
            {"prompt": ASKED[1], "completion": "Yes \ud83d"},
            "a text holds half a surrogate pair at character 4",
        ),
        ({"text": "Hi"}, "no field holds what is asked: 'messages', 'conversations', 'prompt'"),
    ],
)
def test_conversations_that_cannot_be_learnt(tmp_path: Path, row: Any, said_: str) -> None:
    good = {"messages": [said(*one) for one in ANSWERED]}
    files = (str(write(tmp_path, good, row)),)
    with pytest.raises(BadInput, match="1 of the 2 rows of set 'toy' cannot be used") as error:
        load_conversations(DataRecipe("toy", "chat", files), seed=0)
    assert said_ in str(error.value)
    assert f"{files[0]}, line 2" in str(error.value)
    found, _, bad, _ = load_conversations(
        DataRecipe("toy", "chat", files, skip_bad_rows=True), seed=0
    )
    assert (found, len(bad)) == ([ANSWERED], 1)


def test_a_second_answer_or_an_unread_tool_in_conversations(tmp_path: Path) -> None:
    row = {"prompt": ASKED[1], "completion": "Yes."}
    for more in ({"answer": "No, never."}, {"answer": "No"}, {"tools": "[weather]"}):
        wanted = DataRecipe("toy", "chat", (str(write(tmp_path, row | more)),))
        with pytest.raises(BadInput, match=f"nothing reads field '{next(iter(more))}'"):
            load_conversations(wanted, seed=0)


def test_prompts_leave_out_what_is_answered() -> None:
    row = {"prompt": ASKED[1], **TWO, "response_0": "Two words", "answer": "Yes, it is."}
    talk = {"messages": [said(*one) for one in ANSWERED]}
    assert _prompt(tracked(Record("here", row | talk), ()), "prompts") == (ASKED,)
    assert _prompt(tracked(Record("here", talk), ()), "prompts") == (ASKED,)
    assert _prompt(tracked(Record("here", talk | {"system": "Be brief."}), ()), "chat") == (
        BRIEF,
        ASKED,
    )
    with pytest.raises(BadInput, match="nothing reads field 'context'"):
        _prompt(tracked(Record("here", row | {"context": "Some salt."}), ()), "prompts")
