"""What a user can ask of judges: which ones, where their models are, who says what is refused."""

from __future__ import annotations

from typing import Annotated

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.options import Help, Options
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.options import Loading
from bfpo_bench.judges.calibration import CalibrationOptions

JudgeName = Annotated[
    str | None,
    Help("Judge card, by name or path, or judgezoo:NAME."),
]
JudgeModel = Annotated[
    str | None,
    Help("Folder or hub id of the judge's weights; a served model's name. [default: the card's]"),
]
JudgeUrl = Annotated[
    str | None, Help("Server of a judge such as openai, up to /v1. [default: the card's]")
]
JudgeAnyway = Annotated[
    bool, Help("Figures also where the judge is not made for the kind of prompts.")
]


@checked(frozen=True, config=STRICT)
class JudgeOptions(Options):
    """What a user can ask of a judge."""

    judge: JudgeName = None
    judge_model: JudgeModel = None
    judge_url: JudgeUrl = None
    judge_anyway: JudgeAnyway = False
    loading: Loading = Loading()


@checked(frozen=True, config=STRICT)
class RefusalOptions(Options):
    """What a user can ask of the judge that says whether responses refuse."""

    refusal_judge: Annotated[
        str | None,
        Help(
            "Judge card that says what is refused. [default: the judge, where it does; else the "
            "suite's]"
        ),
    ] = None
    refusal_judge_model: Annotated[str | None, Help("As --judge-model, of the refusal judge.")] = (
        None
    )
    refusal_judge_url: Annotated[str | None, Help("As --judge-url, of the refusal judge.")] = None

    def of_judge(self, name: str | None, other: JudgeOptions) -> JudgeOptions:
        """The same as options of a judge.

        Args:
            name: of the judge, where the user names none.
            other: those of the judge beside it.
        """
        return JudgeOptions.of(
            other,
            judge=self.refusal_judge or name,
            judge_model=self.refusal_judge_model,
            judge_url=self.refusal_judge_url,
        )


@checked(frozen=True, config=STRICT)
class JudgesOptions(JudgeOptions):
    """What a user can ask of the judges of responses that are there."""

    judge: Annotated[
        str | None,
        Help(
            "Judge card, by name or path, or judgezoo:NAME. Several, by comma: each one's numbers, "
            "and their majority's."
        ),
    ] = None
    refusal: RefusalOptions = RefusalOptions()
    people: CalibrationOptions = CalibrationOptions()
