"""What runs here hands out verdicts and rankings batch by batch, and each is stored at once."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.batches import Batched
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines import EngineOptions, open_engine, reward_model
from bfpo_bench.engines.plan import answers_here
from bfpo_bench.engines.prefix.scorer import Scorer
from bfpo_bench.evaluation import stages
from bfpo_bench.judges import Exchange, Judge
from bfpo_bench.judges.judgezoo import ZooCard
from bfpo_bench.models.checkpoint import find_model
from bfpo_bench.rankers import Comparison, Ranking, rank_all
from bfpo_bench.rankers.function import FunctionRanker
from bfpo_bench.rankers.pairrm import PairRM
from bfpo_bench.rankers.reward import Reward
from bfpo_bench.run.store import ResponseRecord, Store
from tests.judges.conftest import ITEMS, TinyEngine, classifier
from tests.rankers.tiny import make_llama_reward, make_pairrm

COUNT = 9
GUARD = "wildguard-7b"
"""Asks 7 questions for a verdict."""


def stored(path: Path) -> int:
    """Verdicts that another process finds, or this one after it was killed."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT COUNT(*) FROM verdicts").fetchone()[0])


@pytest.mark.parametrize(
    ("card", "questions", "batch"), [("harmbench-mistral-7b", 1, 2), (GUARD, 7, 7)]
)
def test_a_judge_that_is_stopped_asks_for_the_rest_alone(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    card: str,
    questions: int,
    batch: int,
) -> None:
    rng = random.Random(0)
    words = ["bike", "mine", "borrow", "open", "paint", "care", "today"]
    records = [
        ResponseRecord(
            f"key {i}", "t", str(i), "p", "q", " ".join(rng.choices(words, k=i + 1)), "stop", 0,
            prompt_tokens=1, tokens=1, cut_tokens=0,
        )
        for i in range(COUNT)
    ]  # fmt: skip
    options = EngineOptions(str(tiny_llama), dtype="float32", device="cpu", batch_size=batch)
    engine = open_engine("hf", options)
    judge = classifier(card, min_label_mass=0.0, chat_template=False).open(engine)
    path = tmp_path / "samples.sqlite"
    sizes: list[int] = []
    found: list[int] = []
    stop_at = 3
    compute = Scorer._fitting

    def counting(self: Scorer, plan: Any, asked: list[int]) -> Any:
        found.append(stored(path) if path.exists() else 0)
        if len(sizes) == stop_at:
            raise KeyboardInterrupt
        sizes.append(len(asked))
        return compute(self, plan, asked)

    def sit(store: Store, judge: Judge) -> list[Any]:
        stages.judge("t", records, "mine", "judge", judge, store, Progress(show=False))
        return store.verdicts("t", "mine")

    with Store(tmp_path / "whole.sqlite") as store:
        store.add_responses(records)
        whole = sit(store, judge)
    monkeypatch.setattr(Scorer, "_fitting", counting)
    with Store(path) as store:
        store.add_responses(records)
        with pytest.raises(KeyboardInterrupt):
            sit(store, judge)
        # Before a batch is begun, all before it is on the disk.
        assert found == [sum(sizes[:n]) // questions for n in range(stop_at + 1)]
        assert found[-1] > 0
        kept, stop_at = sum(sizes), 1000
        sizes.clear()
        assert sit(store, judge) == whole
    assert sum(sizes) == COUNT * questions - kept


class Piecemeal(TinyEngine):
    """Hands rows out one at a time, the last first, and notes what is known."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        super().__init__(tokenizer)
        self.model = model
        self.done: set[int] = set()

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        done: Sequence[int] = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        self.done = set(done)
        rows = self.label_logprobs(prompts, token_ids, add_special_tokens)
        yield from ([(place, rows[place])] for place in reversed(range(len(rows))))


def test_a_verdict_waits_for_all_its_questions(sentencepiece: Any, tiny_engine: TinyEngine) -> None:
    engine = Piecemeal(sentencepiece, tiny_engine.model)
    judge = classifier(GUARD, min_label_mass=0.0).open(engine)
    assert isinstance(judge, Batched)
    batches = list(judge.in_batches(ITEMS, {1}))
    assert engine.done == set(range(7, 14))
    assert [[number for number, _ in batch] for batch in batches] == [[3], [2], [1], [0]]
    plain = classifier(GUARD, min_label_mass=0.0).open(tiny_engine).judge(ITEMS)
    assert [verdict for batch in batches[::-1] for _, verdict in batch] == plain


def test_judgezoo_is_given_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Module:
        class Judge:
            @staticmethod
            def from_name(name: str) -> Any:
                def zoo(chats: list[Any]) -> dict[str, list[float]]:
                    sizes.append(len(chats))
                    return {"p_harmful": [0.75 for _ in chats]}

                return zoo

    monkeypatch.setattr("importlib.import_module", lambda _: Module)
    judge = ZooCard("judgezoo:harmbench").open()
    assert isinstance(judge, Batched)
    batches = list(judge.in_batches([Exchange("p", str(i)) for i in range(40)], set(range(16))))
    assert sizes == [16, 8]
    assert [number for batch in batches for number, _ in batch] == list(range(16, 40))


# ----------------------------------------------------------------------- rankers

PAIRS = [Comparison(f"Question {i}?", "yes " * (i + 1), "no " * (6 - i)) for i in range(6)]


def reward(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(reward_model, "BATCH", 3)
    folder = make_llama_reward(tmp_path / "reward", tiny_llama)
    found = reward_model.find_reward_model(str(folder))
    model = reward_model.RewardModel(found, reward_model.torch.device("cpu"))
    return Reward(partial(answers_here, model), 0)


def pairrm(tmp_path: Path, *_: Any) -> Any:
    return PairRM(find_model(str(make_pairrm(tmp_path / "pairrm"))), "float32", "cpu", 3)


@pytest.mark.parametrize("make", [reward, pairrm])
def test_rankings_are_those_of_one_call(
    make: Any, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = make(tmp_path, tiny_llama, monkeypatch)
    whole = ranker.rank(PAIRS)
    batches = list(rank_all(ranker, PAIRS, (), 64))
    assert len(batches) > 1
    assert dict(pair for batch in batches for pair in batch) == dict(enumerate(whole))
    # After an interruption: to the last digit, and without what is known whole.
    known = {number for batch in batches[:-1] for number, _ in batch}
    rest = dict(pair for batch in rank_all(ranker, PAIRS, known, 64) for pair in batch)
    assert set(range(len(PAIRS))) - known <= rest.keys() < set(range(len(PAIRS)))
    assert rest == {number: whole[number] for number in rest}


def test_a_function_is_called_for_the_rest_alone() -> None:
    called: list[str] = []

    def prefer(prompt: str, first: str, second: str) -> float:
        called.append(prompt)
        return float(len(first) - len(second))

    ranker = FunctionRanker("mine", prefer)
    rankings = rank_all(ranker, PAIRS, {0, 3}, 64)
    assert next(rankings) == [(1, Ranking(-7.0, "-7"))]
    assert called == ["Question 1?"]
    assert [number for batch in rankings for number, _ in batch] == [2, 4, 5]
    assert len(called) == 4
