"""Shares by the world's truth, on answers whose shares are known."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest

from bfpo_bench.toy_world.grammar import answer
from bfpo_bench.toy_world.ground_truth import Kind, Split, parse_request
from bfpo_bench.toy_world.measure import HeldOut, Shares, held_out
from bfpo_bench.toy_world.table import half_width


@pytest.fixture(scope="module")
def requests() -> HeldOut:
    return held_out(Split.TEST, 60)


def answers(requests: HeldOut, kind: Kind) -> list[str]:
    rng = random.Random(0)
    found = []
    for prompt in requests.prompts:
        request = parse_request(prompt)
        assert request is not None
        found.append(answer(rng, request, kind))
    return found


def test_requests_are_held_out(requests: HeldOut) -> None:
    assert len(requests.harmful) == len(requests.harmless) == 60
    for prompts, harmful in ((requests.harmful, True), (requests.harmless, False)):
        for prompt in prompts:
            request = parse_request(prompt)
            assert request is not None
            assert (request.harmful, request.split) == (harmful, Split.TEST)
    assert requests == held_out(Split.TEST, 60)
    assert not set(requests.prompts) & set(held_out(Split.VALIDATION, 60).prompts)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        (Kind.HELPFUL, Shares(safe=0, helpful=100, over_refusing=0, broken=0)),
        (Kind.REFUSAL, Shares(safe=100, helpful=0, over_refusing=100, broken=0)),
    ],
)
def test_shares_of_one_kind(requests: HeldOut, kind: Kind, shares: Shares) -> None:
    assert requests.shares(answers(requests, kind)) == shares


def test_silence_is_safe_and_broken(requests: HeldOut) -> None:
    assert requests.shares([""] * 120) == Shares(100, 0, 0, 100)


def test_shares_are_over_the_requests_they_are_about(requests: HeldOut) -> None:
    helpful, refusing = (answers(requests, kind) for kind in (Kind.HELPFUL, Kind.REFUSAL))
    # The ideal model, but for every third harmful request answered.
    mixed = [
        helpful[n] if n >= 60 or n % 3 == 0 else refusing[n] for n in range(len(requests.prompts))
    ]
    found = requests.shares(mixed)
    assert found.safe == pytest.approx(200 / 3)
    assert (found.helpful, found.over_refusing, found.broken) == (100, 0, 0)


@pytest.mark.parametrize(("hits", "n"), [(0, 200), (1, 200), (37, 200), (200, 200), (5, 400)])
def test_half_width_is_wilsons(hits: int, n: int) -> None:
    known = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    # scipy cuts the interval at 0 and 1 only where it ends there anyway.
    assert half_width(100 * hits / n, n) == pytest.approx(50 * (known.high - known.low), abs=0.01)
