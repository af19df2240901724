"""A red teaming, checked: everything that can be wrong is found before any long work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bfpo_bench.engines.open import choose_backend
from bfpo_bench.evaluation.going_on import begun_identity, target_going_on
from bfpo_bench.evaluation.target import Target, find_target
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.rankers import ChosenRanker, choose_ranker
from bfpo_bench.redteam.options import RedteamOptions
from bfpo_bench.redteam.prompts import PromptSet, read_prompts
from bfpo_bench.redteam.questions import TASK


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
    prompts = read_prompts(options)
    target = find_target(options, choose_backend(options.backend))
    ranker = choose_ranker(options.ranker_options())
    return Request(options, prompts, target, choose_judge(options.judge_options()), ranker)
