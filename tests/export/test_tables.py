"""JSON lines and Parquet: every sample once, as it was, whatever its text."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bfpo_bench
from bfpo_bench.export import export_run, tables
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.export.tables import json_line
from bfpo_bench.run.store import ItemRecord, Store

from .conftest import JUDGED, SCORED, MakeRun, lines, write_run_json

HOSTILE = [
    "<script>alert(1)</script>",
    "NUL \x00 bell \x07 escape \x1b[31m",
    "line ends \n \r\n \x0b \x0c \x1c \x85 \u2028 \u2029 here",
    "a lone \r carriage return",
    "turned \u202e around \u2066",
    '"quoted\\" {"json": [1]} \\ud800',
    "😀" * 10 + "\U0010ffff \ufffe \ufeff",
    "x" * 3_000_000,
    "",
]


def test_every_column_of_both_kinds_of_task(make_run: MakeRun, tmp_path: Path) -> None:
    done = export_run(make_run([("hello", "world")]), "jsonl", tmp_path / "out.jsonl")
    assert done.samples == 3
    first, second, third = lines(done.path)
    head = {"model": "org/model", "suite": "paper"}
    empty = dict.fromkeys(
        (
            *("prompt", "question", "response", "thought", "no_answer", "finish", "seed"),
            *("prompt_tokens", "tokens"),
        )
    )
    assert first == {
        **head,
        "task": SCORED,
        "column": "WinoGrande",
        "group": "disc",
        "item": "b" * 16,
        "position": 0,
        "row": {"sentence": "_ ran.", "option1": "He", "option2": "She", "answer": "1"},
        "metrics": {"acc": 1.0},
        "choices": [
            {
                "choice": number,
                "context": context,
                "continuation": " ran.",
                "loglikelihood": loglikelihood,
                "is_greedy": False,
                "cut_tokens": 0,
            }
            for number, context, loglikelihood in ((0, "He", -1.5), (1, "She", -2.25))
        ],
        **empty,
        "cut_tokens": None,
        "verdicts": [],
    }
    # By position in the source, though the id of the second item comes first in the alphabet.
    assert (second["item"], second["position"], second["metrics"]) == ("a" * 16, 1, {"acc": 0.0})
    assert third == {
        **head,
        "task": JUDGED,
        "column": "ALERT",
        "group": "gen",
        "item": "0" * 16,
        "position": 0,
        "row": {"prompt": "hello", "category": "c", "id": "1"},
        "metrics": {},
        "choices": [],
        "prompt": "hello",
        "question": "hello",
        "response": "world",
        "thought": None,
        "no_answer": None,
        "finish": "stop",
        "seed": 7,
        "prompt_tokens": 3,
        "tokens": 2,
        "cut_tokens": 0,
        "verdicts": [
            {
                "judge": "lenient",
                "harmful": None,
                "p_harmful": None,
                "raw": "no answer",
                "refusal": "full_refusal",
                "p_refusal": 0.875,
            },
            {
                "judge": "strict",
                "harmful": True,
                "p_harmful": 0.75,
                "raw": "yes",
                "refusal": None,
                "p_refusal": None,
            },
        ],
    }
    assert list(first) == list(third)


def test_flat_tables_hold_what_json_lines_hold(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas
    from pyarrow.parquet import ParquetFile

    monkeypatch.setattr(tables, "ROWS", 4)
    run = make_run([(f"prompt {i}", f"response {i}") for i in range(9)])
    told = lines(export_run(run, "jsonl", tmp_path / "out.jsonl").path)
    frame = bfpo_bench.samples(run)
    assert len(frame) == len(told) == 11
    for (_, flat), row in zip(frame.iterrows(), told, strict=True):
        same = [name for name in row if name not in ("row", "metrics", "choices", "verdicts")]
        assert [None if pandas.isna(flat[name]) else flat[name] for name in same] == [
            row[name] for name in same
        ]
        assert json.loads(flat["row"]) == row["row"]
        choices = row["choices"]
        assert (json.loads(flat["choices"]) if choices else []) == choices
        # Both WinoGrande items: -1.5 for the first choice, -2.25 for the second.
        assert flat["choice"] == 0 if choices else pandas.isna(flat["choice"])
        assert row["metrics"] == ({"acc": flat["metric.acc"]} if choices else {})
        for verdict in row["verdicts"]:
            for name in ("harmful", "p_harmful", "raw"):
                value = flat[f"{name}.{verdict['judge']}"]
                assert verdict[name] is None if pandas.isna(value) else verdict[name] == value
    stored = export_run(run, "parquet", tmp_path / "out.parquet")
    assert stored.samples == 11
    assert ParquetFile(stored.path).num_row_groups == 3
    pandas.testing.assert_frame_equal(pandas.read_parquet(stored.path), frame)
    as_text = export_run(run, "csv", tmp_path / "out.csv").path.read_text(encoding="utf-8")
    assert as_text == frame.to_csv(index=False)


def test_frames_are_also_bounded_by_their_text(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow.parquet import ParquetFile

    monkeypatch.setattr(tables, "CHARACTERS", 100_000)
    run = make_run([("p", "x" * 60_000) for _ in range(6)])
    done = export_run(run, "parquet", tmp_path / "out.parquet")
    assert ParquetFile(done.path).num_row_groups == 3


def test_hostile_text_survives(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run([(text, text) for text in HOSTILE])
    rows = lines(export_run(run, "jsonl", tmp_path / "out.jsonl").path)[2:]
    assert [row["response"] for row in rows] == HOSTILE
    assert [row["prompt"] for row in rows] == HOSTILE
    assert [row["row"]["prompt"] for row in rows] == HOSTILE
    import pandas

    frame = pandas.read_parquet(export_run(run, "parquet", tmp_path / "out.parquet").path)
    assert frame["response"].tolist()[2:] == HOSTILE
    with export_run(run, "csv", tmp_path / "out.csv").path.open(newline="") as file:
        csv.field_size_limit(10**7)
        assert [row["response"] for row in csv.DictReader(file)][2:] == HOSTILE
    folder = export_run(run, "lm-eval", tmp_path / "lm-eval").path
    (file,) = folder.glob(f"samples_{JUDGED}_*.jsonl")
    assert [sample["resps"] for sample in lines(file)] == [[[text]] for text in HOSTILE]
    assert [sample["doc"]["prompt"] for sample in lines(file)] == HOSTILE


def test_what_is_no_text_or_no_number_becomes_what_strict_readers_take(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """Half a surrogate pair, NaN and infinity can stand in a row's JSON, but in no other format."""
    import pandas
    import pyarrow.json

    run = make_run()
    row = '{"prompt": "\\ud800 and \\ud83d\\ude00", "a\\udfff": NaN, "b": -Infinity}'
    with Store(run / "samples.sqlite") as store:
        store.add_items([ItemRecord(JUDGED, "0" * 16, 0, row)])
    expected = {"prompt": "\\ud800 and 😀", "a\\udfff": None, "b": None}
    done = export_run(run, "jsonl", tmp_path / "out.jsonl")
    assert lines(done.path)[2]["row"] == expected
    last = done.path.read_bytes().splitlines()[2]
    assert pyarrow.json.read_json(io.BytesIO(last)).to_pylist()[0]["row"] == expected
    done = export_run(run, "parquet", tmp_path / "out.parquet")
    assert json.loads(pandas.read_parquet(done.path)["row"][2]) == expected
    folder = export_run(run, "lm-eval", tmp_path / "lm-eval").path
    (file,) = folder.glob(f"samples_{JUDGED}_*.jsonl")
    assert lines(file)[0]["doc"] == {**expected, "item_id": "0" * 16}


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_choice_of_no_chance_at_all_is_json_too(
    format: str, make_run: MakeRun, tmp_path: Path
) -> None:
    """A log-likelihood of −inf: JSON has none, and as in JSON lines it is null."""
    import pandas

    run = make_run()
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("UPDATE scores SET loglikelihood = -9e999 WHERE choice = 1")
    db.close()
    file = export_run(run, format, tmp_path / "out").path
    found = getattr(pandas, f"read_{format}")(file)["choices"][0]
    read = json.loads(found, parse_constant=lambda _: pytest.fail("not JSON"))
    assert [one["loglikelihood"] for one in read] == [-1.5, None]


@given(text=st.text(max_size=60), number=st.floats())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_lines_are_strict_json_on_one_line(text: str, number: float) -> None:
    line = json_line({"text": text, "number": number})
    assert line.isascii()
    assert line.splitlines() == [line.removesuffix("\n")]
    read = json.loads(line, parse_constant=lambda _: pytest.fail("not JSON"))
    assert read["text"] == text
    assert read["number"] in (number, None)


def test_datasets_and_pandas_read_the_parquet_file(make_run: MakeRun, tmp_path: Path) -> None:
    import datasets
    import pandas

    path = export_run(make_run(), "parquet", tmp_path / "out.parquet").path
    frame = pandas.read_parquet(path)
    assert frame.task.tolist() == [SCORED, SCORED, JUDGED]
    assert frame["harmful.strict"][2]
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded[2]["response"] == "world"
    assert loaded[2]["p_harmful.strict"] == 0.75


@pytest.mark.slow
def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """Of a run with eight times the responses, 80 MB more of them; each format in a fork of its own
    of one process that has imported everything."""
    counts = (3000, 24_000)
    runs = [write_run_json(tmp_path / str(count)) for count in counts]
    for run, count in zip(runs, counts, strict=True):
        _many_responses(run, count)
    code = """
import os, resource, sys
from pathlib import Path
import pandas, pyarrow.parquet
from bfpo_bench.export import export_run

for format in ("jsonl", "parquet", "csv"):
    for run in sys.argv[1:]:
        if not os.fork():
            export_run(Path(run), format, Path(f"{run}.{format}"))
            print(format, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, runs)], capture_output=True, text=True, check=True
    )
    peaks: dict[str, list[int]] = {}
    for line in done.stdout.splitlines():
        format, kilobytes = line.split()
        peaks.setdefault(format, []).append(int(kilobytes))
    assert list(peaks) == ["jsonl", "parquet", "csv"]
    for format, (small, large) in peaks.items():
        assert large < small + 40 * 1024, (format, small, large)
        assert (tmp_path / f"{counts[1]}.{format}").stat().st_size > 0


def _many_responses(run: Path, count: int) -> None:
    with Store(run / "samples.sqlite"):
        pass
    text = "word " * 700
    with sqlite3.connect(run / "samples.sqlite") as db:
        names = [f"{i:016x}" for i in range(count)]
        db.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?)",
            ((JUDGED, name, i, '{"prompt": "p"}') for i, name in enumerate(names)),
        )
        db.executemany(
            "INSERT INTO responses VALUES (?, ?, ?, 'p', 'p', ?, 'stop', 0, 1, 1, 0, NULL, NULL)",
            ((name, JUDGED, name, text + name) for name in names),
        )
    db.close()


def test_the_document_names_every_column(make_run: MakeRun) -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    run = make_run()
    with RunSamples(run) as opened:
        keys = set(next(tables.rows(opened)))
    of_judges = re.compile(r"(harmful|p_harmful|refusal|p_refusal|raw)\.(strict|lenient)")
    flat = {of_judges.sub(r"\1.JUDGE", column) for column in tables.samples(run).columns}
    for name in keys | flat:
        assert f"`{name}`" in text
