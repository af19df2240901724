"""What a command writes into a log while it works, on a clock that leaps from line to line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from itertools import count

import pytest
from tqdm.std import tqdm

from bfpo_bench.common import progress
from bfpo_bench.common.progress import SILENCE_SECONDS, Stage, command

LINE = re.compile(r"\d\d:\d\d (.+): (\d+)/(\d+)( \w+)?( \(\d+ %\))?(, .*)?")


@contextmanager
def leaping() -> Iterator[list[Stage]]:
    """A minute passes whenever somebody looks at the clock, so that every step is worth a line.

    Gives the stages that write into the log, in the order in which they begin.
    """
    seen: list[Stage] = []
    keeping = progress._Log.keeping
    passed = count(0.0, SILENCE_SECONDS)

    def noted(log: progress._Log, stage: Stage) -> object:
        seen.append(stage)
        return keeping(log, stage)

    before = os.environ.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_clock", lambda: next(passed))
        patch.setattr(progress._Log, "_watch", lambda *_: None)
        patch.setattr(progress._Log, "keeping", noted)
        try:
            with command("all of it"):
                # Read by tqdm as it is imported, which here it has long been.
                assert os.environ["TQDM_DISABLE"] == "1"
                silent = partialmethod(tqdm.__init__, disable=True)
                patch.setattr(tqdm, "__init__", silent)
                yield seen
        finally:
            os.environ.clear()
            os.environ.update(before)


def missing(stages: list[Stage], log: str) -> str:
    """What a log does not say of stages that have ended; "" if it says all.

    Each says how far it is and how fast while it runs, and how long it took; nothing in it goes
    back to the beginning of a line.
    """
    if "\r" in log:
        return f"a carriage return in the log: {log[-500:]!r}"
    lines = log.splitlines()
    for stage in stages:
        if stage.total is None:
            continue
        own = [line for line in lines if (at := LINE.fullmatch(line)) and at[1] == stage.title]
        under_way = [line for line in own if line.endswith("left") or " left, " in line]
        if not own or "took" not in own[-1]:
            return f"no line on the end of {stage.title!r}: {own}"
        if stage.total and not under_way:
            return f"no line on what {stage.title!r} has left: {own}"
        begun = [line for line in own if f"{stage.title}: 0/" not in line]
        if stage.total and not all(re.search(r", [\d.,]+/(s|min|h)\b", line) for line in begun):
            return f"a line of {stage.title!r} without its rate: {own}"
    return ""
