"""kill -9 of ``bfpo-bench judge RUN``, then the same again: it ends like an undisturbed one."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from bfpo_bench.judges.load import CARDS
from tests.client.fake_server import FakeServer, Handler, serving
from tests.crash.attempts import Attempt, Driver
from tests.crash.conftest import CARD
from tests.crash.killing import (
    MOMENTS,
    Options,
    contents,
    finish,
    finished_despite,
    kill,
    kill_by,
)
from tests.judges.toy_rubric import shown, verdict

pytestmark = pytest.mark.slow

# Twelve verdicts are four chunks.
SCHEDULE = (
    *[("run.json", 1), ("verdicts", 2), ("verdicts", 1), ("verdicts", 1)],
    ("results-second.json", 1),
)
TRIAL = ("What is the capital of France?", "Paris.")

Undisturbed = tuple[dict[str, Any], float]


@pytest.fixture(scope="module")
def finished(driver: Driver, options: Options, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("judged") / "run"
    finish(driver, {**options, "tasks": ["advbench", "alert"], "output": str(run)})
    return run


@pytest.fixture(scope="module")
def second(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Another judge than the run's own: its question is put differently."""
    card = tmp_path_factory.mktemp("second") / "second.yaml"
    card.write_text(CARD.format(model=tiny_llama).replace("Harmful?", "Is that harmful?"))
    return {"judge": str(card), "backend": "hf", "dtype": "float32", "batch_size": 3}


@pytest.fixture(scope="module")
def undisturbed(
    driver: Driver, finished: Path, second: Options, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """What a run holds after an undisturbed second judge, and the seconds that this took."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("second-judge") / "run"))
    outcome = finish(driver, {**second, "run": str(run)})
    assert Counter(outcome.writes)["verdicts"] == 4
    found = contents(run)
    shares = {row[5] for row in found["verdicts"] if row[1] == "second"}
    assert len(shares) == 12
    assert "results-second.json" in found
    return found, outcome.seconds


@pytest.fixture
def asked(finished: Path, second: Options, tmp_path: Path) -> Options:
    """The second judge for a copy of the run."""
    return {**second, "run": str(shutil.copytree(finished, tmp_path / "run"))}


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_every_kind_of_write(
    driver: Driver, asked: Options, undisturbed: Undisturbed, seed: int
) -> None:
    kill_by(driver, asked, SCHEDULE, seed)
    finish(driver, asked)
    assert contents(Path(asked["run"])) == undisturbed[0]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_the_session_is_noted(
    driver: Driver, asked: Options, undisturbed: Undisturbed, moment: str
) -> None:
    # When the directory is opened, before the first verdict, and after all verdicts and results.
    kill(driver, Attempt(asked, at=("run.json", 3, moment)))
    outcome = finish(driver, asked)
    assert "verdicts" not in outcome.writes
    assert contents(Path(asked["run"])) == undisturbed[0]


def test_killed_at_random_moments(
    driver: Driver, finished: Path, second: Options, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    copies = (shutil.copytree(finished, tmp_path / str(n)) for n in itertools.count())
    runs = ({**second, "run": str(copy)} for copy in copies)
    for run in finished_despite(driver, runs, kills=6, seconds=seconds, seed=4):
        assert contents(Path(run["run"])) == expected


def test_killed_while_a_server_judges(driver: Driver, finished: Path, tmp_path: Path) -> None:
    """The server counts: what is stored before a kill is not asked for after it."""
    values = yaml.safe_load((CARDS / "openai.yaml").read_text(encoding="utf-8"))
    card = tmp_path / "served.yaml"
    card.write_text(yaml.safe_dump({**values, "concurrency": 2}), encoding="utf-8")
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    with serving(_by_length) as server:
        options = {"judge": str(card), "judge_url": server.url, "judge_model": "toy"}
        options = {**options, "backend": "hf", "run": str(run)}
        for at in (("verdicts", 3, "before"), ("verdicts", 4, "inside"), ("verdicts", 2, "after")):
            known = _served(run)
            server.seen.clear()
            kill(driver, Attempt(options, at=at))
            assert not known & _asked(server)
            assert known < _served(run)
        known = _served(run)
        server.seen.clear()
        finish(driver, options)
        assert _asked(server) == _served(run) - known
        finish(driver, {**options, "run": str(whole)})
    assert contents(run) == contents(whole)


def _by_length(handler: Handler) -> None:
    """Every other response is harmful, always the same ones."""
    handler.reply(verdict(len(shown(handler.content)[1]) % 2 == 0))


def _asked(server: FakeServer) -> set[tuple[str, str]]:
    return {shown(content) for _, _, content in server.seen} - {TRIAL}


def _served(run: Path) -> set[tuple[str, str]]:
    """Exchanges that the served judge has given its verdict on."""
    query = (
        "SELECT r.question, r.response FROM responses r JOIN verdicts v "
        "USING (task, item) WHERE v.judge = 'served'"
    )
    with closing(sqlite3.connect(run / "samples.sqlite")) as db:
        return set(db.execute(query))
