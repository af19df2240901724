"""The store keeps what it was given, whole batches or nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bfpo_bench.errors import BadInput, RunFailed
from bfpo_bench.store import (
    ItemRecord,
    OutcomeRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    answer_key,
)

HOSTILE = "<script>alert(1)</script>\x00\u202e 'DROP TABLE scores; --\n" + "😀" * 10


def response(key: str, item: str, text: str = "words") -> ResponseRecord:
    return ResponseRecord(key, "t", item, "prompt", "question", text, "stop", 7, 3, 2, 0)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    score = ScoreRecord("k", "t", "i", 1, "context", HOSTILE, -1.2345678901234567, True, 3)
    verdicts = [
        VerdictRecord("v1", "j", "r1", True, 0.75, "raw"),
        VerdictRecord("v2", "j", "r2", None, None, "low mass"),
        VerdictRecord("v3", "other", "r2", False, 0.0, ""),
    ]
    with Store(tmp_path / "samples.sqlite") as store:
        store.add_items([ItemRecord("t", "i", 4, "{}")])
        store.add_scores([score])
        store.add_responses([response("r1", "a", HOSTILE), response("r2", "b", "")])
        store.add_verdicts(verdicts)
        store.add_outcomes([OutcomeRecord("t", "i", "acc", 1.0)])
    with Store(tmp_path / "samples.sqlite") as store:
        assert store.items("t") == [ItemRecord("t", "i", 4, "{}")]
        assert store.scores("t") == [score]
        assert [r.response for r in store.responses("t")] == [HOSTILE, ""]
        assert store.verdicts("t", "j") == verdicts[:2]
        assert store.outcomes("t", "acc") == {"i": 1.0}
        assert store.keys("verdicts") == {"v1", "v2", "v3"}
        assert store.keys("responses", "t") == {"r1", "r2"}
        assert store.keys("responses", "elsewhere") == set()


def test_half_a_character_is_stored_as_a_replacement(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add_responses([response("r1", "a", "half \ud83d, whole \U0001f600")])
        assert store.responses("t")[0].response == "half \ufffd, whole \U0001f600"


def test_a_batch_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def batch() -> object:
        yield response("r1", "a")
        raise KeyboardInterrupt

    with Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            store.add_responses(batch())  # type: ignore[arg-type]
        assert store.responses("t") == []
        store.add_responses([response("r1", "a")])
        assert len(store.responses("t")) == 1


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    with pytest.raises(BadInput, match="newer bfpo-bench"):
        Store(path)


def test_other_databases_and_other_files_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(BadInput, match="not a store"):
        Store(tmp_path / "other.sqlite")
    (tmp_path / "text.sqlite").write_text("no database " * 100)
    with pytest.raises(RunFailed, match="not a database"):
        Store(tmp_path / "text.sqlite")


def test_a_read_only_store_shows_one_moment_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "odd name?#%41.sqlite"
    with Store(path) as writer:
        writer.add_items([ItemRecord("t", "b", 0, "{}"), ItemRecord("t", "a", 1, "{}")])
        with Store(path, read_only=True) as reader:
            writer.add_items([ItemRecord("t", "c", 2, "{}")])
            assert [record.item for record in reader.iter_items("t")] == ["b", "a"]
            assert [record.item for record in writer.iter_items("t")] == ["b", "a", "c"]
            with pytest.raises(RunFailed):
                reader.add_items([ItemRecord("t", "d", 3, "{}")])
        with Store(path, read_only=True) as reader:
            assert len(reader.items("t")) == 3


def test_a_read_only_store_sees_what_a_killed_writer_committed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    code = (
        "import os, sys; from pathlib import Path; from bfpo_bench.store import *\n"
        "store = Store(Path(sys.argv[1])); store.add_items([ItemRecord('t', 'a', 0, '{}')])\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name("s.sqlite-wal").stat().st_size > 0
    with Store(path, read_only=True) as store:
        assert len(store.items("t")) == 1


def test_a_read_only_store_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing has been answered"):
        Store(tmp_path / "s.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.sqlite").touch()
    with pytest.raises(BadInput, match="nothing has been answered"):
        Store(tmp_path / "s.sqlite", read_only=True)
    assert (tmp_path / "s.sqlite").stat().st_size == 0


def test_a_store_on_a_disk_that_takes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There SQLite cannot make the files by which readers and writers share a log."""
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add_items([ItemRecord("t", "a", 0, "{}")])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store(path, read_only=True) as store:
        assert len(store.items("t")) == 1
        assert list(tmp_path.iterdir()) == [path]


def test_answers_of_one_item(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add_responses([response("r1", "a"), response("r2", "b")])
        store.add_scores(
            ScoreRecord(f"{item}{choice}", "t", item, choice, "c", "d", -1.0, False, 0)
            for item in "ab"
            for choice in (1, 0)
        )
        store.add_outcomes([OutcomeRecord("t", "a", "acc", 1.0), OutcomeRecord("t", "b", "acc", 0)])
        store.add_verdicts(
            VerdictRecord(f"{judge}-{key}", judge, key, True, None, "")
            for judge in ("z", "y")
            for key in ("r1", "r2")
        )
        assert [r.key for r in store.responses("t", "b")] == ["r2"]
        assert [s.key for s in store.scores("t", "b")] == ["b0", "b1"]
        assert store.scores("elsewhere", "b") == []
        assert store.outcomes_of("t", "a") == {"acc": 1.0}
        assert [v.key for v in store.verdicts_on("r1")] == ["y-r1", "z-r1"]


def test_keys_depend_on_every_part() -> None:
    key = answer_key("score", "model", {"b": 1, "a": 2}, "text")
    assert key == answer_key("score", "model", {"a": 2, "b": 1}, "text")
    others = [
        answer_key("score", "model", {"a": 2, "b": 1}, "text "),
        answer_key("score", "other", {"a": 2, "b": 1}, "text"),
        answer_key("score", "model", {"a": 2, "b": 2}, "text"),
    ]
    assert key not in others
    assert len(set(others)) == 3


def test_a_few_bytes_of_something_else_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    path.write_text("notes", encoding="utf-8")
    with pytest.raises(BadInput, match=r"is not a store of bfpo-bench; move it away"):
        Store(path)
    assert path.read_text(encoding="utf-8") == "notes"
