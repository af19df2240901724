"""What a user reads when a run stops: a broken model, a damaged store, a disk, a wrong option."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines import NonFiniteLogits, Response, Score
from bfpo_bench.estimate import timing
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.judge_file import judge_samples
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.keyword import KeywordCard
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.run import repair
from bfpo_bench.run.store import ItemRecord, Store
from tests.small_disk import disk_is_full

# --------------------------------------------------------------------- the model


class Broken:
    """An engine whose second answer is no number."""

    def score(self, requests: Sequence[Any], done: Any = ()) -> Iterator[list[tuple[int, Score]]]:
        yield [(0, Score(-1.5, False, 0))]
        yield [(1, Score(float("nan"), False, 0))]

    def respond(
        self, requests: Sequence[Any], done: Any = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        raise NonFiniteLogits(1)
        yield []


@pytest.fixture
def planned(tiny_llama: Path) -> dict[str, Any]:
    """The planned tasks of two items each, scored and responded to."""
    from bfpo_bench.evaluation.resolve import resolve
    from bfpo_bench.tasks.requests import render

    options = EvaluateOptions(
        model=str(tiny_llama), suite="mini", tasks=("toxigen", "alert"), limit=2, backend="hf"
    )
    request = resolve(options)
    tasks = render(request.tasks, request.target.chat())
    return {task.name: task for task in tasks}


def test_a_model_that_gives_no_numbers(planned: dict[str, Any], tmp_path: Path) -> None:
    task = planned["bfpo_toxigen"]
    with Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(RunFailed) as caught:
            stages.score(task, "key", Broken(), store, Progress(show=False))  # type: ignore[arg-type]
        item = task.item_id(0)
        assert str(caught.value) == (
            f"bfpo_toxigen, item {item}: the model gave log-likelihood nan; its weights are "
            "damaged or its numbers overflow (try --dtype float32 or bfloat16). Nothing of this "
            "item was stored."
        )
        assert len(store.scores("bfpo_toxigen")) == 1
        task = planned["bfpo_alert"]
        with pytest.raises(RunFailed) as caught:
            stages.respond(task, "key", Broken(), store, Progress(show=False))  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"bfpo_alert, item {task.item_id(1)}: the model gave NaN logits; its weights are damaged "
        "or its numbers overflow (try --dtype float32 or bfloat16). Nothing of this item was "
        "stored."
    )


def test_a_model_that_gives_no_numbers_in_a_sample() -> None:
    with pytest.raises(RunFailed) as caught, timing._broken_model_is_told():
        next(Broken().respond([]))
    assert str(caught.value) == (
        "the model gave NaN logits in the sample; its weights are damaged or its numbers overflow "
        "(try --dtype float32 or bfloat16)."
    )


# --------------------------------------------------------------------- the store


def store_with_an_item(path: Path) -> Path:
    with Store(path) as store:
        store.add_items([ItemRecord("t", "a", 0, "{}")])
    return path


def test_files_that_are_no_stores_of_this_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(
        BadInput,
        match=r"is not a store of bfpo-bench; move it away, or begin the run again with --f",
    ):
        Store(tmp_path / "other.sqlite")
    path = store_with_an_item(tmp_path / "newer.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    with pytest.raises(BadInput, match=r"was written by a newer bfpo-bench \(schema 99, this one"):
        Store(path)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    path = store_with_an_item(tmp_path / "samples.sqlite")
    with Store(path) as store:
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(RunFailed) as caught:
            store.add_items([ItemRecord("t", "b", 1, "{}")])
    assert str(caught.value) == (
        f"cannot use {path}: attempt to write a readonly database; what was stored before is "
        "kept, so mend the cause (disk space, permissions) and run the same command again."
    )


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)


def test_a_damaged_store_that_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_with_an_item(tmp_path / "samples.sqlite")
    damage(path)

    def refuse(self: Path, target: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunFailed) as caught:
        repair.open_whole(path)
    assert str(caught.value) == (
        f"{path} is damaged and cannot be moved aside (Permission denied); move it yourself and "
        "run the same command again."
    )


def test_a_damaged_store_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_with_an_item(tmp_path / "samples.sqlite")
    damage(path)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(repair, "_rows", refuse)
    with pytest.raises(RunFailed) as caught:
        repair.open_whole(path)
    assert str(caught.value) == (
        f"the damaged store {path}.damaged-1 cannot be read (disk I/O error); mend the cause "
        "(disk, permissions) and run the same command again."
    )


# ------------------------------------------------------------ verdicts on a file


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"p{i}", "response": f"Sure {i}"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_that_changes_under_the_judge(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = KeywordCard.open

    def shorten(self: Any, engine: Any = None) -> Any:
        samples.write_text(json.dumps({"prompt": "p0", "response": "Sure 0"}), encoding="utf-8")
        return opened(self, engine)

    monkeypatch.setattr(KeywordCard, "open", shorten)
    with pytest.raises(RunFailed) as caught:
        judge_samples(samples, choose_judge(JudgeOptions("keyword", backend="hf")))
    assert str(caught.value) == (
        f"{samples} was changed while it was judged; run the same command again."
    )


def test_verdicts_that_find_no_room(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(RunFailed) as caught:
        judge_samples(samples, choose_judge(JudgeOptions("keyword", backend="hf")))
    assert str(caught.value) == (
        f"cannot write {samples}.verdicts.jsonl: No space left on device; the verdicts before are "
        "kept, so make room and run the same command again."
    )


# ------------------------------------------------------------------- the options


def test_options_that_are_not_right(tiny_llama: Path) -> None:
    with pytest.raises(BadInput, match="unknown option 'outptu'; did you mean 'output'"):
        bfpo_bench.evaluate(str(tiny_llama), outptu="here")
    with pytest.raises(BadInput, match="unknown dtype 'float31'; did you mean 'float32'"):
        EvaluateOptions(model="m", dtype="float31")
    with pytest.raises(BadInput, match="--gpu-memory-utilization must be at most 1, not 90"):
        EvaluateOptions(model="m", gpu_memory_utilization=90)
    for name in ("limit", "batch_size", "max_length", "tensor_parallel_size", "concurrency"):
        said = f"--{name.replace('_', '-')} must be at least 1, not 0"
        with pytest.raises(BadInput, match=said):
            EvaluateOptions(model="m", **{name: 0})  # type: ignore[arg-type]
