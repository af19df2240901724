"""What a user can ask of a red teaming."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.options import TargetOptions
from bfpo_bench.judges.chosen import JudgeOptions
from bfpo_bench.rankers import RankerOptions


@dataclass(frozen=True, kw_only=True)
class RedteamOptions(TargetOptions):
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
    data_dir: Path | None = None
    variants: dict[str, str] = field(default_factory=dict)
    allow_unpinned: bool = False
    seed: int = 0
    fresh: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("limit", "max_per_category", "max_new_tokens")
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

    def judge_options(self) -> JudgeOptions:
        """The judge."""
        return JudgeOptions(
            judge=self.judge,
            judge_model=self.judge_model,
            judge_url=self.judge_url,
            **self.beside_target(),
        )

    def ranker_options(self) -> RankerOptions:
        """The ranker."""
        return RankerOptions(
            ranker=self.ranker,
            ranker_url=self.ranker_url,
            ranker_key_env=self.ranker_key_env,
            **self.beside_target(),
        )
