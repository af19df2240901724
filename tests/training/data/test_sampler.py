"""Which pairs go into which update: properties that hold for all sizes, and examples by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.sampler import Schedule


@st.composite
def schedules(draw: st.DrawFn, mixing: str | None = None) -> Schedule:
    mixing = mixing or draw(st.sampled_from(["buffered", "shuffled"]))
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)))
    world = draw(st.integers(1, 3))
    streams = len(sizes) if mixing == "buffered" else 1
    share = streams * draw(st.integers(1, 4))
    divisors = [n for n in range(1, share + 1) if share % n == 0]
    return Schedule(
        mixing,
        sizes,
        pairs_per_update=share * world,
        epochs=draw(st.sampled_from([0.5, 1, 2, 3])),
        seed=draw(st.integers(0, 3)),
        world=world,
        accumulation=draw(st.sampled_from(divisors)),
    )


def set_of(schedule: Schedule, index: int) -> int:
    """Number of the set that an index belongs to."""
    return sum(index >= end for end in accumulate(schedule.sizes))


@settings(deadline=None, max_examples=50)
@given(schedules("buffered"))
def test_every_update_has_equally_many_pairs_of_each_set(schedule: Schedule) -> None:
    share = schedule.pairs_per_update // len(schedule.sizes)
    for number in range(schedule.updates):
        update = [index for drawn in schedule.update(number) for index in drawn]
        counts = Counter(set_of(schedule, index) for index in update)
        assert counts == dict.fromkeys(range(len(schedule.sizes)), share)


@settings(deadline=None, max_examples=50)
@given(schedules())
def test_a_set_starts_over_only_when_all_of_it_has_been_drawn(schedule: Schedule) -> None:
    streams = schedule.sizes if schedule.mixing == "buffered" else (sum(schedule.sizes),)
    for stream, size in enumerate(streams):
        drawn = [i for number in range(schedule.updates) for i in schedule.update(number)[stream]]
        for start in range(0, len(drawn), size):
            turn = drawn[start : start + size]
            assert len(set(turn)) == len(turn)
        assert len(set(drawn)) == min(len(drawn), size)


@settings(deadline=None, max_examples=50)
@given(schedules())
def test_the_longest_set_is_passed_as_often_as_asked(schedule: Schedule) -> None:
    buffered = schedule.mixing == "buffered"
    longest = max(schedule.sizes) if buffered else sum(schedule.sizes)
    per_update = schedule.pairs_per_update // (len(schedule.sizes) if buffered else 1)
    # As many updates as it takes, and no more.
    assert 0 <= schedule.updates * per_update - schedule.epochs * longest < per_update
    if schedule.epochs >= 1:
        stream = schedule.sizes.index(longest) if buffered else 0
        drawn = Counter(i for n in range(schedule.updates) for i in schedule.update(n)[stream])
        assert len(drawn) == longest
        assert min(drawn.values()) >= schedule.epochs
        assert sum(drawn.values()) - schedule.epochs * longest < per_update


@settings(deadline=None, max_examples=50)
@given(schedules())
def test_the_processes_together_have_the_update_in_equal_parts(schedule: Schedule) -> None:
    processes = [replace(schedule, rank=rank) for rank in range(schedule.world)]
    for number in range(schedule.updates):
        shares = [[i for b in one.batches(number) for i in b] for one in processes]
        update = Counter(i for drawn in schedule.update(number) for i in drawn)
        assert sum(map(Counter, shares), Counter()) == update
        assert len({len(share) for share in shares}) == 1
        if schedule.mixing == "buffered":
            sets = [Counter(set_of(schedule, i) for i in share) for share in shares]
            assert all(counts == sets[0] for counts in sets)
            assert len(set(sets[0].values())) == 1


@settings(deadline=None, max_examples=50)
@given(schedules(), st.data())
def test_going_on_gives_what_would_have_come(schedule: Schedule, data: st.DataObject) -> None:
    schedule = replace(schedule, rank=data.draw(st.integers(0, schedule.world - 1)))
    first = data.draw(st.integers(0, schedule.updates))
    rest = replace(schedule, first=first)
    batches = list(schedule)
    assert list(rest) == batches[first * schedule.accumulation :]
    assert (len(schedule), len(rest)) == (len(batches), len(list(rest)))
    assert {len(batch) for batch in batches} == {schedule.batch_size}


def test_eight_to_one() -> None:
    schedule = Schedule("buffered", (64, 8), pairs_per_update=8)
    assert schedule.updates == 16
    drawn = Counter(index for batch in schedule for index in batch)
    assert drawn == dict.fromkeys(range(64), 1) | dict.fromkeys(range(64, 72), 8)
    # Each time it starts over it is in another order: 8 of 40,320 orders.
    small = [index for number in range(16) for index in schedule.update(number)[1]]
    turns = {tuple(small[start : start + 8]) for start in range(0, 64, 8)}
    assert len(turns) == 8


def test_shuffled_mixes_the_sets_as_they_are() -> None:
    schedule = Schedule("shuffled", (640, 80), pairs_per_update=8)
    assert schedule.updates == 90
    assert sorted(index for batch in schedule for index in batch) == list(range(720))
    small = [sum(index >= 640 for index in batch) for batch in schedule]
    assert sum(small) == 80
    # A 1 in 9 chance each: (8/9)**8 = 39 % of the updates see nothing of the small set.
    assert 22 <= small.count(0) <= 48


def test_a_batch_has_its_part_of_every_set() -> None:
    schedule = Schedule("buffered", (30, 30, 30), 12, accumulation=2, world=2, rank=1)
    for batch in schedule:
        assert Counter(index // 30 for index in batch) == {0: 1, 1: 1, 2: 1}


def test_the_order_is_the_seeds() -> None:
    one = Schedule("buffered", (5, 3), 4, seed=7)
    # Written down when it was made: a stopped run of an older version must be able to go on.
    assert list(one) == [[0, 7, 1, 5], [3, 6, 4, 7], [2, 5, 3, 6]]
    assert list(replace(one, seed=8)) != list(one)
    assert list(replace(one, seed=7)) == list(one)


def test_it_is_a_batch_sampler() -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    schedule = Schedule("buffered", (6, 4), 4, accumulation=2)
    data = [f"pair {number}" for number in range(10)]
    loader = torch_data.DataLoader(data, batch_sampler=schedule, collate_fn=list)
    assert len(loader) == 6
    assert list(loader) == [[data[index] for index in batch] for batch in schedule]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixing": "buffer"}, "unknown mixing 'buffer'; did you mean 'buffered'"),
        ({"sizes": ()}, "nothing to mix: the sets have no pairs"),
        ({"sizes": (8, 0)}, "nothing to mix: the sets have 8, 0 pairs"),
        ({"epochs": 0}, "training for 0 epochs does nothing"),
        ({"pairs_per_update": 7}, "an update of 7 pairs cannot be split equally over 2 set(s)"),
        ({"world": 3}, "and 3 process(es); take a multiple of 6"),
        ({"accumulation": 3}, "8 pairs of an update that each process takes cannot be split"),
        ({"rank": 1}, "process 1 is none of the 1 from 0 on"),
        ({"first": 3}, "cannot go on at update 3: there are 2"),
    ],
)
def test_what_cannot_be_mixed(change: dict[str, object], said: str) -> None:
    good = Schedule("buffered", (8, 8), pairs_per_update=8)
    with pytest.raises(BadInput) as error:
        replace(good, **change)  # type: ignore[arg-type]
    assert said in str(error.value)
