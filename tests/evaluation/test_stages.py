"""Stages that go on where they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.judges import Exchange, Verdict
from bfpo_bench.judges.protocol import JUDGE_CHUNK
from bfpo_bench.run.store import ResponseRecord, Store

COUNT = JUDGE_CHUNK + 44


class Undecided:
    """A judge that cannot decide about every fourth response, and may break off."""

    def __init__(self, chunks: int | None = None) -> None:
        self.left = chunks

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return [Verdict(None if int(e.response) % 4 == 0 else False, None, "") for e in exchanges]


class Notes(Progress):
    """Keeps what would stand behind the bar."""

    def __init__(self) -> None:
        super().__init__(show=False)
        self.seen: list[str] = []

    def advance(self, count: int, note: str = "", tokens: int = 0) -> None:
        self.seen.append(note)


def test_unknown_verdicts_of_an_earlier_session_count(tmp_path: Path) -> None:
    records = [
        ResponseRecord(
            f"key {i}", "t", str(i), "p", "q", str(i), "stop", 0, prompt_tokens=1, tokens=1,
            cut_tokens=0,
        )
        for i in range(COUNT)
    ]  # fmt: skip

    def sit(judge: Any, store: Store) -> list[str]:
        notes = Notes()
        stages.judge("t", records, "mine", "judge", judge, store, notes)
        return notes.seen

    with Store(tmp_path / "samples.sqlite") as store:
        store.add_responses(records)
        with pytest.raises(KeyboardInterrupt):
            sit(Undecided(chunks=1), store)
        assert len(store.verdicts("t", "mine")) == JUDGE_CHUNK
        assert sit(Undecided(), store)[-1] == f"{COUNT // 4} unknown"
        assert store.verdict_counts("t", "mine") == {True: 0, False: 225, None: 75}
