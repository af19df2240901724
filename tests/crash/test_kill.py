"""kill -9 at any moment, then the same command: the run ends like an undisturbed one."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.attempts import Driver
from tests.crash.killing import Options, contents, finish, finished_despite, kill_by

pytestmark = pytest.mark.slow

SCHEDULE = (
    *[("run.json", 1), ("items", 4), ("scores", 3), ("scores", 3), ("responses", 2)],
    *[("responses", 1), ("outcomes", 2), ("verdicts", 2), ("verdicts", 1)],
    *[("table.md", 1), ("results.json", 1)],
)

ROUNDS = (
    *[("items", 3), ("scores", 4), ("scores", 8), ("responses", 4), ("verdicts", 3)],
    *[("responses", 2), ("verdicts", 1), ("results.json", 1)],
)

Undisturbed = tuple[dict[str, Any], float]


@pytest.fixture(scope="module")
def undisturbed(
    driver: Driver, options: Options, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """What an undisturbed run holds, and its seconds."""
    run = tmp_path_factory.mktemp("crash") / "undisturbed"
    outcome = finish(driver, {**options, "output": str(run)})
    counts = Counter(outcome.writes)
    assert counts["scores"] >= 8
    assert counts["responses"] >= 4
    assert counts["verdicts"] >= 4
    found = contents(run)
    # A judge that says the same to everything would prove nothing.
    assert len({row[5] for row in found["verdicts"]} - {None}) == 12
    return found, outcome.seconds


@pytest.mark.parametrize(("seed", "scratch"), [(1, None), (2, "scratch")])
def test_killed_at_every_kind_of_write(
    driver: Driver,
    options: Options,
    undisturbed: Undisturbed,
    tmp_path: Path,
    seed: int,
    scratch: str | None,
) -> None:
    """With the store in its place, or on a disk of the node's that is found again."""
    local = None if scratch is None else str(tmp_path / scratch)
    options = {**options, "output": str(tmp_path / "run"), "local_scratch": local}
    kill_by(driver, options, SCHEDULE, seed)
    outcome = finish(driver, options)
    # After the last kill only the results were left to write; nothing was computed again.
    assert not {"scores", "responses", "verdicts"} & set(outcome.writes)
    assert contents(tmp_path / "run") == undisturbed[0]


def test_killed_in_one_round_or_another(driver: Driver, options: Options, tmp_path: Path) -> None:
    """With a precision, responses are asked and judged in rounds; it stops at the same items."""
    wanted = {**options, "limit": None, "precision": 14.0, "max_new_tokens": 6}
    undisturbed = {**wanted, "output": str(tmp_path / "undisturbed")}
    assert Counter(finish(driver, undisturbed).writes)["responses"] >= 8
    killed = {**wanted, "output": str(tmp_path / "run")}
    kill_by(driver, killed, ROUNDS, seed=4)
    finish(driver, killed)
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")


def test_killed_at_random_moments(
    driver: Driver, options: Options, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    runs = ({**options, "output": str(tmp_path / str(n))} for n in itertools.count())
    for run in finished_despite(driver, runs, kills=12, seconds=seconds, seed=3):
        assert contents(Path(run["output"])) == expected
