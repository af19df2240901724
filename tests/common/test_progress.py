"""Where standard error is no terminal, long stages write a line a minute."""

from __future__ import annotations

import re
import time

import pytest

from bfpo_bench.common import progress
from bfpo_bench.common.progress import Lines, Progress


def run(shown: Progress, until_written: bool) -> None:
    with shown.stage("respond advbench", 520, 100, "responses"):
        shown.advance(20, "3 unknown", tokens=900)
        while until_written and not (shown._lines and shown._lines._written):
            time.sleep(0.005)


def test_a_long_stage_writes_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    run(Progress(), until_written=True)
    out, err = capsys.readouterr()
    assert out == ""
    line = (
        r"\d\d:\d\d respond advbench: 120/520 responses \(23 %\), [\d.e+]+/s, "
        r"0:\d\d:\d\d left, 3 unknown"
    )
    # While it runs, and once more when it has ended.
    assert len(err.splitlines()) >= 2
    assert all(re.fullmatch(line, text) for text in err.splitlines())


@pytest.mark.parametrize(("show", "seconds"), [(None, 60.0), (False, 0.0)])
def test_a_short_stage_and_a_quiet_one_write_none(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    show: bool | None,
    seconds: float,
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
    run(Progress(show), until_written=False)
    assert capsys.readouterr() == ("", "")


def test_notes_stand_in_logs_too(capsys: pytest.CaptureFixture[str]) -> None:
    """In what number format a model is computed, say; markup in it is text."""
    Progress().say("Loading m …")
    Progress().note("m: loaded in float32 [bold]as this CPU wants[/bold].")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"\d\d:\d\d m: loaded in float32 \[bold\]as this CPU wants\[/bold\]\.\n", err
    )
    Progress(show=False).note("nothing")
    assert capsys.readouterr() == ("", "")


def test_what_is_left_goes_by_what_was_done_since(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = Lines("judge", 1000, 400, "verdicts")
    lines.close()
    assert lines.text() == "judge: 400/1000 verdicts (40 %)"
    now += 100
    lines.done = 600
    # 200 in 100 seconds, 400 to go.
    assert lines.text() == "judge: 600/1000 verdicts (60 %), 2/s, 0:03:20 left"
