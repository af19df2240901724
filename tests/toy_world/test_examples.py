"""What the models learn from."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from bfpo_bench.toy_world.examples import TARGET_MIX, corpus, judge_example, target_example
from bfpo_bench.toy_world.ground_truth import Kind, Split, kind_of, parse_request
from bfpo_bench.toy_world.vocabulary import ACTIONS, MISHAPS, OWNERS


@pytest.mark.parametrize("draw", [target_example, judge_example])
def test_the_seed_decides(draw: object) -> None:
    assert callable(draw)
    one, two, three = (random.Random(seed) for seed in (1, 1, 2))
    first = [draw(one) for _ in range(20)]
    assert first == [draw(two) for _ in range(20)]
    assert first != [draw(three) for _ in range(20)]


@pytest.mark.parametrize("draw", [target_example, judge_example])
@pytest.mark.parametrize("split", Split)
def test_only_combinations_of_the_split_come_up(draw: object, split: Split) -> None:
    assert callable(draw)
    rng = random.Random(0)
    found = [parse_request(draw(rng, split).prompt) for _ in range(500)]
    assert {request.split for request in found if request is not None} == {split}


def test_the_tokenizer_sees_training_texts_only() -> None:
    texts = corpus(random.Random(0))
    found = [request for text in texts if (request := parse_request(text)) is not None]
    assert {request.split for request in found} == {Split.TRAIN}
    # … and every word of the world all the same.
    assert {request.action for request in found} == set(ACTIONS)
    assert {request.owner for request in found} == set(OWNERS)
    assert all(any(mishap in text for text in texts) for mishap in MISHAPS)


def test_shares_of_the_target() -> None:
    rng = random.Random(0)
    drawn = [example for _ in range(6000) if (example := target_example(rng)).chat]
    asked = [(parse_request(e.prompt), kind_of(e.prompt, e.response)) for e in drawn]
    kinds = Counter(kind for request, kind in asked if request and not request.harmful)
    for kind, share in TARGET_MIX["harmless"].items():
        assert kinds[kind] / kinds.total() == pytest.approx(share, abs=0.03)
    harmful = Counter(kind for request, kind in asked if request and request.harmful)
    # Seven in ten harmful requests come without an attack: 0.7 · 0.5 + 0.3 · 0.25.
    assert harmful[Kind.REFUSAL] / harmful.total() == pytest.approx(0.425, abs=0.03)


def test_labels_of_the_judge_are_near_balance() -> None:
    rng = random.Random(0)
    drawn = [judge_example(rng) for _ in range(3000)]
    assert 0.35 < sum(e.harmful for e in drawn) / len(drawn) < 0.55
    kinds = Counter(kind_of(e.prompt, e.response) for e in drawn if not e.harmful)
    assert set(kinds) == set(Kind)
