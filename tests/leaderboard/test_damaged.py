"""A damaged run costs itself and nothing else: whoever reads it says in a sentence what it is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bfpo_bench
from benchmarks.synthetic_runs import synthetic_run
from bfpo_bench.common.errors import BadInput, BenchError
from bfpo_bench.export import export_run
from bfpo_bench.export.samples import RunSamples
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.compare import compare_runs
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.leaderboard.report import write
from bfpo_bench.leaderboard.report.page import boxes, table
from bfpo_bench.leaderboard.report.write import write_report
from tests.leaderboard.edits import edited

TASKS = ("advbench", "alert", "bbq", "winogrande")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("damaged") / "run", limit=6, tasks=TASKS)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value, to itself too."""
    yield at
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*at, name))


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """The value with another one in a place."""
    if not at:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=9)
    | st.sampled_from(("disc", "bfpo_alert", "\ud800", "\x1b[2J", 0, 1, 2**63, 1e308)),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(st.data())
@settings(
    max_examples=int(os.environ.get("BFPO_FUZZ", "12")),
    deadline=None,
    derandomize="BFPO_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_value_at_any_place_is_a_table_or_a_sentence(
    run: Path, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """More of them, and others each time: BFPO_FUZZ=2000."""
    name = data.draw(st.sampled_from(("run.json", "results.json")))
    content = json.loads((run / name).read_text())
    at = data.draw(st.sampled_from(list(places(content))))
    there = tmp_path_factory.getbasetemp() / "any"
    if not there.exists():
        shutil.copytree(run, there)
    for file in ("run.json", "results.json"):
        shutil.copyfile(run / file, there / file)
    (there / name).write_text(json.dumps(put(content, at, data.draw(ANY))))
    board = read_leaderboard([there], LeaderboardOptions(ci=True, full=True))
    assert len(board.entries) + len(board.problems) == 1
    assert str(board)
    assert table(board.entries)["heads"]
    boxes(board.entries)
    said = ""
    try:
        with RunSamples(there) as samples:
            for task in samples.tasks:
                samples.counts(task, samples.judge_named())
        assert len(bfpo_bench.samples(there))
    except BenchError as error:
        said = str(error)
    assert "\n" not in said


def sql(statement: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "samples.sqlite")) as db, db:
            assert db.execute(statement).rowcount > 0

    return change


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content)


def circle(run: Path) -> None:
    (run / "run.json").unlink()
    (run / "run.json").symlink_to("run.json")


def pipe(run: Path) -> None:
    (run / "results.json").unlink()
    os.mkfifo(run / "results.json")


def emptied(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()


def itself(run: Path) -> None:
    shutil.rmtree(run)
    run.symlink_to(run)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a number for the identity": (
        written("run.json", b'{"schema": 1, "identity": 5}'), "run.json is not a run of bfpo-bench"
    ),
    "a number for the tasks": (
        lambda run: edited(run, "run.json", lambda content: content["identity"].update(tasks=3)),
        "run.json, identity, tasks must be keys and values, not 3",
    ),
    "a number for a cell": (
        lambda run: edited(run, "results.json", lambda c: c["tasks"].update(bfpo_alert=7)),
        "results.json, tasks, bfpo_alert must be keys and values, not 7",
    ),
    "no average": (
        lambda run: edited(run, "results.json", lambda c: c["averages"].pop("gen")),
        "results.json lacks the average gen",
    ),
    "deep": (written("run.json", b'{"a":' * 500 + b"1" + b"}" * 500), "more than 60 levels deep"),
    "endless": (written("results.json", b"[" * 200_000), "more than 60 levels deep"),
    "no text": (written("results.json", b"\xff\xfe{}"), "results.json is not JSON"),
    "NaN": (
        lambda run: edited(
            run, "results.json", lambda c: c["averages"]["gen"].update(value=float("nan"))
        ),
        "results.json, averages, gen, value must be a finite number, not nan",
    ),
    "huge": (
        lambda run: edited(
            run, "results.json", lambda c: c["tasks"]["bfpo_alert"].update(n=10**300)
        ),
        "results.json, tasks, bfpo_alert, n must be at most 9007199254740992",
    ),
    "newer": (
        lambda run: edited(run, "results.json", lambda c: c.update(schema=9)),
        "results.json has schema 9, this bfpo-bench knows 1; upgrade bfpo-bench",
    ),
    "a circle": (circle, "is no run directory (run.json: Too many levels of symbolic links)"),
    "a circle of folders": (itself, "run.json: Too many levels of symbolic links)"),
    "a pipe": (pipe, "results.json cannot be read (it is a pipe or a device, and no file)"),
    "nothing": (emptied, "is no run directory (run.json: No such file or directory)"),
    "no database": (
        written("samples.sqlite", b"no database " * 100), "samples.sqlite is damaged (file is not a"
    ),
    "a foreign database": (sql("DELETE FROM meta"), "samples.sqlite is not a store of bfpo-bench"),
    "a row that is no JSON": (
        sql("UPDATE items SET row = '[1' WHERE task = 'bfpo_bbq_lite'"), "malformed JSON"
    ),
    "a word for a number": (
        sql("UPDATE outcomes SET value = 'x' WHERE task = 'bfpo_winogrande' AND value = 0"),
        "value is 'x' and should be a number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_named_and_left_out_and_the_others_are_shown(
    case: str, run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    damage, sentence = DAMAGE[case]
    bad, sound = copy(run, "bad"), copy(run, "sound")
    damage(bad)
    board = bfpo_bench.leaderboard(bad, sound, ci=True)
    [named] = [*board.problems, *board.faults]
    assert sentence in named
    assert "\n" not in named
    shown = [entry.source for entry in board.entries if entry.fault is None]
    assert shown == [str(sound)]
    with pytest.raises(BadInput) as refused:
        compare_runs([bad, sound])
    assert sentence in str(refused.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        page = write_report(board.entries, tmp_path / "report")
    assert sound.name in page.read_text()


def test_a_broken_row_costs_the_samples_of_its_run(
    run: Path, copy: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What no count shows: the row keeps its numbers, and whoever reads its texts is told."""
    bad = copy(run, "bad")
    sql("UPDATE responses SET response = x'ff' WHERE task = 'bfpo_alert'")(bad)
    sentence = "bad/samples.sqlite holds an answer to bfpo_alert, item "
    rows = bfpo_bench.leaderboard(bad, run).entries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_all", lambda entries, folder: [])
        page = write_report(rows, tmp_path / "report").read_text()
    assert sentence in page
    assert sentence in caplog.text
    for read in (bfpo_bench.samples, lambda path: export_run(path, "csv", tmp_path / "out.csv")):
        with pytest.raises(BadInput, match=r"response is b'\\xff' and should be a text"):
            read(bad)
        assert not (tmp_path / "out.csv").exists()


def test_damaged_results_are_said_where_the_samples_are_shown(
    run: Path, copy: Callable[..., Path], tmp_path: Path
) -> None:
    bad = copy(run, "bad")
    DAMAGE["newer"][0](bad)
    done = export_run(bad, "jsonl", tmp_path / "out.jsonl")
    assert done.samples == export_run(run, "jsonl", tmp_path / "sound.jsonl").samples
    [note] = done.notes
    assert note.startswith(f"Exported without its results: {bad}/results.json has schema 9")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may read nothing")
def test_a_run_that_may_not_be_read(run: Path, copy: Callable[..., Path]) -> None:
    shut, sound = copy(run, "shut/run"), copy(run, "sound")
    shut.parent.chmod(0o700)
    for folder in (sound, *sound.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        board = bfpo_bench.leaderboard(shut, sound)
        with pytest.raises(BadInput, match="Permission denied"):
            bfpo_bench.samples(shut)
    finally:
        os.seteuid(0)
    assert board.problems[0].startswith(f"{shut} is no run directory (run.json: Permission denied)")
    assert [entry.source for entry in board.entries] == [str(sound)]
