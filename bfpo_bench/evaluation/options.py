"""What a user can ask of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from bfpo_bench.also.options import AlsoOptions
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Count, Help, Options, Place, split
from bfpo_bench.common.validate import STRICT
from bfpo_bench.engines.options import Loading
from bfpo_bench.engines.thinking import Thinking
from bfpo_bench.engines.vllm.layout import Layout
from bfpo_bench.judges.calibration import CalibrationOptions
from bfpo_bench.judges.options import JudgeAnyway, JudgeModel, JudgeName, JudgeUrl, RefusalOptions
from bfpo_bench.trackers import ReportTo


def read_variants(given: Any) -> Any:
    """``["crows_pairs=original"]`` → ``{"crows_pairs": "original"}``, names checked.

    Raises:
        BadInput: not of the form SOURCE=NAME, or an unknown source or variant.
    """
    if given is None or isinstance(given, Mapping):
        return given or {}
    from bfpo_bench.tasks.catalog import find_source

    variants = {}
    for item in given:
        name, _, variant = str(item).partition("=")
        if not variant:
            raise BadInput(f"--variant {item!r} should be SOURCE=NAME, e.g. crows_pairs=original.")
        variants[name] = find_source(name).variant(variant).name
    return variants


def _unicode(prompt: str | None) -> str | None:
    try:
        (prompt or "").encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"--system-prompt is no Unicode text at character {error.start} (half a surrogate "
            "pair, or a byte that is no UTF-8); write it again."
        ) from None
    return prompt


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TargetOptions(Options):
    """The model that is asked, how, and of what data: what evaluating and red teaming share."""

    model: Annotated[str, Help("Checkpoint folder or hub id.")] = Field(kw_only=False)
    judge_model: JudgeModel = None
    judge_url: JudgeUrl = None
    base_url: Annotated[
        str | None, Help("OpenAI-compatible server that holds the model (openai).")
    ] = None
    api_key_env: Annotated[str, Help("Environment variable with the server's key (openai).")] = (
        "OPENAI_API_KEY"
    )
    concurrency: Annotated[Count, Help("Requests to a server at a time (openai, annotator).")] = 16
    data_dir: Annotated[
        Place | None, Help("Folder of upstream data files. [default: BFPO_DATA_DIR, else the hub]")
    ] = None
    variants: Annotated[
        dict[str, str],
        BeforeValidator(read_variants),
        Help(
            "source=variant, for data that comes in several. Repeatable.",
            flag="variant",
            given=list[str] | None,
        ),
    ] = field(default_factory=dict)
    allow_unpinned: Annotated[
        bool, Help("Take data that differs from the pinned copy; marks the results.")
    ] = False
    seed: Annotated[int, Help("Of sampling, and of what a limit draws.")] = 0
    loading: Loading = Loading()
    max_length: Annotated[
        Count | None, Help("Context window in tokens. [default: the model's]")
    ] = None
    revision: Annotated[str | None, Help("Branch, tag or commit of a hub id.")] = None
    adapter: Annotated[
        str | None, Help("Adapter (LoRA), folder or hub id, merged into the weights.")
    ] = None
    tokenizer: Annotated[
        str | None, Help("Another tokenizer, folder or hub id. [default: the model's]")
    ] = None
    chat_template: Annotated[
        str, Help("auto (the model's), never, the name of one of the model's, or a Jinja file.")
    ] = "auto"
    thinking: Annotated[
        str,
        Help(
            "auto (as the model does by itself), on, off, or budget:N tokens beyond the answer's."
        ),
    ] = "auto"
    system_prompt: Annotated[
        str | None, AfterValidator(_unicode), Help("Before the user's turn in chat tasks.")
    ] = None
    local_scratch: Annotated[
        Place | None,
        Help("Folder on this node's disk for the store meanwhile; copied after each stage."),
    ] = None
    serve: Annotated[
        Layout | None,
        BeforeValidator(Layout.parse),
        Help("vllm serve over GPUs and nodes, e.g. tp=8,pp=2,nodes=2.", given=str | None),
    ] = None
    fresh: Annotated[bool, Help("Forget an earlier run in the run directory.")] = False

    def __post_init__(self) -> None:
        if self.thoughts.mode != "auto" and self.chat_template == "never":
            raise BadInput(
                f"--thinking {self.thinking} and --chat-template never exclude each other: nothing "
                "but a template tells a model to think; leave one of them out."
            )

    @property
    def thoughts(self) -> Thinking:
        """Whether the model is to think before it answers.

        Raises:
            BadInput: ``thinking`` is no such wish.
        """
        return Thinking.parse(self.thinking)


@dataclass(frozen=True, config=STRICT)
class EvaluateOptions(TargetOptions):
    """Options of :func:`bfpo_bench.evaluate` and of ``bfpo-bench evaluate``."""

    suite: Annotated[
        str,
        BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value),
        Help(
            "paper, balance, multilingual, a YAML file, or several joined by + (paper+balance); "
            "mini, mini-balance and mini-multilingual are demonstrations on bundled items."
        ),
    ] = "paper"
    output: Annotated[
        Place | None, Help("Run directory. [default: runs/<model>, or runs/<model>-<suite>]")
    ] = None
    tasks: Annotated[
        tuple[str, ...],
        split(","),
        Help(
            "Only these tasks, by comma; disc, gen and alpaca stand for the groups. "
            "-NAME leaves one out.",
            given=str | None,
        ),
    ] = ()
    skip_missing: Annotated[
        bool, Help("Leave out tasks whose data cannot be had; the results say so.")
    ] = False
    limit: Annotated[Count | None, Help("At most so many items per task, drawn by the seed.")] = (
        None
    )
    precision: Annotated[
        float | None,
        Help(
            "Ask each task only until its number is known to so many percentage points, with 95 % "
            "confidence."
        ),
    ] = None
    max_new_tokens: Annotated[
        Count | None, Help("Most tokens of a response, instead of the suite's.")
    ] = None
    beside: AlsoOptions = AlsoOptions()
    judge: Annotated[
        JudgeName,
        Help(
            "Judge card, by name or path; several, by comma: their majority, and each one's "
            "numbers beside it. [default: the suite's]"
        ),
    ] = None
    judge_anyway: JudgeAnyway = False
    refusal: RefusalOptions = RefusalOptions()
    people: CalibrationOptions = CalibrationOptions()
    annotator: Annotated[
        str | None,
        Help("openai:MODEL, local, or a configuration of alpaca_eval: fills the Alpaca column."),
    ] = None
    annotator_config: Annotated[
        str | None,
        Help("alpaca_eval's, for openai:MODEL and local. [default: AlpacaEval 2's]"),
    ] = None
    annotator_model: Annotated[
        str | None,
        Help("Folder or hub id that local loads; with a URL: its name there."),
    ] = None
    annotator_url: Annotated[
        str | None, Help("The annotator's server, up to /v1. [default: api.openai.com]")
    ] = None
    annotator_key_env: Annotated[
        str, Help("Environment variable with the key of the annotator's server.")
    ] = "OPENAI_API_KEY"
    max_cost: Annotated[
        float | None,
        Help("Most that annotating may cost now: USD where prices are given, or tokens."),
    ] = None
    price_in: Annotated[float | None, Help("USD per million tokens that the annotator reads.")] = (
        None
    )
    price_out: Annotated[
        float | None, Help("USD per million tokens that the annotator writes.")
    ] = None
    report_to: ReportTo = ()
