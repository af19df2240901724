"""An evaluation request, checked: everything that can be wrong is found before any long work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.open import choose_backend
from bfpo_bench.evaluation.chat_prompts import choose_template
from bfpo_bench.evaluation.going_on import begun_identity, target_going_on
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.target import Target, find_target
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, ChosenAnnotator, choose_annotator
from bfpo_bench.helpfulness.cost import Prices
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.chosen import ChosenJudge, JudgeOptions, choose_judge
from bfpo_bench.models.template_files import chat_templates
from bfpo_bench.suites import Suite, load_suite
from bfpo_bench.tasks.requests import Task, load_tasks


@dataclass(frozen=True)
class Request:
    """What `EvaluateOptions` stand for once files were found and read.

    Attributes:
        suite: the whole suite; `tasks` are those of it that are wanted, with their rows.
        judge: None when no wanted task needs one.
        annotator: None when nobody was named to annotate.
    """

    options: EvaluateOptions
    suite: Suite
    target: Target
    judge: ChosenJudge | None
    annotator: ChosenAnnotator | None
    tasks: list[Task]

    @property
    def prices(self) -> Prices:
        """What annotating may cost."""
        return Prices(self.options.price_in, self.options.price_out, self.options.max_cost)

    def going_on(self) -> Request:
        """The same in the number formats of the run that it goes on with, where ``auto`` chose."""
        begun = begun_identity(output_folder(self.options), self.options.fresh)
        judge = self.judge.going_on(begun.get("judge")) if self.judge else None
        return replace(self, target=target_going_on(self.target, self.options, begun), judge=judge)

    def identity(self) -> dict[str, Any]:
        """All that the answers of this run depend on; see :mod:`bfpo_bench.run.directory`.

        The annotator is no part of it: annotations have keys of their own, and several annotators'
        stand side by side.
        """
        options, model = self.options, self.target.identity()
        return {
            "model": model,
            "backend": self.target.backend,
            "dtype": self.target.dtype,
            "max_length": options.max_length,
            "system_prompt": options.system_prompt,
            "template": _template(options, self.target, model.get("chat_template")),
            "suite": {"name": self.suite.name, "version": self.suite.version},
            "tasks": {task.name: _task_identity(task) for task in self.tasks},
            "data": {
                task.loaded.source: {
                    "variant": task.loaded.variant,
                    "digest": task.loaded.digest,
                }
                for task in self.tasks
            },
            "limit": options.limit,
            "seed": options.seed,
            "judge": self.judge.identity() if self.judge else None,
        }


def output_folder(options: EvaluateOptions) -> Path:
    """The run directory of these options, whether or not it is there."""
    if options.output is not None:
        return options.output
    path = Path(options.model).expanduser()
    name = path.resolve().name if path.is_dir() else options.model.replace("/", "__")
    if options.adapter is not None:
        adapter = Path(options.adapter).expanduser()
        place = adapter.resolve().name if adapter.is_dir() else options.adapter.replace("/", "__")
        name = f"{name}+{place}"
    suite = Path(options.suite).stem
    return Path("runs") / (name if suite == "paper" else f"{name}-{suite}")


def check_request(options: EvaluateOptions) -> Request:
    """Resolves and checks an evaluation request.

    Raises:
        BadInput: one sentence for the first thing that cannot be had.
    """
    suite = load_suite(options.suite)
    wanted = _wanted(options, suite)
    judged = any(task.group == "gen" for task in wanted.tasks)
    if judged or options.judge:
        # Only the card for now: the judge's weights are looked for when all else was found.
        load_judge(options.judge or suite.judge)
    target = find_target(options, choose_backend(options.loading.backend))
    tasks = load_tasks(
        wanted,
        options.data_dir,
        options.variants,
        options.allow_unpinned,
        options.limit,
        options.seed,
    )
    loading, name = options.loading.beside_target(), options.judge or suite.judge
    judge = choose_judge(JudgeOptions.of(options, judge=name, loading=loading)) if judged else None
    annotator = None
    if options.annotator:
        # vLLM serves it, on the GPU where there is one.
        annotator = choose_annotator(
            AnnotatorOptions.of(options, loading=replace(loading, device="auto"))
        )
    request = Request(options, suite, target, judge, annotator, tasks)
    _ = request.prices  # for its complaints
    return request


def _wanted(options: EvaluateOptions, suite: Suite) -> Suite:
    """The tasks that are asked for; that of helpfulness where it or an annotator is named."""
    wanted = suite.only(list(options.tasks)) if options.tasks else replace(suite, helpfulness=None)
    if options.annotator is None:
        for name in ("annotator_config", "annotator_model", "annotator_url", "max_cost"):
            if getattr(options, name) is not None:
                raise BadInput(
                    f"--{name.replace('_', '-')} is for an annotator, and none is named; add "
                    "--annotator openai:MODEL or --annotator local."
                )
        return wanted
    if suite.helpfulness is None:
        raise BadInput(
            f"suite {suite.name} has nothing to annotate: give it a 'helpfulness' task as suite "
            "paper has it, or leave --annotator out."
        )
    return replace(wanted, helpfulness=suite.helpfulness)


def _template(options: EvaluateOptions, target: Target, digest: str | None) -> str:
    """Whose chat template chat tasks go through: the model's is part of it, a file is a setting."""
    if digest is None:
        return "plain prompts"
    if options.chat_template == "auto":
        return "the model's"
    assert target.tokenizer is not None, "a template of the user's goes with a tokenizer"
    given = choose_template(options.chat_template, target.tokenizer)
    own = chat_templates(target.tokenizer).get("default")
    return "the model's" if given == own else f"file {digest}"


def _task_identity(task: Task) -> dict[str, Any]:
    generation = task.spec.generation
    return {
        "version": task.version,
        "metric": task.spec.metric,
        "chat_template": task.spec.chat_template,
        "generation": None if generation is None else generation.as_dict(),
    }
