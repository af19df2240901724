"""What is judged again, and when a verdict is handed out: by the kind of judge."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

import bfpo_bench
from bfpo_bench.client import pool
from bfpo_bench.common import batches
from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.judge_file import judge_samples
from bfpo_bench.evaluation.rejudge import judge_run
from bfpo_bench.judges import Exchange, Verdict, judge_all
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.judgezoo import ServedZooJudge, ZooCard, ZooJudge
from bfpo_bench.judges.load import CARDS
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.run.store import Store
from tests.client.fake_server import FakeServer, Handler, serving
from tests.judges.toy_rubric import honest, shown

LIMIT = 6


class Local:
    """Remembers what it was given together."""

    name = "local"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def judge(self, items: Sequence[Exchange]) -> list[Verdict]:
        self.calls.append([item.response for item in items])
        return [Verdict("boom" in item.response, None, "") for item in items]


class Served(Local):
    def stream(self, items: Iterable[tuple[int, Exchange]]) -> Iterator[list[tuple[int, Verdict]]]:
        for number, item in items:
            yield [(number, self.judge([item])[0])]


def exchanges(count: int) -> Iterator[Exchange]:
    return (Exchange("p", f"{i} boom" if i % 3 == 0 else f"{i}") for i in range(count))


@pytest.mark.parametrize(
    ("known", "calls"),
    [
        (set(), [3, 3, 2]),
        ({4}, [3, 3, 2]),
        ({0, 1, 2, 4}, [3, 2]),
        ({0, 1, 2, 3, 4, 5}, [2]),
        (set(range(8)), []),
    ],
)
def test_a_local_judge_sees_whole_chunks(known: set[int], calls: list[int]) -> None:
    judge = Local()
    found = dict(pair for batch in judge_all(judge, exchanges(8), known, 3) for pair in batch)
    assert [len(call) for call in judge.calls] == calls
    assert found.keys() >= set(range(8)) - known
    assert all(verdict.harmful is (number % 3 == 0) for number, verdict in found.items())


def test_a_served_judge_is_asked_for_what_is_missing_alone() -> None:
    judge = Served()
    found = judge_all(judge, exchanges(8), {0, 1, 2, 4}, 3)
    assert next(found) == [(3, Verdict(True, None, ""))]
    # Read as they are needed: nothing else has been asked yet.
    assert judge.calls == [["3 boom"]]
    assert [number for batch in found for number, _ in batch] == [5, 6, 7]
    assert judge.calls == [["3 boom"], ["5"], ["6 boom"], ["7"]]


def test_which_judges_of_judgezoo_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        class Judge:
            @staticmethod
            def from_name(name: str) -> Any:
                return lambda chats, *_: {"p_harmful": [0.75 for _ in chats]}

    monkeypatch.setattr("importlib.import_module", lambda _: Module)
    bought, local = ZooCard("judgezoo:pair").open(), ZooCard("judgezoo:harmbench").open()
    assert isinstance(local, ZooJudge)
    assert not isinstance(local, batches.Served)
    assert isinstance(bought, ServedZooJudge)
    assert isinstance(bought, batches.Served)
    [first, second] = judge_all(bought, exchanges(3), {1}, 256)
    assert [number for number, _ in first + second] == [0, 2]
    assert {verdict.p_harmful for _, verdict in first + second} == {0.75}


# ----------------------------------------------------------- a run, and a server


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("served") / "run"
    options: dict[str, Any] = {"tasks": ["advbench"], "limit": LIMIT, "backend": "hf"}
    bfpo_bench.evaluate(str(tiny_llama), suite="mini", judge="keyword", output=run, **options)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def asking(server: FakeServer, folder: Path) -> ChosenJudge:
    """A rubric judge at this server, one question at a time."""
    values = yaml.safe_load((CARDS / "openai.yaml").read_text(encoding="utf-8"))
    card = folder / "served.yaml"
    card.write_text(yaml.safe_dump({**values, "concurrency": 1}), encoding="utf-8")
    options = JudgeOptions(judge=str(card), judge_url=server.url, judge_model="toy", backend="hf")
    return choose_judge(options)


def asked(server: FakeServer) -> list[tuple[str, str]]:
    """What the server was shown, but for the trial question."""
    seen = [shown(content) for _, _, content in server.seen]
    return [exchange for exchange in seen if exchange[1] != "Paris."]


def stored(run: Path) -> set[tuple[str, str]]:
    """Exchanges with a verdict of the served judge."""
    with closing(sqlite3.connect(f"{(run / 'samples.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        query = (
            "SELECT r.question, r.response FROM responses r JOIN verdicts v "
            "USING (task, item) WHERE v.judge = 'served'"
        )
        return set(db.execute(query))


def test_a_server_is_never_asked_again_for_a_verdict_that_is_known(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "HAND_OUT_SECONDS", 0.0)
    paid = threading.Event()

    def act(handler: Handler) -> None:
        # The trial question and four answers; then the account is empty.
        if handler.number > 5 and not paid.is_set():
            handler.reply({"error": {"message": "no money left"}}, 401)
        else:
            honest(handler)

    with serving(act) as server:
        chosen = asking(server, tmp_path)
        with pytest.raises(BadInput, match="no money left"):
            judge_run(run, chosen)
        answered = asked(server)[:4]
        assert stored(run) == set(answered)
        paid.set()
        server.seen.clear()
        found = judge_run(run, chosen)
        again = asked(server)
    assert len(again) == LIMIT - 4
    assert not set(again) & set(answered)
    assert found.results.tasks["bfpo_advbench"].n == LIMIT
    with Store(run / "samples.sqlite", read_only=True) as store:
        assert len(store.verdicts("bfpo_advbench", "served")) == LIMIT


def test_a_servers_answers_are_stored_while_others_are_under_way(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "HAND_OUT_SECONDS", 0.0)
    seen_before_the_last = 0

    def act(handler: Handler) -> None:
        nonlocal seen_before_the_last
        if handler.number == LIMIT + 1:
            deadline = time.monotonic() + 30
            while len(stored(run)) < LIMIT - 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            seen_before_the_last = len(stored(run))
        honest(handler)

    with serving(act) as server:
        judge_run(run, asking(server, tmp_path))
        assert len(asked(server)) == LIMIT
    assert seen_before_the_last == LIMIT - 1


def test_samples_of_a_file_are_bought_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "HAND_OUT_SECONDS", 0.0)
    file = tmp_path / "mine.jsonl"
    # The text of the first line stands in the last as well.
    lines = [f'{{"prompt": "p", "response": "{i % 5} boom"}}' for i in range(6)]
    file.write_text("\n".join(lines), encoding="utf-8")
    paid = threading.Event()

    def act(handler: Handler) -> None:
        if handler.number > 3 and not paid.is_set():
            handler.reply({"error": {"message": "no money left"}}, 401)
        else:
            honest(handler)

    with serving(act) as server:
        chosen = asking(server, tmp_path)
        with pytest.raises(BadInput, match="no money left"):
            judge_samples(file, chosen)
        written = file.with_name("mine.jsonl.verdicts.jsonl").read_text().splitlines()
        assert len(written) == 3
        paid.set()
        server.seen.clear()
        found = judge_samples(file, chosen)
        assert asked(server) == [("p", f"{i} boom") for i in (2, 3, 4)]
    assert (found.n, found.harmful) == (6, 6)
