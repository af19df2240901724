"""Stages where standard error is no terminal: when they write a line, and what it says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from bfpo_bench.common import progress
from bfpo_bench.common.progress import Progress, Stage, command, logged
from tests.log_lines import LINE, leaping, missing

Captured = pytest.CaptureFixture[str]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The time that stages go by; nobody watches them meanwhile."""
    clock = Clock()
    monkeypatch.setattr(progress, "_clock", clock)
    monkeypatch.setattr(progress._Log, "_watch", lambda *_: None)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return clock


def lines(capsys: Captured) -> list[str]:
    """The new lines of the log without their time of day."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert all(re.match(r"\d\d:\d\d ", line) for line in err.splitlines())
    return [line[6:] for line in err.splitlines()]


def test_a_line_a_minute_and_one_at_the_end(clock: Clock, capsys: Captured) -> None:
    shown = Progress()
    with shown.stage("respond advbench", 1000, 400, "responses"):
        for _ in range(3):
            clock.now += 25
            shown.advance(10, "3 unknown", tokens=500)
        # 30 in 75 seconds, 570 to go.
        assert lines(capsys) == [
            "respond advbench: 430/1000 responses (43 %), 0.4/s 20 tokens/s, 0:23:45 left, "
            "3 unknown"
        ]
        clock.now += 59
        progress._log.look()
        assert lines(capsys) == []
        clock.now += 1
        # Nothing has come meanwhile; whoever watches says so.
        progress._log.look()
        assert lines(capsys)[0].startswith("respond advbench: 430/1000 responses (43 %), 0.222/s")
    [end] = lines(capsys)
    assert end.endswith("0.222/s 11 tokens/s, took 0:02:15, 3 unknown")


def test_a_line_for_each_tenth_but_no_more_than_one_in_ten_seconds(
    clock: Clock, capsys: Captured
) -> None:
    shown = Progress()
    with shown.stage("train bfpo", 200, unit="updates"):
        for done in range(1, 201):
            clock.now += 1
            shown.set(done, 200)
        said = lines(capsys)
        assert [line.split()[2] for line in said] == [f"{done}/200" for done in range(20, 201, 20)]
        assert said[0] == "train bfpo: 20/200 updates (10 %), 1/s, 0:03:00 left"
    assert lines(capsys) == ["train bfpo: 200/200 updates (100 %), 1/s, took 0:03:20"]
    with shown.stage("quick", 100):
        for _ in range(100):
            clock.now += 0.09
            shown.advance(1)
        assert lines(capsys) == []


def test_short_stages_and_quiet_ones_say_nothing(clock: Clock, capsys: Captured) -> None:
    for shown, seconds in ((Progress(), 0.9), (Progress(show=False), 900)):
        with shown.stage("score winogrande", 10):
            clock.now += seconds
            shown.advance(10)
        assert lines(capsys) == []
    with logged("hashing weights", 3, "files") as stage:  # outside of a command
        clock.now += 900
        stage.advance(1)
    assert lines(capsys) == []


def test_many_short_stages_are_not_silent(clock: Clock, capsys: Captured) -> None:
    """None of them takes a minute; together they take hours."""
    shown = Progress()
    for number in range(5):
        with shown.stage(f"judge {number}", 100, unit="verdicts"):
            clock.now += 50
            shown.set(100, 100)
    said = lines(capsys)
    assert [line.split(":")[0] for line in said if "took 0:00:50" in line] == [
        f"judge {number}" for number in range(5)
    ]


def test_the_innermost_stage_speaks_and_a_command_is_never_silent(
    clock: Clock, capsys: Captured
) -> None:
    shown = Progress()
    with command("bfpo-bench train"):
        clock.now += 120
        progress._log.look()
        assert lines(capsys) == ["bfpo-bench train: 0:02:00 so far"]
        with shown.stage("train bfpo", 90, unit="updates"):
            clock.now += 60
            with shown.stage("loading m (hf)"):
                assert lines(capsys) == ["Loading m (hf) …"]
                clock.now += 60
                progress._log.look()
                assert lines(capsys) == ["loading m (hf): 0:01:00 so far"]
            with logged("hashing weights", 4, "files") as stage:
                clock.now += 60
                stage.advance(1)
                assert lines(capsys) == ["hashing weights: 1/4 files (25 %), 1/min, 0:03:00 left"]
            lines(capsys)
            clock.now += 60
            shown.advance(30)
            assert lines(capsys) == ["train bfpo: 30/90 updates (33 %), 0.125/s, 0:08:00 left"]
    assert lines(capsys) == ["train bfpo: 30/90 updates (33 %), 0.125/s, took 0:04:00"]


def test_what_breaks_off_does_not_say_that_it_took_so_long(clock: Clock, capsys: Captured) -> None:
    def broken() -> None:
        with Progress().stage("annotate", 10, unit="pairs"):
            clock.now += 30
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert lines(capsys) == ["annotate: 0/10 pairs (0 %), stopped after 0:00:30"]


def test_of_several_processes_one_speaks(
    clock: Clock, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with command("bfpo-bench train"), logged("fetching m"):
        clock.now += 900
        progress._log.look()
    assert lines(capsys) == []


def test_bars_of_libraries_are_off_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with leaping():
        assert os.environ["TQDM_DISABLE"] == "1"
    assert "TQDM_DISABLE" not in os.environ


def test_somebody_watches(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A library that takes its time calls nobody; a thread looks every second."""
    monkeypatch.setattr(progress, "SILENCE_SECONDS", 0.01)
    with Progress().stage("respond advbench", 520, unit="responses"):
        begin = time.monotonic()
        while not (said := lines(capsys)) and time.monotonic() < begin + 60:
            time.sleep(0.02)
    assert said[0] == "respond advbench: 0/520 responses (0 %)"


def test_what_is_said_stands_in_logs_too(capsys: Captured) -> None:
    """In what number format a model is computed, say; markup in it is text."""
    Progress().say("m: loaded in float32 [bold]as this CPU wants[/bold].")
    assert lines(capsys) == ["m: loaded in float32 [bold]as this CPU wants[/bold]."]
    Progress(show=False).say("nothing")
    assert lines(capsys) == []


def test_a_bar_shows_names_as_they_are(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closing tag that nothing opened would end the command."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress._bar(Stage("loading [/x] [bold]m (hf)", 2)):
        pass
    assert "loading [/x] [bold]m (hf)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("done", "seconds", "rate"),
    [
        (200, 100, "2/s"),
        (200_000, 16, "12,500/s"),
        (1, 60, "1/min"),
        (9, 60 * 60, "0.15/min"),
        (1, 7200, "0.5/h"),
        (0, 9, ""),
    ],
)
def test_rates_are_in_the_unit_that_can_be_read(
    clock: Clock, done: int, seconds: float, rate: str
) -> None:
    stage = Stage("sweep", 1000)
    clock.now += seconds
    stage.set(done, 1000)
    assert stage.rate == rate


def test_what_a_log_lacks_is_found(capsys: Captured) -> None:
    """The helper by which other tests read logs."""
    with leaping() as stages, Progress().stage("merge", 3, unit="tensors") as stage:
        stage.advance(1)
    log = capsys.readouterr().err
    assert missing(stages, log) == ""
    assert LINE.fullmatch(log.splitlines()[-1])
    assert "carriage return" in missing(stages, f"{log} 10%\r")
    assert "end of 'merge'" in missing(stages, log.replace("took", "stopped after"))
    assert "has left" in missing(stages, log.replace(" left", ""))
    assert "its rate" in missing(stages, log.replace("/min", ""))
