"""What a user can ask of a red teaming, checked before any long work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Count, Help, Place
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.common.validate import STRICT
from bfpo_bench.evaluation.options import TargetOptions
from bfpo_bench.evaluation.resolve import begun_identity
from bfpo_bench.evaluation.target import Target, find_target
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.rankers import ChosenRanker, RankerOptions, choose_ranker
from bfpo_bench.rankers.protocol import RankerKeyEnv, RankerName, RankerUrl
from bfpo_bench.redteam.prompts import PromptSet, read_prompts
from bfpo_bench.redteam.questions import TASK


@checked(frozen=True, kw_only=True, config=STRICT)
class RedteamOptions(TargetOptions):
    """Options of :func:`bfpo_bench.redteam.redteam` and of ``bfpo-bench redteam``."""

    prompts: Annotated[
        str,
        Help(
            "File (.txt: one prompt a line; CSV, JSON, JSON lines), or a source: advbench, "
            "alert, alert_adversarial, realtoxicityprompts, alpaca_eval."
        ),
    ]
    judge: Annotated[str, Help("Judge card, by name or path, or judgezoo:NAME.")]
    ranker: RankerName
    output: Annotated[Place, Help("Preference file to write (JSON lines).")]
    run: Annotated[Place | None, Help("Run directory. [default: <output>.run beside it]")] = None
    responses: Annotated[int, Help("Responses to each prompt.")] = 2
    temperature: Annotated[float, Help("Of sampling; above 0.")] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1), Help("Nucleus of sampling.")] = 0.95
    max_new_tokens: Annotated[Count, Help("Most tokens of a response.")] = 512
    prompt_column: Annotated[
        str | None,
        Help("Column of the prompts. [default: prompt, goal, behavior … if there]"),
    ] = None
    category_column: Annotated[
        str | None,
        Help("Column of the categories. [default: category, SemanticCategory …]"),
    ] = None
    limit: Annotated[Count | None, Help("At most so many prompts, drawn by the seed.")] = None
    max_per_category: Annotated[
        Count | None, Help("At most so many prompts of a category, drawn by the seed.")
    ] = None
    ranker_url: RankerUrl = None
    ranker_key_env: RankerKeyEnv = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        super().__post_init__()
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
    begun = begun_identity(options.run_folder, options.fresh)
    target = find_target(options, options.loading.chosen_backend(), begun)
    loading = options.loading.beside_target()
    ranker = choose_ranker(RankerOptions.of(options, loading=loading))
    judge = choose_judge(JudgeOptions.of(options, loading=loading))
    return Request(options, prompts, target, judge, ranker)
