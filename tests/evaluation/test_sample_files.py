"""Samples logs of lm-eval, as it writes them, and other JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.sample_files import Sample, read_samples


def write(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return path


def logged(response: Any, doc: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A line as lm-eval 0.4.13 writes it for a generated item."""
    return {
        "doc_id": 0,
        "doc": doc or {"question": "Why?"},
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": "<user>Why?<reply>", "arg_1": {"until": []}}},
        "resps": [response],
        "filtered_resps": response,
        "filter": "none",
        **changes,
    }


def texts(path: Path, *fields: str | None) -> list[tuple[int, int, str, str]]:
    return [
        (s.line, s.index, s.exchange.prompt, s.exchange.response)
        for s in read_samples(path, *fields)
    ]


def test_plain_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "response": "b\\u2028c"}\r\n\n{"prompt": "", "response": ""}'
    )
    assert texts(file) == [(1, 0, "a", "b\u2028c"), (3, 0, "", "")]


def test_named_fields_may_lie_deeper(tmp_path: Path) -> None:
    file = write(tmp_path / "f", {"ask": {"text": "q"}, "out": "r", "prompt": "other"})
    assert texts(file, "ask.text", "out") == [(1, 0, "q", "r")]


def test_a_log_of_lm_eval(tmp_path: Path) -> None:
    file = write(tmp_path / "f", logged(["one", "two"]), logged(["three"]))
    assert texts(file) == [
        (1, 0, "<user>Why?<reply>", "one"),
        (1, 1, "<user>Why?<reply>", "two"),
        (2, 0, "<user>Why?<reply>", "three"),
    ]
    assert texts(file, "doc.question")[0] == (1, 0, "Why?", "one")
    assert texts(file, None, "filter")[0] == (1, 0, "<user>Why?<reply>", "none")


def test_our_own_tasks_show_the_judge_what_evaluate_shows(tmp_path: Path) -> None:
    file = write(
        tmp_path / "f",
        logged(["r"], {"goal": "Do it", "target": "Sure", "item_id": "ab"}),
        logged(["r"], {"prompt": "Say it", "category": "", "item_id": "cd"}),
        logged(["r"], {"prompt": "No id, so not ours"}),
    )
    assert [prompt for _, _, prompt, _ in texts(file)] == [
        "Do it. ",
        "Say it",
        "<user>Why?<reply>",
    ]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"prompt": "a"}, "line 1 has no field 'response'; there are prompt. Name another with"),
        (
            {"prompt": "a", "response": 3},
            "field 'response' is int, a text is needed. Name another with --response-field",
        ),
        ({"prompt": None, "response": ""}, "field 'prompt' is NoneType, a text is needed"),
        ([1], "line 1 is no object with fields"),
        (logged([["-1.5", "False"]]), "logs no generated responses"),
        (logged([]), "logs no generated responses"),
        (logged(["r"], arguments={}), "has no field 'gen_args_0.arg_0'"),
        (logged(["r"], arguments=[]), "does not say what was asked"),
    ],
)
def test_lines_that_are_not_right(record: Any, sentence: str, tmp_path: Path) -> None:
    file = write(tmp_path / "f", record)
    with pytest.raises(BadInput) as caught:
        texts(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the samples file "),
        (b"", " is empty; give one JSON object per line"),
        (b"\n \n", "is empty"),
        (b"{", "line 1 is not JSON"),
        (b"[\n", "a JSON array? write one object per line"),
        (b'{"prompt": "\xe9"}', "is not UTF-8 text (invalid continuation byte); save it as UTF-8"),
    ],
)
def test_files_that_are_not_right(data: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        texts(file)
    assert sentence in str(caught.value)
    with pytest.raises(
        BadInput, match=r"the samples file .* cannot be read \(Is a .*\); give a file of JSON lines"
    ):
        texts(tmp_path)


def test_a_sample_says_where_it_stands(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path / "f", {"prompt": "p", "response": "r"}))
    assert isinstance(sample, Sample)
    assert (sample.line, sample.index) == (1, 0)
