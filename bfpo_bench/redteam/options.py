"""What a user can ask of a red teaming."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bfpo_bench.engines.protocol import Sampling
from bfpo_bench.errors import BadInput
from bfpo_bench.judging import JudgeOptions
from bfpo_bench.options import EvaluateOptions, LoadingOptions
from bfpo_bench.rankers import RankerOptions


@dataclass(frozen=True, kw_only=True)
class RedteamOptions(LoadingOptions):
    """Options of :func:`bfpo_bench.redteam.redteam`, with the defaults of the command line.

    Model, judge, server, data and loading mean what they mean in ``EvaluateOptions``, the ranker's
    fields what they mean in ``RankerOptions``.

    Attributes:
        prompts: a file (one prompt a line, CSV, JSON or JSON lines) or a source of the package.
        output: preference file to write; a summary is written beside it.
        run: run directory; default: ``<output without its ending>.run``.
        responses: responses drawn for each prompt.
        temperature, top_p, max_new_tokens: how they are drawn.
        prompt_column: column of the prompts; None finds one of the usual names.
        category_column: column of the categories; None finds one of the usual names, if any.
        limit: at most so many prompts, drawn by the seed.
        max_per_category: at most so many prompts of a category, drawn by the seed.
        fresh: forget what an earlier run in this run directory has done.
    """

    model: str
    prompts: str
    judge: str
    ranker: str
    output: Path
    run: Path | None = None
    responses: int = 2
    temperature: float = 0.7
    top_p: float = 0.95
    max_new_tokens: int = 512
    prompt_column: str | None = None
    category_column: str | None = None
    limit: int | None = None
    max_per_category: int | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    ranker_url: str | None = None
    ranker_key_env: str = "OPENAI_API_KEY"
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 16
    data_dir: Path | None = None
    variants: dict[str, str] = field(default_factory=dict)
    allow_unpinned: bool = False
    seed: int = 0
    max_length: int | None = None
    revision: str | None = None
    tokenizer: str | None = None
    chat_template: str = "auto"
    system_prompt: str | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one(
            *("limit", "max_per_category", "max_new_tokens", "max_length", "concurrency")
        )
        if self.responses < 2:
            raise BadInput(
                f"--responses must be at least 2, not {self.responses}: a pair is made of two "
                "responses to one prompt."
            )
        if self.temperature <= 0:
            raise BadInput(
                "--temperature must be above 0: drawn greedily, all responses to a prompt would "
                "be the same."
            )
        if not 0 < self.top_p <= 1:
            raise BadInput("--top-p is a probability: more than 0, at most 1.")

    @property
    def run_folder(self) -> Path:
        """The run directory."""
        return self.run or self.output.with_name(f"{self.output.stem}.run")

    @property
    def summary_path(self) -> Path:
        """Where the summary is written."""
        return self.output.with_name(f"{self.output.stem}.summary.json")

    @property
    def sampling(self) -> Sampling:
        """How responses are drawn."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_p)

    def target_options(self) -> EvaluateOptions:
        """The model, as an evaluation would be asked for it."""
        return EvaluateOptions(
            model=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            max_length=self.max_length,
            revision=self.revision,
            tokenizer=self.tokenizer,
            chat_template=self.chat_template,
            **self._loading(self.backend),
        )

    def judge_options(self) -> JudgeOptions:
        """The judge."""
        # A server holds the target only; the judge is loaded here.
        backend = None if self.backend == "openai" else self.backend
        return JudgeOptions(
            judge=self.judge,
            judge_model=self.judge_model,
            judge_url=self.judge_url,
            **self._loading(backend),
        )

    def ranker_options(self) -> RankerOptions:
        """The ranker."""
        return RankerOptions(
            ranker=self.ranker,
            ranker_url=self.ranker_url,
            ranker_key_env=self.ranker_key_env,
            **self._loading(None),
        )

    def _loading(self, backend: str | None) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(LoadingOptions)}
        return {**values, "backend": backend}
