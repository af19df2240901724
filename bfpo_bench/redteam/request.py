"""What a user can ask of a red teaming, checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.open import choose_backend
from bfpo_bench.engines.options import TargetOptions
from bfpo_bench.evaluation.going_on import begun_identity, target_going_on
from bfpo_bench.evaluation.target import Target, find_target
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import ChosenJudge, JudgeOptions, choose_judge
from bfpo_bench.rankers import ChosenRanker, RankerOptions, choose_ranker
from bfpo_bench.redteam.prompts import TASK, PromptSet, read_prompts


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


@dataclass(frozen=True)
class Request:
    """What the options stand for once files were found and read."""

    options: RedteamOptions
    prompts: PromptSet
    target: Target
    judge: ChosenJudge
    ranker: ChosenRanker

    def identity(self) -> dict[str, Any]:
        """What all responses in the run directory share; see :mod:`bfpo_bench.run.directory`.

        Prompts, judge and ranker are no part of it: every answer's key says what it is of.
        """
        options = self.options
        return {
            "kind": TASK,
            "model": self.target.identity(),
            "backend": self.target.backend,
            "dtype": self.target.dtype,
            "max_length": options.max_length,
            "system_prompt": options.system_prompt,
            "sampling": options.sampling.as_dict(),
            "seed": options.seed,
            "tasks": {},
            "data": {},
        }

    def going_on(self) -> Request:
        """The same in the target's number format of the run that it goes on with, if ``auto``."""
        begun = begun_identity(self.options.run_folder, self.options.fresh)
        return replace(self, target=target_going_on(self.target, self.options, begun))

    def made_of(self) -> dict[str, Any]:
        """All that the preference file depends on."""
        identity = {k: v for k, v in self.identity().items() if k not in ("tasks", "data")}
        return {
            **identity,
            "prompts": self.prompts.digest,
            "responses": self.options.responses,
            "judge": self.judge.identity(),
            "ranker": self.ranker.identity(),
        }


def check_request(options: RedteamOptions) -> Request:
    """Resolves and checks a request.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    # Only the judge's card for now: weights are looked for when all else was found.
    load_judge(options.judge)
    prompts = read_prompts(
        options.prompts,
        seed=options.seed,
        limit=options.limit,
        per_category=options.max_per_category,
        prompt_column=options.prompt_column,
        category_column=options.category_column,
        data_dir=options.data_dir,
        variant=options.variants.get(options.prompts),
        allow_unpinned=options.allow_unpinned,
    )
    target = find_target(options, choose_backend(options.backend))
    ranker = choose_ranker(options.ranker_options())
    return Request(options, prompts, target, choose_judge(options.judge_options()), ranker)
