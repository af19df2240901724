"""The store keeps what it was given, whole batches or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.run.store import (
    AnnotationRecord,
    ItemRecord,
    OutcomeRecord,
    RankingRecord,
    ResponseRecord,
    ScoreRecord,
    Store,
    VerdictRecord,
    answer_key,
    known,
)

HOSTILE = "<script>alert(1)</script>\x00\u202e 'DROP TABLE scores; --\n" + "😀" * 10


def response(key: str, item: str, text: str = "words") -> ResponseRecord:
    return ResponseRecord(key, "t", item, "prompt", "question", text, "stop", 7, 3, 2, 0)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    score = ScoreRecord("k", "t", "i", 1, "context", HOSTILE, -1.2345678901234567, True, 3)
    verdicts = [
        VerdictRecord("v1", "j", "t", "a", True, 0.75, "raw"),
        VerdictRecord("v2", "j", "t", "b", None, None, "low mass"),
        VerdictRecord("v3", "other", "t", "b", False, 0.0, ""),
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
        "import os, sys; from pathlib import Path; from bfpo_bench.run.store import *\n"
        "store = Store(Path(sys.argv[1])); store.add_items([ItemRecord('t', 'a', 0, '{}')])\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name("s.sqlite-wal").stat().st_size > 0
    with Store(path, read_only=True) as store:
        assert len(store.items("t")) == 1


def test_a_read_only_store_needs_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with pytest.raises(
        BadInput, match=r"s\.sqlite is not there; nothing has been answered in this"
    ):
        Store(path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    path.touch()
    with pytest.raises(BadInput, match=r"s\.sqlite is empty; nothing has been answered in this"):
        Store(path, read_only=True)
    assert path.stat().st_size == 0


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
            VerdictRecord(f"{judge}-{item}", judge, "t", item, True, None, "")
            for judge in ("z", "y")
            for item in "ab"
        )
        assert [r.key for r in store.responses("t", "b")] == ["r2"]
        assert [s.key for s in store.scores("t", "b")] == ["b0", "b1"]
        assert store.scores("elsewhere", "b") == []
        assert store.outcomes_of("t", "a") == {"acc": 1.0}
        assert [v.key for v in store.verdicts_on("t", "a")] == ["y-a", "z-a"]


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
    path.write_text("no database " * 100)
    with pytest.raises(RunFailed, match="not a database"):
        Store(path)


ANSWERS = {
    "scores": lambda key: ScoreRecord(key, "t", "i", 0, "c", "d", -1.0, False, 0),
    "responses": lambda key: response(key, "i"),
    "verdicts": lambda key: VerdictRecord(key, "j", "t", "i", True, None, ""),
    "rankings": lambda key: RankingRecord(key, "r", "t", "i", "k", 1.0, ""),
    "annotations": lambda key: AnnotationRecord(key, "a", "t", "i", 1.0, None, "{}"),
}


@pytest.mark.parametrize("table", ANSWERS)
def test_nothing_is_answered_twice(tmp_path: Path, table: str) -> None:
    """The same answer may come again; another one to the same question may not."""
    make = ANSWERS[table]
    with Store(tmp_path / "s.sqlite") as store:
        add = getattr(store, f"add_{table}")
        add([make("one")])
        add([make("one")])
        with pytest.raises(RunFailed, match=rf"an answer in {table} for .*\bt, i.*twice in a run"):
            add([make("two")])
        assert store.keys(table) == {"one"}


def test_what_is_asked_in_another_way_is_refused(tmp_path: Path) -> None:
    texts = {"prompt": "x" * 50 + "Monday, " + "y" * 50, "seed": 7}
    with Store(tmp_path / "s.sqlite") as store:
        record = ResponseRecord(
            *("r1", "t", "a", str(texts["prompt"]), "q", "answer", "stop"), *(7, 3, 2, 0)
        )
        store.add_responses([record, response("r2", "b")])

        def ask(key: str, **changed: object) -> set[int]:
            asked = [(("c",), "r3"), (("b",), "r2"), (("a",), key)]
            return known(store, "responses", asked, lambda _: {**texts, **changed}, task="t")

        assert ask("r1") == {1, 2}
        told = (
            r"t, item a that was made in another way: its prompt has …'x{20}Monday, y{12}'… there, "
            r"…'x{20}Tuesday, y{11}'… is asked for\. An item has one answer in a run; use another"
        )
        with pytest.raises(BadInput, match=told):
            ask("r9", prompt="x" * 50 + "Tuesday, " + "y" * 50)
        with pytest.raises(BadInput, match=r"its seed has 7 there, 8 is asked for"):
            ask("r9", seed=8)
        with pytest.raises(BadInput, match=r"the model or its settings differ from those of then"):
            ask("r9")
        assert store.name_for("j", "verdicts", {("t", "a"): "v1"}, "f" * 32) == "j"
        store.add_verdicts([VerdictRecord("v1", "j", "t", "a", True, None, "")])
        assert store.name_for("j", "verdicts", {("t", "a"): "v1"}, "f" * 32) == "j"
        assert store.name_for("j", "verdicts", {("t", "a"): "v2"}, "f" * 32) == "j-ffffffff"
        with pytest.raises(BadInput, match=r"to t, item a by j that was made in another way"):
            known(store, "verdicts", [(("a",), "v2")], lambda _: {}, judge="j", task="t")
