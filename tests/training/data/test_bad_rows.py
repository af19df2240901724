"""Rows that cannot be trained on are reported with their place; none is dropped silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.preferences import LoadedSet
from tests.training import rows


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines),
        encoding="utf-8",
    )
    return path


def load(path: Path, **options: Any) -> LoadedSet:
    return rows.read("toy", path, **options)


def without(row: rows.Row, name: str) -> rows.Row:
    return {key: value for key, value in row.items() if key != name}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        (
            rows.PKU,
            without(rows.PKU, "response_1"),
            "there is no field 'response_1', only 'prompt', ",
        ),
        (rows.PKU, rows.PKU | {"response_1": 7}, "field 'response_1' should be a text, found 7"),
        (rows.PKU, rows.PKU | {"response_1": " \n"}, "a response is empty"),
        (rows.PKU, rows.PKU | {"prompt": ""}, "the user's last message is empty"),
        (
            rows.PKU,
            rows.PKU | {"response_1": rows.PKU["response_0"] + " "},
            "the two responses are identical",
        ),
        (rows.PKU, rows.PKU | {"better_response_id": 2}, "by its number, 0 or 1, found 2"),
        (rows.PKU, rows.PKU | {"better_response_id": True}, "by its number, 0 or 1, found true"),
        (rows.PKU, rows.PKU | {"safer_response_id": None}, "by its number, 0 or 1, found null"),
        (rows.PKU, rows.PKU | {"is_response_0_safe": "yes"}, 'be true or false, found "yes"'),
        (rows.PKU, rows.PKU | {"response_0": "half: \ud83d"}, "half a surrogate pair at"),
        (rows.PKU, "[1, 2]", "a row should be an object, found list"),
        (rows.PKU, '{"prompt": ', "the line is no JSON (Expecting value"),
        (rows.AUTHORS, rows.AUTHORS | {"better_modelout": 0}, "by its number, 1 or 2, found 0"),
        (rows.REDTEAM, rows.REDTEAM | {"responses": ["a"]}, "a list of two items, found"),
        (rows.REDTEAM, rows.REDTEAM | {"responses": ["a", 1]}, "'responses' should be two texts"),
        (rows.REDTEAM, rows.REDTEAM | {"safe": [0.5, 1]}, "'safe' should be true or false"),
        (
            rows.REDTEAM,
            rows.REDTEAM | {"safer": -1},
            "'safer' should name a response by its number, 0 or 1, found -1",
        ),
        (rows.REDTEAM, rows.REDTEAM | {"prompt": []}, "should be a list of messages, found []"),
        (
            rows.SHAREGPT,
            rows.SHAREGPT | {"chosen": {"from": "human", "value": "x"}},
            "'chosen' should be the model's message",
        ),
        (
            rows.SHAREGPT,
            rows.SHAREGPT | {"conversations": [{"from": "tool", "value": "x"}]},
            "'from' should be one of system, human,",
        ),
        (
            rows.SHAREGPT,
            rows.SHAREGPT | {"conversations": [{"from": "gpt", "value": "x"}]},
            "should end in the user's turn, it ends in 'assistant'",
        ),
        (rows.TRL_PLAIN, {"chosen": "Yes.", "rejected": "No."}, "there is no prompt: no field"),
        (
            rows.TRL_PLAIN,
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
            "differ before their last message",
        ),
        (
            rows.TRL_PLAIN,
            {"chosen": [user("a")], "rejected": [user("a"), assistant("d")]},
            "should end in the assistant's turn",
        ),
        (
            rows.TRL_MESSAGES,
            rows.TRL_MESSAGES
            | {name: [assistant("call"), user("result"), assistant(name)] for name in ("chosen",)}
            | {"rejected": [assistant("call"), user("result"), assistant("no")]},
            "should be one message after 'prompt'",
        ),
        (
            rows.TRL_MESSAGES,
            rows.TRL_MESSAGES | {"chosen": ["Blue."]},
            "'chosen', message 1 is no object with a role and a text but \"Blue.\"",
        ),
        (
            rows.TRL_MESSAGES,
            rows.TRL_MESSAGES | {"chosen": [{"role": "assistant", "content": None}]},
            "'chosen', message 1: field 'content' should be a text, found null",
        ),
    ],
)
def test_a_bad_row_is_named_or_skipped_and_counted(
    tmp_path: Path, good: Any, bad: Any, said: str
) -> None:
    path = written(tmp_path, good, "", bad, good)
    with pytest.raises(BadInput) as error:
        load(path)
    message = str(error.value)
    assert said in message
    assert f"{path}, line 3" in message
    assert "1 of the 3 rows of set 'toy' cannot be used" in message
    assert "skip_bad_rows: true" in message
    loaded = load(path, skip_bad_rows=True)
    assert (len(loaded.records), loaded.rows, len(loaded.bad)) == (2, 3, 1)
    assert said in loaded.bad[0]


def test_many_bad_rows_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    bad = rows.PKU | {"response_0": ""}
    path = written(tmp_path, rows.PKU, *[bad] * 5)
    with pytest.raises(BadInput, match="5 of the 6 rows of set 'toy' cannot be used") as error:
        load(path)
    message = str(error.value)
    assert [f"line {number}:" in message for number in range(2, 7)] == [True] * 3 + [False] * 2
    assert "; and 2 more. Mend them, or have them left out and counted" in message


def test_nothing_but_bad_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "{", "]")
    with pytest.raises(BadInput, match="has no row that can be used, of 2"):
        load(path, skip_bad_rows=True)
    with pytest.raises(BadInput, match="has no row that can be used, of 0"):
        load(written(tmp_path))


def test_unknown_fields_and_formats(tmp_path: Path) -> None:
    path = written(tmp_path, {"question": "a", "answers": ["b", "c"]})
    with pytest.raises(BadInput, match="'question', 'answers' are those of no known format"):
        load(path)
    with pytest.raises(
        BadInput, match=r"unknown format of preference data .*did you mean 'pku-saferlhf'"
    ):
        load(path, format="pku-safe-rlhf")
    # A named format is not doubted: the row is a bad row of it.
    with pytest.raises(BadInput, match="there is no field 'chosen', only"):
        load(path, format="trl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[\n{"a": 1},\n{"a": \n]', "line 3: the list cannot be read from here on"),
        ('[\n{"a": 1}\n{"a": 2}]', "line 2: after this item of the list a ',' or ']' is missing"),
        ("[", "line 1: the list cannot be read from here on"),
    ],
)
def test_a_damaged_list_is_an_error_even_when_bad_rows_are_skipped(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(text.replace('{"a": 1}', json.dumps(rows.PKU)), encoding="utf-8")
    with pytest.raises(BadInput) as error:
        load(path, skip_bad_rows=True)
    assert said in str(error.value)


def test_an_item_of_a_list_that_is_no_object_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([rows.PKU, "text"], indent=1), encoding="utf-8")
    loaded = load(path, skip_bad_rows=True)
    assert len(loaded.bad) == 1
    assert loaded.bad[0].startswith(f"{path}, line 11: a row should be an object, found str")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"preference file .* cannot be opened .No such file"):
        load(tmp_path / "absent.jsonl")
    with pytest.raises(BadInput, match="is no preference file that can be read"):
        load(tmp_path / "pairs.csv")
    latin = tmp_path / "latin.json"
    latin.write_bytes("[é]".encode("latin-1"))
    with pytest.raises(BadInput, match=r"is not UTF-8 .at byte 1.; convert it"):
        load(latin)
    broken = tmp_path / "pairs.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        load(broken)


def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*args: Any, **options: Any) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(BadInput) as error:
        rows.read("toy", hub="someone/pairs")
    assert str(error.value) == (
        "preference data someone/pairs@main (train) could not be had from the hub: "
        "ConnectionError: no network; download it elsewhere and name its files instead."
    )
