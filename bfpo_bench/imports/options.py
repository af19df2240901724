"""What ``bfpo-bench import`` can be asked."""

from __future__ import annotations

from typing import Annotated

from pydantic.dataclasses import dataclass

from bfpo_bench.common.options import Help, Options, Place, one_of
from bfpo_bench.common.validate import STRICT, Text
from bfpo_bench.suites import PROMPT_KINDS, PromptKind

FORMATS = ("auto", "inspect", "lm-eval", "harmbench", "adversariallm", "jsonl")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImportOptions(Options):
    """Options of an import."""

    output: Annotated[
        Place | None,
        Help("New run directory. [default: runs/MODEL-imported]"),
    ] = None
    format: Annotated[
        str,
        one_of("format", FORMATS),
        Help("Whose files they are: " + ", ".join(FORMATS[1:]) + "; auto looks into them."),
    ] = "auto"
    model: Annotated[
        Text | None, Help("Name of the model, where the files do not say it, or another one.")
    ] = None
    task: Annotated[
        str | None,
        Help(
            "Task of a suite that the prompts are of, such as advbench; its prompts are looked up. "
            "Without it they are a column of their own."
        ),
    ] = None
    suite: Annotated[
        str | None, Help("Suite of that task. [default: the first of the package's that has it]")
    ] = None
    prompts: Annotated[
        PromptKind, Help(f"What prompts of their own column want: {', '.join(PROMPT_KINDS)}.")
    ] = "instructions"
    prompt_field: Annotated[
        str | None, Help("Of JSON lines: field of the prompt, e.g. doc.question. [default: prompt]")
    ] = None
    response_field: Annotated[
        str | None, Help("Of JSON lines: field of the response. [default: response]")
    ] = None
    data_dir: Annotated[Place | None, Help("Folder of upstream data files, for --task.")] = None
