"""What a sweep writes down of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bfpo_bench.sweeps.record import Home, Plan, Planned, begun


@pytest.mark.parametrize("name", ["plan", "m", "jobs"])
def test_a_row_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path)
    plan = Plan(1, "/", "local", {name: Planned("m", "k", ("evaluate",), "hash")})
    home.inside.mkdir()
    home.keep(plan)
    done = replace(begun("hash"), state="done")
    home.note(name, done)
    assert home.plan() == plan
    assert home.attempt(name) == done
    home.forget(name)
    assert home.plan() == plan
    assert home.attempt(name) is None
