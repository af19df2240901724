"""Tables of labels: three formats, many words for two answers, votes and ties."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges.human_labels import decode, majority, read_table
from bfpo_bench.judges.vocabulary import REFUSAL

ROWS = [
    {"prompt": 'say "x", please', "response": "x\ny", "one": "1", "two": "safe"},
    {"prompt": "", "response": "é", "one": "0", "two": "harmless"},
]
CSV = 'prompt,response,one,two\n"say ""x"", please","x\ny",1,safe\n,é,0,harmless\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("\n", "\r\n").replace("x\r\ny", "x\ny"),
        CSV.replace('"say ""x"", please"', '"say ""x"", please"')
        .replace("prompt,response,one,two", "prompt;response;one;two")
        .replace('please",', 'please";')
        .replace('y",1,safe', 'y";1;safe')
        .replace(",é,0,harmless", ";é;0;harmless"),
        json.dumps(ROWS),
        "\n".join(json.dumps(row) for row in ROWS) + "\n\n",
    ],
    ids=["csv", "crlf", "semicolons", "json", "jsonl"],
)
def test_every_format_gives_the_same_rows(text: str, file: Path) -> None:
    file.write_bytes(text.encode())
    table = read_table(file)
    assert table.columns == ["prompt", "response", "one", "two"]
    assert table.rows == ROWS
    assert table.texts("response") == ["x\ny", "é"]
    assert table.encoding == "utf-8"


def test_words_for_harmful_and_harmless(file: Path) -> None:
    harmful = [1, 1.0, True, "1", " TRUE ", "Yes", "unsafe", "Harmful"]
    harmless = [0, 0.0, False, "0", "false", "NO", "safe", "harmless", "unharmful"]
    nothing = [None, "", " ", "unknown", "N/A", "nan"]
    rows = [{"label": value} for value in (*harmful, *harmless, *nothing)]
    file.write_text(json.dumps([*rows, {}]), encoding="utf-8")
    named = ["harmful"] * len(harmful) + ["harmless"] * len(harmless)
    unsaid = [None] * (len(nothing) + 1)
    table = read_table(file)
    assert table.classes("label", "harmful") == [*named, *unsaid]
    # Words speak for themselves, the others are turned round.
    turn = {"harmful": "harmless", "harmless": "harmful"}
    words = (6, 7, 14, 15, 16)
    turned = [name if i in words else turn[name] for i, name in enumerate(named)]
    assert table.classes("label", "safe") == [*turned, *unsaid]
    with pytest.raises(BadInput, match=r"row 1: label is 1, which can say that the response is"):
        table.classes("label", None)
    file.write_text(json.dumps([{"label": value} for value in ("safe", "Harmful", None)]))
    assert read_table(file).classes("label", None) == ["harmless", "harmful", None]


def test_words_for_refusals(file: Path) -> None:
    """XSTest's, the same without the number, plain ones, and yes and no where it is said."""
    named = {
        "compliance": ["1_full_compliance", "full_compliance", "Full compliance", "complied"],
        "full_refusal": ["2_full_refusal", " full-refusal "],
        "partial_refusal": ["3_partial_refusal", "PARTIAL_REFUSAL"],
        "refusal": ["refusal", "refused", "yes", "1", True],
    }
    rows = [{"label": value} for values in named.values() for value in values]
    file.write_text(json.dumps([*rows, {"label": "no"}, {"label": None}]), encoding="utf-8")
    expected = [name for name, values in named.items() for _ in values]
    table = read_table(file)
    assert table.classes("label", "refusal", REFUSAL) == [*expected, "compliance", None]
    turned = [*expected[:-3], "compliance", "compliance", "compliance", "refusal", None]
    assert table.classes("label", "compliance", REFUSAL) == turned
    with pytest.raises(BadInput, match="--label-means refusal or --label-means compliance"):
        table.classes("label", None, REFUSAL)
    # A majority of three; two against two is a tie, three apart too.
    file.write_text(
        "a,b,c,d\n2_full_refusal,compliance,full_refusal,\n"
        "compliance,refusal,compliance,refusal\n"
        "compliance,full_refusal,partial_refusal,\n,,,\n"
    )
    found = majority(read_table(file), ["a", "b", "c", "d"], None, REFUSAL)
    assert found.values == ["full_refusal", None, None, None]
    assert (found.ties, found.unlabelled) == (2, 1)


def test_another_vocabulary_is_listed_in_one_sentence(file: Path) -> None:
    rows = [{"label": value} for value in ("1_full_compliance", "2_full_refusal", None)]
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_table(file).classes("label", None)
    assert str(caught.value) == (
        f"{file}, row 1: label is '1_full_compliance', '2_full_refusal' elsewhere; labels and "
        "verdicts are 1/0, true/false, yes/no, unsafe/safe or harmful/harmless; for these give "
        "--verdict refusal."
    )
    rows = [{"label": value} for value in ("refusal", *"abcdefg")]
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(
        BadInput, match="row 2: label is 'a', 'b', 'c', 'd', 'e' elsewhere and 2 more"
    ):
        read_table(file).classes("label", None, REFUSAL)


def test_the_majority_ties_and_rows_without_a_vote(file: Path) -> None:
    file.write_text("a,b,c\n1,1,0\n0,1,0\n1,0,\n,,\n,1,\n0,no,safe\n", encoding="utf-8")
    table = read_table(file)
    labels = majority(table, ["a", "b", "c"], "harmful")
    assert labels.values == ["harmful", "harmless", None, None, "harmful", "harmless"]
    assert (labels.ties, labels.unlabelled) == (1, 1)
    alone = majority(table, ["a"], "harmful").values
    assert alone == ["harmful", "harmless", "harmful", None, None, "harmless"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows"),
        ("a,b\n", "has no rows"),
        ("[]", "has no rows"),
        ("a,a\n1,2\n", "has two columns 'a'"),
        ("a,b\n1,2,3\n", "row 2 has more than 2 values"),
        ('a,b\n1,"2\n3,4\n', "line 2 is not CSV (unexpected end of data); close its quotes, or"),
        ('a,b\n1,"2"x\n', "line 2 is not CSV (',' expected after '\"'); close its quotes, or"),
        ('{"a": 1}\n{"a": 2', "line 2 is not JSON"),
        ('[{"a": 1}', "is not JSON"),
        ("[" * 100_000, "; write an array of objects or one object per line"),
        ("[1, 2]", "holds int where objects should be"),
    ],
)
def test_files_that_are_no_tables(text: str, sentence: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_table(file)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInput, match=r"the labels file .* cannot be read"):
            read_table(path)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda table: table.classes("tow", None), "did you mean 'two'"),
        (
            lambda table: table.classes("prompt", None),
            "row 2: prompt is 'say \"x\", please'; labels and verdicts are 1/0",
        ),
        (lambda table: table.texts("missing"), "unknown column of labels"),
        (lambda table: majority(table, ["two", "two"]), "label column 'two' is named twice"),
    ],
)
def test_columns_that_are_not_right(ask: Any, sentence: str, file: Path) -> None:
    file.write_text(CSV, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        ask(read_table(file))
    assert sentence in str(caught.value)


def test_a_row_without_its_text_is_named(file: Path) -> None:
    file.write_text('{"r": "a"}\n{"r": null}\n', encoding="utf-8")
    with pytest.raises(BadInput, match="row 2: r is None; a text is needed there"):
        read_table(file).texts("r")


def test_long_fields_and_another_encoding(file: Path) -> None:
    long = "x" * 300_000
    file.write_bytes(f"response,label\n{long} “ok”,1\n".encode("mac-roman"))
    table = read_table(file, "mac-roman")
    assert table.encoding == "mac-roman"
    assert table.texts("response") == [f"{long} “ok”"]
    assert read_table(file, "cp1252").texts("response") == [f"{long} ÒokÓ"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_recognised(encoding: str) -> None:
    for text in ("naïve, 5 €", "plain"):
        assert decode(text.encode(encoding), "f") == (text, encoding)
    assert decode(b"", "f") == ("", "utf-8")


def test_other_encodings_are_asked_for_and_refused_by_name() -> None:
    assert decode("é".encode("latin-1"), "f", "latin-1") == ("é", "latin-1")
    with pytest.raises(BadInput, match=r"f is not UTF-8 text; save it as UTF-8\.$"):
        decode("é".encode("latin-1"), "f")
    with pytest.raises(BadInput, match="unknown encoding 'klingon'"):
        decode(b"", "f", "klingon")
    with pytest.raises(BadInput, match=r"f is not ascii text \(.*\); try another --encoding"):
        decode(b"\xe9", "f", "ascii", "--encoding")
    with pytest.raises(BadInput, match="f is not UTF-8 text"):
        decode(codecs.BOM_UTF16_LE + b"a", "f")
