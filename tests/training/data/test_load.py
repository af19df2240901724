"""Preference data of every format becomes the same kind of record; bad rows are told by place."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.formats import write_row
from bfpo_bench.training.data.load import PINNED
from bfpo_bench.training.data.preferences import LoadedSet, digest
from tests.training import rows

COLOUR = (("user", "Name a colour."),)


def written(folder: Path, *lines: Any) -> Path:
    """A JSON-lines file of rows, or of lines as they are."""
    path = folder / "pairs.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def load(folder: Path, found: list[Any], **options: Any) -> LoadedSet:
    """The set in a JSON-lines file of these rows."""
    return rows.read("toy", written(folder, *found), **options)


@pytest.mark.parametrize(
    ("row", "format_", "more_helpful", "safe", "safer"),
    [
        (rows.PKU, "pku-saferlhf", 0, (False, True), 1),
        (rows.ULTRAFEEDBACK, "ultrafeedback", 0, (True, True), None),
        (rows.AUTHORS, "redteam-authors", 1, (True, False), 0),
        (rows.REDTEAM, "redteam", 0, (False, None), None),
        (rows.SHAREGPT, "sharegpt", 0, (None, None), None),
        (rows.TRL_PLAIN, "trl", 0, (None, None), None),
        (rows.TRL_MESSAGES, "trl", 0, (None, None), None),
        (rows.TRL_MESSAGES_IMPLICIT, "trl", 0, (None, None), None),
        (rows.HH, "trl", 0, (None, None), None),
    ],
)
def test_the_format_is_told_and_the_labels_are_read(
    tmp_path: Path, row: Any, format_: str, more_helpful: int, safe: Any, safer: int | None
) -> None:
    loaded = load(tmp_path, [row])
    assert loaded.formats == (format_,)
    (record,) = loaded.records
    assert (record.more_helpful, record.safe, record.safer) == (more_helpful, safe, safer)
    assert record.source == "toy"
    assert record.where == f"{tmp_path / 'pairs.jsonl'}, line 1"
    named = load(tmp_path, [row], format=format_)
    assert named == loaded


@pytest.mark.parametrize(
    "row", [rows.ULTRAFEEDBACK, rows.TRL_PLAIN, rows.TRL_MESSAGES, rows.TRL_MESSAGES_IMPLICIT]
)
def test_the_prompt_is_a_conversation_whichever_way_it_is_written(tmp_path: Path, row: Any) -> None:
    (record,) = load(tmp_path, [row]).records
    assert record.prompt == COLOUR
    assert record.responses[0].startswith("Blue")
    assert record.responses[1] == "No."


def test_a_transcript_is_a_conversation(tmp_path: Path) -> None:
    history = (("user", "Hi"), ("assistant", "Hello!"))
    (record,) = load(tmp_path, [rows.HH]).records
    assert record.prompt == (*history, *COLOUR)
    assert record.responses == ("Blue.", "No.")
    asked = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Name a colour.\n\nAssistant:"
    (record,) = load(tmp_path, [rows.TRL_PLAIN | {"prompt": asked}]).records
    assert record.prompt == (*history, *COLOUR)


def test_implicit_prompts_are_split_as_trl_splits_them(tmp_path: Path) -> None:
    # What trl.data_utils.extract_prompt of TRL 1.16 makes of them; the first is in its manual.
    for row, prompt, responses in (
        (rows.TRL_PLAIN_IMPLICIT, "The sky is", (" blue.", " green.")),
        ({"chosen": "A cat, a dog", "rejected": "A cat or two"}, "A cat", (", a dog", " or two")),
        # TRL would end these prompts within a word.
        ({"chosen": "The sky is", "rejected": "The sky isn't"}, "The sky", (" is", " isn't")),
        ({"chosen": "It is 3.14.", "rejected": "It is 3.15."}, "It is", (" 3.14.", " 3.15.")),
    ):
        (record,) = load(tmp_path, [row | {"id": "a b", "source": "c d"}]).records
        assert record.prompt == (("user", prompt),)
        assert record.responses == responses


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("Sure, it is.", "Salt is black.", {}), "'chosen' and 'rejected' do not begin alike"),
        (("I need water.", "I cannot help.", {}), "'chosen' and 'rejected' do not begin alike"),
        (("Le pain.", "La salt.", {}), "'chosen' and 'rejected' do not begin alike"),
        (
            ("The sky is blue.", "The sky is red.", {"ask": "Colour?"}),
            "and field 'ask' is none that holds one",
        ),
        (
            ("The sky is blue.", "The sky is red.", {"system": "Rhyme."}),
            "and field 'system' is none that holds one",
        ),
        (
            ("The sky is blue.", "The sky is red.", {"prompt": None}),
            "field 'prompt' should hold the prompt, and is empty",
        ),
        (
            ("The sky is blue.", "The sky is red.", {"question": " "}),
            "field 'question' should hold the prompt, and is empty",
        ),
    ],
)
def test_no_prompt_is_made_up(tmp_path: Path, row: Any, said: str) -> None:
    chosen, rejected, more = row
    with pytest.raises(BadInput, match="1 of the 1 rows of set 'toy' cannot be used") as error:
        load(tmp_path, [{"chosen": chosen, "rejected": rejected, **more}])
    assert said in str(error.value)


def test_a_set_of_responses_alone_has_no_prompts_by_chance(tmp_path: Path) -> None:
    found = [{"chosen": f"{word} think so.", "rejected": "I think not."} for word in "ABCI"]
    with pytest.raises(BadInput, match="3 of the 4 rows of set 'toy' hold responses alone, so"):
        load(tmp_path, found, skip_bad_rows=True)
    loaded = load(tmp_path, found[2:], skip_bad_rows=True)
    assert [record.prompt for record in loaded.records] == [(("user", "I think"),)]


def test_roles_and_system_message_of_sharegpt(tmp_path: Path) -> None:
    (record,) = load(tmp_path, [rows.SHAREGPT]).records
    assert record.prompt == (("system", "Be brief."), *COLOUR)
    row = rows.SHAREGPT | {"conversations": rows.SHAREGPT["conversations"][1:], "system": "Rhyme."}
    (record,) = load(tmp_path, [row]).records
    assert record.prompt == (("system", "Rhyme."), *COLOUR)


@pytest.mark.parametrize("names", [("chosen_safe", "rejected_safe"), ("is_chosen_safe",) * 2])
def test_safety_columns_beside_chosen_and_rejected(tmp_path: Path, names: tuple[str, str]) -> None:
    label = {names[0]: False, names[1].replace("is_chosen", "is_rejected"): 1}
    (record,) = load(tmp_path, [rows.TRL_PLAIN | label]).records
    assert (record.safe, record.safer) == ((False, True), 1)


def test_all_safe_fills_what_the_data_leaves_open(tmp_path: Path) -> None:
    labelled = rows.TRL_PLAIN | {"chosen_safe": False}
    loaded = load(tmp_path, [rows.TRL_PLAIN, labelled], all_safe=True)
    assert [record.safe for record in loaded.records] == [(True, True), (False, True)]


def test_real_pku_rows(data_dir: Path) -> None:
    path = data_dir / "preference" / "pku_saferlhf_32.json"
    loaded = rows.read("safety", path)
    assert (loaded.rows, loaded.bad, loaded.formats) == (32, [], ("pku-saferlhf",))
    # Counted over the file's own fields with jq.
    labels = Counter((r.safe, r.more_helpful, r.safer) for r in loaded.records)
    assert labels[(False, False), 0, 1] == 6
    assert labels[(True, False), 1, 0] == 3
    assert labels[(False, True), 0, 1] == 1
    # The line of each item's opening brace.
    lines = path.read_text(encoding="utf-8").split("\n")
    for record in loaded.records:
        number = int(record.where.rpartition(" ")[2])
        assert lines[number - 1].strip() == "{"
        assert json.dumps(record.prompt[0][1])[1:-1] in lines[number]


def test_real_sharegpt_rows(data_dir: Path) -> None:
    path = data_dir / "preference" / "dpo_pairs_300_sharegpt.json"
    loaded = rows.read("chat", path)
    assert (len(loaded.records), loaded.rows, loaded.bad) == (300, 300, [])
    assert Counter(len(r.prompt) for r in loaded.records)[5] == 57
    assert sum(r.prompt[0][0] == "system" for r in loaded.records) == 80


def test_our_own_format_holds_everything(tmp_path: Path, data_dir: Path) -> None:
    path = data_dir / "preference" / "pku_saferlhf_32.json"
    records = rows.read("safety", path).records
    again = load(tmp_path, [write_row(record) for record in records])
    assert again.formats == ("redteam",)
    assert digest(again.records) == digest(records)


def test_parquet_list_and_lines_are_the_same_data(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    found = [rows.TRL_MESSAGES, rows.TRL_MESSAGES | {"chosen": [_said("assistant", "Red.")]}]
    parquet.write_table(pyarrow.Table.from_pylist(found), tmp_path / "pairs.parquet")
    (tmp_path / "pairs.json").write_text(json.dumps(found), encoding="utf-8")
    expected = load(tmp_path, found)
    for name in ("pairs.parquet", "pairs.json"):
        loaded = rows.read("toy", tmp_path / name)
        assert digest(loaded.records) == digest(expected.records)
    loaded = rows.read("toy", tmp_path / "pairs.parquet")
    assert loaded.records[1].where == f"{tmp_path / 'pairs.parquet'}, row 1"


def test_files_of_a_set_may_be_of_different_formats(tmp_path: Path) -> None:
    for number, row in enumerate((rows.PKU, rows.AUTHORS)):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    files = (tmp_path / "0.jsonl", tmp_path / "1.jsonl")
    loaded = rows.read("safety", *files)
    assert loaded.formats == ("pku-saferlhf", "redteam-authors")
    assert [record.more_helpful for record in loaded.records] == [0, 1]


def test_a_limit_draws_by_seed_and_keeps_the_order(tmp_path: Path) -> None:
    found = [rows.TRL_PLAIN | {"prompt": f"Name colour {number}."} for number in range(200)]

    def drawn(limit: int, seed: int = 1) -> list[int]:
        loaded = load(tmp_path, found, limit=limit, seed=seed)
        assert loaded.rows == 200
        return [int(record.prompt[0][1].split()[2][:-1]) for record in loaded.records]

    some = drawn(50)
    assert len(set(some)) == 50
    assert some == sorted(some)
    assert some == drawn(50)
    assert set(some) < set(drawn(120))
    assert some != drawn(50, seed=2)
    # A fair draw has 25 of the 50 in the first half; 12 is four standard deviations less.
    assert 12 < sum(number < 100 for number in some) < 38
    assert drawn(500) == list(range(200))


@pytest.mark.parametrize("name", PINNED)
def test_a_hub_set_is_read_at_the_pinned_revision(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    datasets = pytest.importorskip("datasets")
    row = rows.PKU if "PKU" in name else rows.ULTRAFEEDBACK | {"messages": rows.HH["chosen"]}
    calls = []

    def fake(*args: Any, **options: Any) -> Any:
        calls.append((args, options))
        return datasets.Dataset.from_list([row, row])

    monkeypatch.setattr(datasets, "load_dataset", fake)
    loaded = rows.read("safety", hub=name)
    revision, split = PINNED[name]
    assert calls == [((name,), {"split": split, "revision": revision})]
    assert len(loaded.records) == 2
    assert loaded.records[1].where == f"{name}@{revision or 'main'} ({split}), row 1"
    assert revision in (None, "ff7ba91063016c78a225b0f74e1c0860bb18230f")
    rows.read("safety", hub=name, split="test", revision="v2")
    assert calls[1] == ((name,), {"split": "test", "revision": "v2"})


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


# ------------------------------------------------------------ rows that cannot be trained on


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
        rows.read("toy", path)
    message = str(error.value)
    assert said in message
    assert f"{path}, line 3" in message
    assert "1 of the 3 rows of set 'toy' cannot be used" in message
    assert "skip_bad_rows: true" in message
    loaded = rows.read("toy", path, skip_bad_rows=True)
    assert (len(loaded.records), loaded.rows, len(loaded.bad)) == (2, 3, 1)
    assert said in loaded.bad[0]


def test_many_bad_rows_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    bad = rows.PKU | {"response_0": ""}
    path = written(tmp_path, rows.PKU, *[bad] * 5)
    with pytest.raises(BadInput, match="5 of the 6 rows of set 'toy' cannot be used") as error:
        rows.read("toy", path)
    message = str(error.value)
    assert [f"line {number}:" in message for number in range(2, 7)] == [True] * 3 + [False] * 2
    assert "; and 2 more. Mend them, or have them left out and counted" in message


def test_nothing_but_bad_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "{", "]")
    with pytest.raises(BadInput, match="has no row that can be used, of 2"):
        rows.read("toy", path, skip_bad_rows=True)
    with pytest.raises(BadInput, match="has no row that can be used, of 0"):
        rows.read("toy", written(tmp_path))


def test_unknown_fields_and_formats(tmp_path: Path) -> None:
    path = written(tmp_path, {"question": "a", "answers": ["b", "c"]})
    with pytest.raises(
        BadInput, match=r"'question', 'answers' are those of no known format of [a-z ]+;"
    ):
        rows.read("toy", path)
    with pytest.raises(
        BadInput, match=r"unknown format of preference data .*did you mean 'pku-saferlhf'"
    ):
        rows.read("toy", path, format="pku-safe-rlhf")
    # A named format is not doubted: the row is a bad row of it.
    with pytest.raises(BadInput, match="there is no field 'chosen', only"):
        rows.read("toy", path, format="trl")
    for lacks, row in {
        "'label' would make it trl-unpaired": {"prompt": "a", "completion": "b"},
        "'rejected' would make it trl": {"prompt": "a", "chosen": "b"},
    }.items():
        with pytest.raises(BadInput, match=rf"preference data \({lacks}\); there are"):
            rows.read("toy", written(tmp_path, row))


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
        rows.read("toy", path, skip_bad_rows=True)
    assert said in str(error.value)


def test_an_item_of_a_list_that_is_no_object_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([rows.PKU, "text"], indent=1), encoding="utf-8")
    loaded = rows.read("toy", path, skip_bad_rows=True)
    assert len(loaded.bad) == 1
    assert loaded.bad[0].startswith(f"{path}, line 11: a row should be an object, found str")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"preference file .* cannot be opened .No such file"):
        rows.read("toy", tmp_path / "absent.jsonl")
    with pytest.raises(BadInput, match="is no preference file that can be read"):
        rows.read("toy", tmp_path / "pairs.csv")
    latin = tmp_path / "latin.json"
    latin.write_bytes("[é]".encode("latin-1"))
    with pytest.raises(BadInput, match=r"is not UTF-8 .at byte 1.; convert it"):
        rows.read("toy", latin)
    broken = tmp_path / "pairs.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        rows.read("toy", broken)


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
