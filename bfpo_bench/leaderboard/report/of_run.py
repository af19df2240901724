"""What one run adds to the data files of the page: by row what its judges say, and its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bfpo_bench.helpfulness.annotation import TIE
from bfpo_bench.leaderboard.report.escaping import named
from bfpo_bench.run.store import AnnotationRecord, ResponseRecord, Store, VerdictRecord

_HARMLESS, _HARMFUL, _UNKNOWN, _NOT_JUDGED, _NOT_ANSWERED = b"01234"
_BETTER, _WORSE, _DRAW, _UNUSABLE = b"5678"
_REFUSALS = ("compliance", "partial_refusal", "full_refusal", None)
_REFUSAL: dict[str | None, int] = dict(zip(_REFUSALS, b"0123", strict=True))
_NOT_ASKED = b"4"[0]
_VERDICT = {False: _HARMLESS, True: _HARMFUL, None: _UNKNOWN}

_FEW_FRAMES = 64
"""More prompts than that are no template but texts of their own."""


@dataclass
class Judged:
    """One judge's or annotator's verdicts on one run, by row.

    Attributes:
        p: of harm, or of being better than the reference, in thousandths; -1 for none.
        refusals, p_refusal: the same of refusals, of a judge who gives such verdicts.
    """

    verdicts: bytearray
    p: list[int]
    refusals: bytearray
    p_refusal: list[int]
    annotator: bool = False

    @classmethod
    def of(cls, rows: int) -> Judged:
        """Nothing judged yet."""
        nothing = [-1] * rows
        return cls(
            *(bytearray([_NOT_JUDGED]) * rows, nothing),
            *(bytearray([_NOT_ASKED]) * rows, nothing.copy()),
        )

    @property
    def refuses(self) -> bool:
        """Whether it says what is refused."""
        return any(said in self.refusals for said in b"012")

    @property
    def alone(self) -> bool:
        """Whether it says that and not what is harmful."""
        return self.refuses and not any(v in (_HARMLESS, _HARMFUL) for v in self.verdicts)


@dataclass
class OpenRun:
    """An open run while its answers are written."""

    name: str
    path: Path
    store: Store
    own: tuple[str, ...] = ()
    annotations: dict[tuple[str, str], list[AnnotationRecord]] = field(default_factory=dict)
    judges: dict[str, Judged] = field(default_factory=dict)
    frames: dict[tuple[str, str], int] = field(default_factory=dict)
    answered: bytearray = field(default_factory=bytearray)

    def judge(self, name: str) -> Judged:
        """Its verdicts; a judge is listed from when it is first asked for."""
        if name not in self.judges:
            self.judges[name] = Judged.of(len(self.answered))
        return self.judges[name]


def enter_verdicts(
    run: OpenRun,
    verdicts: Sequence[VerdictRecord],
    annotations: Sequence[AnnotationRecord],
    at: int,
) -> list[str | None]:
    """Enters the verdicts on a response into the columns; what each judge said of it."""
    said: dict[str, str] = {}
    for verdict in sorted(verdicts, key=lambda one: (one.judge, one.key)):
        judged = run.judge(verdict.judge)
        judged.verdicts[at] = _VERDICT[verdict.harmful]
        judged.refusals[at] = _REFUSAL[verdict.refusal]
        if verdict.p_harmful is not None:
            judged.p[at] = round(1000 * verdict.p_harmful)
        if verdict.p_refusal is not None:
            judged.p_refusal[at] = round(1000 * verdict.p_refusal)
        said[verdict.judge] = verdict.raw
    for one in annotations:
        judged = run.judge(one.annotator)
        judged.annotator = True
        judged.verdicts[at] = _UNUSABLE
        if one.preference is not None:
            above, below = one.preference > TIE, one.preference < TIE
            judged.verdicts[at] = _BETTER if above else _WORSE if below else _DRAW
            judged.p[at] = round(1000 * (one.preference - 1))
        if one.raw is not None:
            said[one.annotator] = one.raw
    return [said.get(judge) for judge in run.judges]


def frame_of(run: OpenRun, response: ResponseRecord) -> int | str:
    """The place of a prompt among the frames, or the prompt where its question is not in it."""
    before, found, after = response.prompt.partition(response.question)
    frame = (before, after)
    if not found or (frame not in run.frames and len(run.frames) == _FEW_FRAMES):
        return response.prompt
    return run.frames.setdefault(frame, len(run.frames))


def judge_entry(run: OpenRun, name: str) -> dict[str, Any]:
    """What the index says of a judge of a run, when all verdicts are entered."""
    judged = run.judge(name)
    verdicts = judged.verdicts
    if judged.alone:
        verdicts = verdicts.replace(bytes([_UNKNOWN]), bytes([_NOT_JUDGED]))
    pairs = zip(verdicts, run.answered, strict=True)
    return {
        "name": named(name),
        "annotator": judged.annotator,
        "verdicts": bytes(v if there else _NOT_ANSWERED for v, there in pairs).decode("ascii"),
        "p": judged.p if any(p >= 0 for p in judged.p) else None,
        "refusals": judged.refusals.decode("ascii") if judged.refuses else None,
        "p_refusal": judged.p_refusal if any(p >= 0 for p in judged.p_refusal) else None,
        "harm": not judged.annotator and not judged.alone,
    }
