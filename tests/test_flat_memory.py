"""Ten times the prompts cost no more memory: prompts, responses and verdicts pass through."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bfpo_bench.common import lazy as windowed
from bfpo_bench.common.lazy import KEPT
from bfpo_bench.common.progress import Progress
from bfpo_bench.data import Loaded
from bfpo_bench.engines.protocol import GenerateRequest, Response
from bfpo_bench.evaluation import stages
from bfpo_bench.judges import load_judge
from bfpo_bench.run.store import Store
from bfpo_bench.suites import load_suite
from bfpo_bench.tasks import requests as plan
from bfpo_bench.tasks.requests import Task

WINDOW = 32
BATCH = 16
FEW = 16 * WINDOW
WORDS = "what would you say to a neighbour who borrows the bike and never brings it back "


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "WINDOW", WINDOW)


class Engine:
    """Answers batch by batch and holds nothing; counts how often a prompt is looked at."""

    def __init__(self) -> None:
        self.asked = 0

    def respond(
        self, requests: Sequence[GenerateRequest], done: Any = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        for begin in range(0, len(requests), BATCH):
            batch = [i for i in range(begin, min(begin + BATCH, len(requests))) if i not in done]
            self.asked += len(batch)
            yield [(i, Response(requests[i].prompt[:400], 8, 40, 0, "length")) for i in batch]


class Rows(Sequence[dict[str, str]]):
    """Rows that are made when they are asked for, like those of a source."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return {"prompt": f"{index}: {WORDS * 50}"}


class LmEvalTask:
    """As much of an lm-eval task as the plan asks; notes the prompts that are alive."""

    def __init__(self) -> None:
        self.written = 0

    def doc_to_text(self, doc: dict[str, str]) -> str:
        return doc["prompt"]

    def fewshot_context(self, doc: dict[str, str], **_: Any) -> str:
        self.written += 1
        return doc["prompt"]

    def construct_requests(self, doc: dict[str, str], context: str, **_: Any) -> Any:
        return SimpleNamespace(args=(context,))


def planned(count: int, monkeypatch: pytest.MonkeyPatch) -> Task:
    """ALERT with this many prompts."""
    [spec] = load_suite("mini").only(["bfpo_alert"]).tasks
    loaded = Loaded(
        source="alert",
        variant="default",
        rows=Rows(count),
        where="here",
        origin="files",
        digest="",
        pinned_rows=None,
        pinned_digest=None,
        status="unverified",
        marks=[],
    )
    data = Task(spec, loaded, [f"{i:08d}" for i in range(count)], list(range(count)))
    task = LmEvalTask()
    monkeypatch.setattr(plan, "_lm_eval_tasks", lambda *_: [task])
    [found] = plan.render([data], None)
    return found


def peak(work: Any) -> int:
    """Most bytes that Python held at once beyond what it held before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def answer(task: Task, store: Store) -> None:
    stages.store_items(task, store)
    assert stages.unanswered(task, "model", store)
    stages.respond(task, "model", Engine(), store, Progress(show=False))


def judge(task: Task, store: Store) -> None:
    card = load_judge("keyword")
    responses = store.lazy_responses(task.name)
    assert len(responses) == len(task.prompts)
    assert not stages.judged(task.name, responses, "keyword", "judge", store)
    stages.judge(task.name, responses, "keyword", "judge", card.open(), store, Progress(show=False))


def test_memory_is_flat_in_the_number_of_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and flags may grow, bytes per prompt more; the texts of a prompt have 8,000."""
    growth = {}
    for stage, work in (("answer", answer), ("judge", judge)):
        peaks = []
        for count in (FEW, 2 * FEW):
            task = planned(count, monkeypatch)
            with Store(tmp_path / f"{count}.sqlite") as store:
                peaks.append(peak(lambda: work(task, store)))  # noqa: B023
        growth[stage] = (peaks[1] - peaks[0]) / FEW
    assert growth["answer"] < 1000
    assert growth["judge"] < 1000


def test_only_some_windows_of_prompts_are_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[GenerateRequest] = weakref.WeakSet()
    most = 0

    class Watching(Engine):
        def respond(self, requests: Any, done: Any = ()) -> Any:
            nonlocal most
            for batch in super().respond(requests, done):
                for index, _ in batch:
                    alive.add(requests[index])
                most = max(most, len(alive))
                yield batch

    task = planned(10 * WINDOW, monkeypatch)
    with Store(tmp_path / "store.sqlite") as store:
        stages.respond(task, "model", Watching(), store, Progress(show=False))
        assert store.response_totals(task.name).responses == 10 * WINDOW
    assert WINDOW <= most <= KEPT * WINDOW + WINDOW
    # Once for the look at the template, and once to be asked and stored.
    assert task.lm_eval_task.written == 10 * WINDOW


def test_a_resumed_task_asks_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = planned(2 * WINDOW + 7, monkeypatch)
    with Store(tmp_path / "store.sqlite") as store:
        first = Engine()
        batches = first.respond(task.prompts)

        class Some(Engine):
            def respond(self, requests: Any, done: Any = ()) -> Any:
                for _ in range(3):
                    yield next(batches)

        stages.respond(task, "model", Some(), store, Progress(show=False))
        assert stages.unanswered(task, "model", store)
        second = Engine()
        stages.respond(task, "model", second, store, Progress(show=False))
        assert second.asked == 2 * WINDOW + 7 - 3 * BATCH
        assert not stages.unanswered(task, "model", store)
        found = store.lazy_responses(task.name)
        assert [r.item for r in found] == [f"{i:08d}" for i in range(len(task.prompts))]
        assert found[WINDOW] == store.responses(task.name)[WINDOW]
