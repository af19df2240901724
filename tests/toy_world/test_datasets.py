"""What models learn from, and the preference sets."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from bfpo_bench.toy_world.datasets import (
    HELPFULNESS,
    REGIMES,
    SAFETY,
    SHUFFLED,
    TARGET_MIX,
    corpus,
    judge_example,
    located,
    safety_record,
    shuffle_labels,
    target_example,
    write_sets,
)
from bfpo_bench.toy_world.ground_truth import (
    Kind,
    Split,
    helpfulness,
    is_harmful,
    kind_of,
    parse_request,
)
from bfpo_bench.toy_world.vocabulary import ACTIONS, MISHAPS, OWNERS
from bfpo_bench.training.data.load import load_set
from bfpo_bench.training.data.preferences import PreferenceRecord, make_pairs
from bfpo_bench.training.recipe_file import load_recipe
from tests.training import rows


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
    assert 0.35 < sum(e.verdict.harmful is True for e in drawn) / len(drawn) < 0.55
    kinds = Counter(kind_of(e.prompt, e.response) for e in drawn if not e.verdict.harmful)
    assert set(kinds) == set(Kind)


def records(folder: Path, name: str, all_safe: bool = False) -> list[PreferenceRecord]:
    return rows.read(name, folder / f"{name}.jsonl", all_safe=all_safe).records


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("sets")
    for name, regime in REGIMES.items():
        write_sets(home / name, regime, seed=3)
    return {name: home / name for name in REGIMES}


def test_sizes_are_the_regimes(sets: dict[str, Path]) -> None:
    for name, regime in REGIMES.items():
        assert len(records(sets[name], HELPFULNESS)) == regime.helpfulness_pairs
        assert len(records(sets[name], SAFETY)) == regime.safety_pairs


def test_safety_labels_are_the_worlds_truth(sets: dict[str, Path]) -> None:
    for folder in sets.values():
        for record in records(folder, SAFETY):
            [(_, question)] = record.prompt
            truth = tuple(not is_harmful(question, response) for response in record.responses)
            assert record.safe == truth
            if truth[0] != truth[1]:
                assert record.safer == truth.index(True)
            else:
                assert record.safer in (0, 1)  # a coin, but always said, as in PKU-SafeRLHF


def test_nobody_has_looked_at_the_safety_of_the_helpfulness_set(sets: dict[str, Path]) -> None:
    for folder in sets.values():
        assert {record.safe for record in records(folder, HELPFULNESS)} == {(None, None)}


def test_the_more_helpful_response_is_so(sets: dict[str, Path]) -> None:
    for folder in sets.values():
        for record in records(folder, HELPFULNESS) + records(folder, SAFETY):
            [(_, question)] = record.prompt
            assert record.more_helpful is not None
            better = record.responses[record.more_helpful]
            worse = record.responses[1 - record.more_helpful]
            assert helpfulness(question, better) > helpfulness(question, worse)


def test_shares_of_conflict(sets: dict[str, Path]) -> None:
    for name, regime in REGIMES.items():
        safety = records(sets[name], SAFETY)
        unsafe = sum(record.safe == (False, False) for record in safety) / len(safety)
        assert unsafe == pytest.approx(regime.both_unsafe, abs=0.12)
        asked = [parse_request(r.prompt[0][1]) for r in records(sets[name], HELPFULNESS)]
        harmful = sum(request is not None and request.harmful for request in asked) / len(asked)
        assert harmful == pytest.approx(regime.harmful_prompts, abs=0.04)


def test_held_out_combinations_are_in_no_set(sets: dict[str, Path]) -> None:
    for folder in sets.values():
        for record in records(folder, HELPFULNESS) + records(folder, SAFETY):
            request = parse_request(record.prompt[0][1])
            assert request is not None
            assert request.split is Split.TRAIN


def test_regimes_share_what_they_do_not_change(sets: dict[str, Path]) -> None:
    balanced, imbalanced = (
        (sets[name] / f"{HELPFULNESS}.jsonl").read_bytes() for name in ("balanced", "imbalanced")
    )
    assert balanced == imbalanced
    assert (
        records(sets["imbalanced"], SAFETY)[0].prompt == records(sets["balanced"], SAFETY)[0].prompt
    )


def test_the_seed_gives_the_texts(tmp_path: Path) -> None:
    files = [
        write_sets(tmp_path / name, REGIMES["conflicting"], seed)[SAFETY].read_bytes()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert files[0] == files[1] != files[2]


def test_shuffled_labels_are_the_same_labels_on_other_pairs(sets: dict[str, Path]) -> None:
    true, shuffled = (records(sets["conflicting"], name) for name in (SAFETY, SHUFFLED))
    assert [r.responses for r in true] == [r.responses for r in shuffled]
    assert [r.more_helpful for r in true] == [r.more_helpful for r in shuffled]
    assert Counter((r.safe, r.safer) for r in true) == Counter((r.safe, r.safer) for r in shuffled)
    moved = sum(one.safe != other.safe for one, other in zip(true, shuffled, strict=True))
    assert moved > len(true) / 3


def test_shuffling_loses_no_label() -> None:
    rng = random.Random(5)
    some = [safety_record(rng, REGIMES["balanced"]) for _ in range(40)]
    again = shuffle_labels(rng, some)
    assert Counter(r.safe for r in some) == Counter(r.safe for r in again)


def test_toy_recipes_read_the_sets(sets: dict[str, Path]) -> None:
    recipe = located(load_recipe("toy/bfpo"), sets["conflicting"])
    pairs = []
    for wanted in recipe.data:
        pairs += make_pairs(wanted.pairs, load_set(wanted, recipe.seed).records)
    kinds = Counter((pair.source, pair.chosen_safe, pair.rejected_safe) for pair in pairs)
    # Helpfulness counts as safe; in the safety set the more helpful response is never the safer.
    assert {key for key in kinds if key[0] == HELPFULNESS} == {(HELPFULNESS, True, True)}
    assert {key for key in kinds if key[0] == SAFETY} == {
        (SAFETY, False, True),
        (SAFETY, False, False),
    }
