"""Reading upstream files, and the sentences for what is wrong with them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bfpo_bench.common.errors import BadInput
from bfpo_bench.data import files as records
from bfpo_bench.data.files import Record, csv_records, jsonl_records, read_json

CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))


@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_csv_gives_back_what_the_standard_writer_wrote(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(rows)
    path = tmp_path / "x.csv"
    path.write_bytes(buffer.getvalue().encode("utf-8"))
    found = [(record.values["a"], record.values["b"]) for record in csv_records(path, ["a", "b"])]
    assert found == rows


def test_unquoted_line_separators_do_not_end_a_row(write) -> None:
    path = write("x.csv", "a,b\none\u2028two,three\x0cfour\n")
    assert [record.values for record in csv_records(path, ["a"])] == [
        {"a": "one\u2028two", "b": "three\x0cfour"}
    ]


def test_byte_order_mark_is_not_part_of_the_first_column(write) -> None:
    path = write("x.csv", b"\xef\xbb\xbfgoal,target\r\n a ,b\r\n")
    assert [record.values for record in csv_records(path, ["goal"])] == [
        {"goal": " a ", "target": "b"}
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("goal\nx\n", "line 1: column 'target' is missing; found the header 'goal'; fetch"),
        ("x,y\n1,2\n", "line 1: columns 'goal', 'target' are missing; found the header 'x', 'y'"),
        ("goal,target\na,b\nc\n", "line 3: found 1 cells, expected 2; fetch the file again"),
        (
            'goal,target\na,"b\nc\n',
            "line 2: malformed CSV (unexpected end of data); fetch the file again",
        ),
        ('goal,target\n"a\nb",c\nd\n', "line 4: found 1 cells, expected 2; fetch the file again"),
        ("", "is empty; expected the columns goal, target; fetch"),
    ],
)
def test_a_bad_csv_names_file_and_line(write, content: str, expected: str) -> None:
    path = write("x.csv", content)
    with pytest.raises(BadInput) as error:
        list(csv_records(path, ["goal", "target"]))
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_bad_json_names_file_and_line(write) -> None:
    path = write("x.jsonl", '{"a": 1}\n\n{"a": \n')
    with pytest.raises(BadInput, match=r"x\.jsonl, line 3: malformed JSON"):
        list(jsonl_records(path))
    with pytest.raises(BadInput, match="line 1: expected an object, found list"):
        list(jsonl_records(write("y.jsonl", "[1]\n")))
    with pytest.raises(BadInput, match=r"task\.json, line 2: malformed JSON"):
        read_json(write("task.json", '{"a":\n oops}'))
    with pytest.raises(BadInput, match="malformed JSON"):
        read_json(write("deep.json", "[" * 100_000))


def test_bytes_that_are_no_text_are_located(write) -> None:
    path = write("x.jsonl", b'{"a": "1"}\n{"a": "\xff"}\n')
    with pytest.raises(BadInput, match=r"line 2: byte 18 is no UTF-8 text; fetch the file"):
        list(jsonl_records(path))
    with pytest.raises(BadInput, match=r"the data file .* cannot be read \(No such file"):
        records.read_text(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (records.text, 3, "should be text, found 3"),
        (records.integer, "x", 'should be a whole number, found "x"'),
        (records.integer, True, "should be a whole number, found true"),
        (records.integer, 0.5, "should be a whole number, found 0.5"),
        (records.number, None, "should be a number, found null"),
        (records.texts, ["a", 1], "should be a list of texts"),
    ],
)
def test_a_field_of_another_type_is_named(read, value: object, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        read(Record("here", {"f": value}), "f")
    with pytest.raises(BadInput, match="here: field 'f' is missing; found 'g'"):
        read(Record("here", {"g": 1}), "f")
