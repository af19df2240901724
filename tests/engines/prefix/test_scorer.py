"""Plans, batches and shares: what is computed together never shows in a score."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.engines.prefix.attention import TILES
from bfpo_bench.engines.prefix.packed import Logprobs, Query
from bfpo_bench.engines.prefix.scorer import Reading, Scorer, TokenRequest, continuation_request
from bfpo_bench.engines.prefix.tree import Row, SortedRequests
from tests.engines.architectures import VOCABULARY, next_token_logprobs, shared


@pytest.fixture(scope="module")
def requests() -> list[TokenRequest]:
    """120 requests: one instruction, questions, answers."""
    rng = random.Random(0)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(rng.randint(low, high))]

    found = []
    for _ in range(4):
        instruction = tokens(3, 8)
        for _ in range(10):
            question = instruction + tokens(2, 8)
            found += [continuation_request(question, tokens(1, 6)) for _ in range(3)]
    rng.shuffle(found)
    return found


def run(scorer: Scorer, requests: Sequence[TokenRequest], **how: Any) -> dict[int, Reading]:
    found: dict[int, Reading] = {}
    for batch in scorer.run(requests, **how):
        for index, reading in batch:
            assert index not in found, "computed twice"
            found[index] = reading
    return found


@pytest.fixture(scope="module")
def whole(requests: list[TokenRequest]) -> dict[int, Reading]:
    return run(Scorer(shared("llama"), 200), requests)


def test_scores_are_the_model_s_own(
    requests: list[TokenRequest], whole: dict[int, Reading]
) -> None:
    assert whole.keys() == set(range(len(requests)))
    with torch.inference_mode():
        for index in range(0, len(requests), 7):
            request = requests[index]
            table = next_token_logprobs(shared("llama"), list(request.ids))
            steps = enumerate(request.query.targets)
            right = sum(float(table[request.query.start + k, t]) for k, t in steps)
            assert whole[index].loglikelihood == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize(
    ("max_tokens", "max_requests"), [(1, None), (30, None), (77, 4), (500, 1), (5000, None)]
)
@pytest.mark.parametrize(("share_prefixes", "kind"), [(True, None), (True, TILES), (False, None)])
def test_scores_do_not_depend_on_the_batch(
    requests: list[TokenRequest],
    whole: dict[int, Reading],
    max_tokens: int,
    max_requests: int | None,
    share_prefixes: bool,
    kind: str | None,
) -> None:
    some = requests if max_tokens > 1 else requests[:20]
    found = run(Scorer(shared("llama"), max_tokens, max_requests, share_prefixes, kind), some)
    for index, reading in found.items():
        assert reading.loglikelihood == pytest.approx(whole[index].loglikelihood, rel=1e-4)
        assert reading.is_greedy == whole[index].is_greedy


@pytest.mark.parametrize(("max_tokens", "max_requests"), [(60, None), (200, 5), (30, 2)])
@pytest.mark.parametrize("kind", [None, TILES])
def test_batches_keep_their_limits(
    requests: list[TokenRequest], max_tokens: int, max_requests: int | None, kind: str | None
) -> None:
    scorer = Scorer(shared("llama"), max_tokens, max_requests, kind=kind)
    reader = Recorder(scorer)
    run(scorer, requests)
    assert max(reader.padded) <= max_tokens
    if max_requests:
        assert max(reader.requests) <= max_requests
    assert reader.padded == sorted(reader.padded, reverse=True) or len(set(reader.widths)) > 1
    assert reader.widths == sorted(reader.widths, reverse=True)


def test_shared_tokens_are_computed_once(requests: list[TokenRequest]) -> None:
    scorer = Scorer(shared("llama"), 5000)
    scorer._cost = replace(scorer._cost, per_pair=0.0)  # nothing speaks for short rows
    run(scorer, requests)
    assert scorer.computed_tokens == SortedRequests([r.ids for r in requests]).tree_tokens()


def test_tiles_repeat_next_to_nothing(requests: list[TokenRequest]) -> None:
    """A batch is one row, never padded, and cut where fewest tokens are computed again."""
    scorer = Scorer(shared("llama"), 200, kind=TILES)
    reader = Recorder(scorer)
    run(scorer, requests)
    assert reader.padded == reader.widths
    tree = SortedRequests([r.ids for r in requests]).tree_tokens()
    # Four instructions of at most 8 tokens, each split over a few batches of 200.
    assert tree <= scorer.computed_tokens <= tree + 8 * len(reader.widths)


def test_nothing_asked_nothing_answered() -> None:
    assert run(Scorer(shared("llama"), 100), []) == {}


@pytest.mark.parametrize("kind", [None, TILES])
def test_resumed_batches_are_bit_for_bit_the_same(
    requests: list[TokenRequest], kind: str | None
) -> None:
    scorer = Scorer(shared("llama"), 200, kind=kind)
    batches = list(scorer.run(requests))
    whole = {i: reading for batch in batches for i, reading in batch}
    done = {i for i, _ in batches[0]} | {i for i, _ in batches[2]} | {batches[1][0][0]}
    rest = run(scorer, requests, answered=done)
    # Whole batches are left out; one that is known in part is computed whole.
    assert rest.keys() == whole.keys() - {i for n in (0, 2) for i, _ in batches[n]}
    assert all(whole[i] == reading for i, reading in rest.items())


def test_batches_in_any_order_make_up_the_whole_bit_for_bit(
    requests: list[TokenRequest], whole: dict[int, Reading]
) -> None:
    plan = Scorer(shared("llama"), 200).plan(requests)
    numbers = random.Random(1).sample(range(len(plan.batches)), len(plan.batches))
    found: dict[int, Reading] = {}
    for number in numbers:
        [batch] = plan.compute([number], set())
        assert [index for index, _ in batch] == plan.batches[number]
        found |= dict(batch)
    assert found == whole


def test_labels_of_one_prompt_are_read_at_one_place() -> None:
    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    asked = [TokenRequest(ids, Query(len(ids) - 1, [11, 12], labels=True)) for ids in prompts]
    scorer = Scorer(shared("llama"), 100)
    found = run(scorer, asked)
    with torch.inference_mode():
        for index, ids in enumerate(prompts):
            right = next_token_logprobs(shared("llama"), ids)[-1, [11, 12]].tolist()
            assert found[index].logprobs == pytest.approx(right, rel=1e-5)
    assert scorer.computed_tokens == 5


# ------------------------------------------------------------------- out of memory


class Recorder:
    """Stands before a scorer's reader, notes every batch and may say that memory is out."""

    def __init__(self, scorer: Scorer, room: float = float("inf")) -> None:
        self.inner, self.room = scorer._reader, room
        self.tokens: list[int] = []
        self.padded: list[int] = []
        self.widths: list[int] = []
        self.requests: list[int] = []
        self.refused: list[int] = []
        scorer._reader = self

    def read(self, rows: Sequence[Row], queries: Sequence[Sequence[Query]]) -> Logprobs:
        tokens = sum(map(len, rows))
        if tokens > self.room:
            self.refused.append(tokens)
            raise torch.OutOfMemoryError("CUDA out of memory, says the test.")
        self.tokens.append(tokens)
        self.widths.append(max(map(len, rows)))
        self.padded.append(len(rows) * self.widths[-1])
        self.requests.append(sum(map(len, queries)))
        return self.inner.read(rows, queries)


@pytest.mark.parametrize("share_prefixes", [True, False])
@pytest.mark.parametrize("room", [20, 45, 90])
def test_batches_that_do_not_fit_are_halved_and_later_ones_at_once(
    requests: list[TokenRequest],
    whole: dict[int, Reading],
    room: int,
    share_prefixes: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scorer = Scorer(shared("llama"), 200, share_prefixes=share_prefixes)
    reader = Recorder(scorer, room)
    with caplog.at_level(logging.WARNING):
        found = run(scorer, requests)
    assert found.keys() == whole.keys()
    for index, reading in found.items():
        assert reading.loglikelihood == pytest.approx(whole[index].loglikelihood, rel=1e-4)
    # After a refusal half as many tokens are tried, in all later batches too.
    assert reader.refused
    assert all(later <= before // 2 for before, later in pairwise(reader.refused))
    assert len(caplog.records) == len(reader.refused)
    # Finished work is not repeated: each request was read once.
    assert sum(reader.requests) == len(requests)


def test_what_was_finished_before_memory_ran_out_is_kept(
    requests: list[TokenRequest], whole: dict[int, Reading]
) -> None:
    scorer = Scorer(shared("llama"), 200)
    reader = Recorder(scorer)
    stream = scorer.run(requests)
    first = next(stream)
    reader.room = 50
    rest = [pair for batch in stream for pair in batch]
    assert {i for i, _ in first}.isdisjoint(i for i, _ in rest)
    assert len(first) + len(rest) == len(requests) == sum(reader.requests)
    assert all(whole[i] == reading for i, reading in first)


def test_one_request_without_room_ends_the_run_with_a_sentence(
    requests: list[TokenRequest],
) -> None:
    scorer = Scorer(shared("llama"), 200)
    Recorder(scorer, room=10)
    with pytest.raises(RunFailed, match=r"no room for one sequence of \d+ tokens; lower --max"):
        run(scorer, requests)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(25, 100))
def test_memory_that_comes_and_goes_loses_nothing(seed: int, most: int) -> None:
    """Room changes from call to call, as when somebody else uses the GPU too."""
    rng = random.Random(seed)
    requests = [
        continuation_request([rng.randrange(4) for _ in range(rng.randint(1, 9))], [7])
        for _ in range(40)
    ]
    scorer = Scorer(shared("llama"), 150)
    reader = Recorder(scorer)

    class Changing(Recorder):
        def read(self, rows: Sequence[Row], queries: Sequence[Sequence[Query]]) -> Logprobs:
            self.room = rng.randint(10, most)
            return super().read(rows, queries)

    Changing(scorer)
    assert run(scorer, requests).keys() == set(range(40))
    assert sum(reader.requests) == 40
