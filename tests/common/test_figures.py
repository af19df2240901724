"""What all pictures share."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from bfpo_bench.common.figures import spread_out


def test_names_at_line_ends_stay_apart_and_in_order() -> None:
    rng = random.Random(1)
    for _ in range(200):
        places = [rng.random() for _ in range(rng.randint(1, 8))]
        moved = spread_out(places, 0.1)
        order = sorted(range(len(places)), key=places.__getitem__)
        gaps = [moved[b] - moved[a] for a, b in pairwise(order)]
        assert all(gap >= 0.1 - 1e-9 for gap in gaps)
        assert min(moved) >= -1e-9
        assert max(moved) <= 1 + 1e-9
    assert spread_out([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_names_move_to_both_sides_and_no_further() -> None:
    moved = spread_out([0.5, 0.51, 0.49, 0.9], 0.075)
    assert moved[3] == 0.9
    assert moved[2] < moved[0] < moved[1]
    assert np.diff(sorted(moved)).min() > 0.075 - 1e-9
    assert np.mean(moved[:3]) == pytest.approx(0.5)
