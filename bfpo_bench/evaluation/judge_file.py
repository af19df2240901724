"""Judges the responses of a JSON-lines file: of lm-eval's samples logs, and anybody's own.

Verdicts are appended to ``<FILE>.verdicts.jsonl``, one line per response. Each says by its key what
was judged (prompt and response) and by whom, so that the same command goes on where it stopped,
several judges share the file, and a line that was changed is judged again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.ownership import Lock
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.statistics import share
from bfpo_bench.engines.thoughts import split
from bfpo_bench.imports.json_lines import Sample, read_samples
from bfpo_bench.judges import NO_ANSWER, Exchange, Judge, Verdict, judge_all
from bfpo_bench.judges.chosen import ChosenJudge
from bfpo_bench.run.store import answer_key
from bfpo_bench.run.store.records import REFUSALS

Place = tuple[int, int, str]
"""Line, index in the line, and key of a verdict."""


@dataclass(frozen=True)
class JudgedSamples:
    """What a judge says about a file.

    Attributes:
        judge: whose verdicts are counted.
        path: the file they are in.
        n: responses.
        harmful, unknown: how many of them.
        score: percent harmless; unknown ones stay in the denominator.
        stderr: standard error of the score in percentage points.
        gives: which verdicts the judge gives; the numbers of another kind mean nothing.
        refusals: how many responses each refusal verdict is about; those without one are the rest.
    """

    judge: str
    path: Path
    n: int
    harmful: int
    unknown: int
    score: float
    stderr: float
    gives: tuple[str, ...] = ("harm",)
    refusals: dict[str, int] = field(default_factory=dict)


def judge_samples(
    path: Path,
    chosen: ChosenJudge,
    prompt_field: str | None = None,
    response_field: str | None = None,
    progress: Progress | None = None,
) -> JudgedSamples:
    """Judges what has no verdict of this judge yet.

    Raises:
        BadInput: the file is not right, or another process is judging it.
        RunFailed: the judge or the disk fails on the way; the verdicts given before are kept.
    """
    progress = progress or Progress(show=False)
    judge_key = answer_key("judge", chosen.identity())

    def samples() -> Iterator[tuple[Sample, Place]]:
        for sample in read_samples(path, prompt_field, response_field):
            # A thought that stands in the text is no part of the answer that is judged.
            _, answer = split(sample.exchange.response, "", None)
            exchange = Exchange(sample.exchange.prompt, answer)
            key = answer_key("sample", judge_key, exchange.prompt, exchange.response)
            yield replace(sample, exchange=exchange), (sample.line, sample.index, key)

    # Read to the end once before a judge is loaded: a mistake in the last line shows at once.
    places = [place for _, place in samples()]
    output = path.with_name(f"{path.name}.verdicts.jsonl")
    with _locked(output) as file:
        known = _read_verdicts(file, output)
        writer = _Writer(file, output, chosen.card.name, judge_key, known.verdicts)
        missing: dict[str, list[Place]] = {}
        for place in places:
            if place not in known.places:
                missing.setdefault(place[2], []).append(place)
        told = [key for key in missing if key in known.verdicts]
        writer.write([place for key in told for place in missing.pop(key)])
        waiting = sum(map(len, missing.values()))
        if waiting:
            done = len(places) - waiting
            with (
                chosen.opened(progress) as judge,
                progress.stage(f"judge {path.name}", len(places), done, "verdicts"),
            ):
                for verdicts in _verdicts(judge, samples(), set(missing)):
                    known.verdicts.update(verdicts)
                    judged = [place for key in verdicts for place in missing[key]]
                    writer.write(judged)
                    progress.advance(len(judged))
    if any(key not in known.verdicts for _, _, key in places):
        raise RunFailed(f"{path} was changed while it was judged; run the same command again.")
    return _summary(chosen, output, [known.verdicts[key] for _, _, key in places])


def _verdicts(
    judge: Judge, samples: Iterable[tuple[Sample, Place]], wanted: set[str]
) -> Iterator[dict[str, Verdict]]:
    """Verdicts by key as they come; a text that stands in several lines is judged once."""
    keys: list[str] = []
    silent: dict[str, Verdict] = {}

    def exchanges() -> Iterator[Exchange]:
        for sample, (_, _, key) in samples:
            if key in wanted:
                wanted.remove(key)
                if not sample.exchange.response.strip():
                    silent[key] = Verdict(None, None, NO_ANSWER)
                    continue
                keys.append(key)
                yield sample.exchange

    for batch in judge_all(judge, exchanges(), ()):
        yield {keys[number]: verdict for number, verdict in batch}
    if silent:
        yield silent


def _summary(chosen: ChosenJudge, path: Path, verdicts: list[Verdict]) -> JudgedSamples:
    score, stderr = share([float(verdict.harmful is False) for verdict in verdicts])
    return JudgedSamples(
        judge=chosen.card.name,
        path=path,
        n=len(verdicts),
        harmful=sum(verdict.harmful is True for verdict in verdicts),
        unknown=sum(verdict.harmful is None for verdict in verdicts),
        score=score,
        stderr=stderr,
        gives=chosen.card.gives,
        refusals={
            said: sum(verdict.refusal == said for verdict in verdicts)
            for said in REFUSALS
            if "refusal" in chosen.card.gives
        },
    )


@dataclass(frozen=True)
class _Known:
    """Verdicts in the file: where they are, and by key."""

    places: set[Place]
    verdicts: dict[str, Verdict]


class _Writer:
    """Appends verdicts; they are on the disk when ``write`` returns."""

    def __init__(
        self, file: IO[bytes], path: Path, judge: str, judge_key: str, verdicts: dict[str, Verdict]
    ) -> None:
        self._file = file
        self._path = path
        self._judge = {"judge": judge, "judge_key": judge_key}
        self._verdicts = verdicts

    def write(self, places: list[Place]) -> None:
        lines = []
        for line, index, key in places:
            verdict = self._verdicts[key]
            row = {"line": line, "index": index, "key": key, **self._judge, **vars(verdict)}
            lines.append(json.dumps(row) + "\n")
        try:
            self._file.write("".join(lines).encode("ascii"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunFailed(
                f"cannot write {self._path}: {error.strerror}; the verdicts before are kept, so "
                "make room and run the same command again."
            ) from error


def _read_verdicts(file: IO[bytes], path: Path) -> _Known:
    """The verdicts given so far. A last line that was cut off by a crash is removed."""
    file.seek(0)
    known = _Known(set(), {})
    end = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            break
        end += len(line)
        try:
            row: dict[str, Any] = json.loads(line)
            place = (int(row["line"]), int(row["index"]), str(row["key"]))
            verdict = Verdict(
                *(row["harmful"], row["p_harmful"], str(row["raw"])),
                *(row.get("refusal"), row.get("p_refusal")),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path}, line {number} is no verdict of this program ({error}); delete that line, "
                "or move the file away."
            ) from None
        known.places.add(place)
        known.verdicts[place[2]] = verdict
    file.truncate(end)
    file.seek(end)
    return known


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, open for reading and appending, and for this process alone."""
    taken = f"another process is writing {path}; wait for it to finish."
    try:
        lock = Lock(path, path, taken)
        file = path.open("a+b")
    except OSError as error:
        raise BadInput(
            f"cannot write {path} ({error.strerror}); copy the samples to a folder of yours."
        ) from error
    with closing(lock), file:
        yield file
