"""What a user can ask of lm-eval's own tasks beside the suite's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Help, Options, Place, split
from bfpo_bench.common.validate import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AlsoOptions(Options):
    """Which of lm-eval's tasks are asked too, and how; named as lm-eval names it."""

    also: Annotated[
        tuple[str, ...],
        split(","),
        Help(
            "Tasks, groups and tags of lm-eval's, by comma: columns of their own, in no average.",
            given=str | None,
        ),
    ] = ()
    include_path: Annotated[Place | None, Help("Folder with more lm-eval tasks (--also).")] = None
    num_fewshot: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Help("Examples before each question (--also). [default: the task's]"),
    ] = None
    apply_chat_template: Annotated[
        bool, Help("Ask --also tasks through the chat template; else plainly, as scored tasks.")
    ] = False
    confirm_run_unsafe_code: Annotated[
        bool, Help("Let --also tasks run code that the model wrote.")
    ] = False

    def __post_init__(self) -> None:
        if self.also:
            return
        for name, value in vars(self).items():
            if name != "also" and value not in (None, False):
                raise BadInput(
                    f"--{name.replace('_', '-')} is for tasks of lm-eval's, and none is named; "
                    "add --also TASK, e.g. --also hellaswag,mmlu."
                )
