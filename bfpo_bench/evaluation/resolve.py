"""What the options of an evaluation stand for, found and checked before any long work."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.also import Also, choose_also
from bfpo_bench.evaluation.at_hand import tasks_at_hand
from bfpo_bench.evaluation.bench import Bench, choose_judges
from bfpo_bench.evaluation.chat_prompts import choose_template
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.target import Target, find_target
from bfpo_bench.helpfulness.annotator import AnnotatorOptions, ChosenAnnotator, choose_annotator
from bfpo_bench.helpfulness.cost import Prices
from bfpo_bench.judges import load_judge
from bfpo_bench.judges.calibration import Labels, read_labels
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.models.template_files import chat_templates
from bfpo_bench.run.run_json import read_run
from bfpo_bench.suites import Suite, load_suite, suite_parts
from bfpo_bench.tasks.requests import Task, render
from bfpo_bench.trackers import check_trackers


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: what is asked, of whom, who judges, and where it is kept.

    Attributes:
        suite: the whole suite, as it is by itself.
        tasks: those of it that are wanted, with their rows; the requests are :meth:`planned`.
        judges: who says what is harmful, and what is refused.
        annotator: None when nobody was named to annotate.
        prices: what annotating may cost.
        output: the run directory.
        also: lm-eval's own tasks that are asked too.
        labels: of people, by which the judges' numbers are corrected.
        left_out: wanted tasks whose data cannot be had → the mark that says so.
    """

    options: EvaluateOptions
    suite: Suite
    tasks: list[Task]
    target: Target
    judges: Bench
    annotator: ChosenAnnotator | None
    prices: Prices
    output: Path
    left_out: dict[str, str]
    also: Also = field(default_factory=Also)
    labels: Labels | None = None

    @cached_property
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
            **({} if options.precision is None else {"precision": options.precision}),
            "seed": options.seed,
            **self.judges.identity(),
            **({"also": self.also.identity()} if self.also.asked else {}),
        }

    def planned(self) -> list[Task]:
        """The tasks with what the model is asked.

        Raises:
            BadInput: the chat template refuses the messages.
        """
        options = self.options
        return render(
            *(self.tasks, self.target.chat(), options.system_prompt),
            *(options.seed, options.thoughts.tokens),
        )


def resolve(
    options: EvaluateOptions, asked: Collection[str] = ("judge", "annotator")
) -> Evaluation:
    """Finds all that the options name and checks it. Loads no weights.

    Args:
        asked: which of judge and annotator will be; the other's server may lack a key.

    Raises:
        BadInput: one sentence for the first thing that cannot be had; of data, a line for each.
    """
    check_trackers(options.report_to)
    suite = load_suite(options.suite)
    wanted = _wanted(options, suite)
    judged = any(task.judged for task in wanted.tasks)
    name = options.judge or suite.judge
    if judged or options.judge:
        # Only the card for now: the judge's weights are looked for when all else was found.
        load_judge(name)
    labels = read_labels(options.people)
    output = output_folder(options)
    begun = begun_identity(output, options.fresh)
    target = find_target(options, options.loading.chosen_backend(), begun)
    also = choose_also(options, suite)
    tasks, left_out = tasks_at_hand(options, suite, wanted, also.missing)
    if options.precision is not None:
        from bfpo_bench.evaluation.rounds import check_precision  # numpy, else not loaded here

        check_precision(options.precision, options.limit, tasks)
    annotator = None
    loading = options.loading.beside_target()
    wish = JudgeOptions.of(options, judge=name, loading=loading)
    judges = choose_judges(
        *(options.refusal, suite, wish),
        *({task.spec.metric for task in tasks if task.spec.judged}, begun, "judge" in asked),
    )
    if labels is not None and judges.harm is None:
        raise BadInput(
            "--calibration corrects verdicts of harm, and the tasks asked for need none; leave it "
            "out, or ask for tasks such as advbench."
        )
    if options.annotator and any(task.annotated for task in tasks):
        annotator = choose_annotator(
            AnnotatorOptions.of(options, loading=loading), "annotator" in asked
        )
    prices = Prices(options.price_in, options.price_out, options.max_cost)
    return Evaluation(
        *(options, suite, tasks, target, judges, annotator, prices, output, left_out, also, labels)
    )


def begun_identity(folder: Path, fresh: bool) -> dict[str, Any]:
    """The identity of the run in a folder; nothing where none is, or it is to be forgotten."""
    try:
        return {} if fresh else dict(read_run(folder)["identity"])
    except BadInput:  # no run yet, or a damaged one, of which the run directory tells
        return {}


def output_folder(options: EvaluateOptions) -> Path:
    """The run directory of these options, whether or not it is there."""
    if options.output is not None:
        return options.output

    def called(name: str) -> str:
        try:
            path = Path(name).expanduser()
            if path.is_dir():
                return path.resolve().name
        except (OSError, RuntimeError):  # no name of a folder; whoever opens the model says so
            pass
        return name.replace("/", "__")

    name = called(options.model)
    if options.adapter is not None:
        name = f"{name}+{called(options.adapter)}"
    suite = "+".join(Path(part).stem for part in suite_parts(options.suite))
    return Path("runs") / (name if suite == "paper" else f"{name}-{suite}")


def _wanted(options: EvaluateOptions, suite: Suite) -> Suite:
    """The tasks that are asked for, with responses of the length that is asked for."""
    wanted = _named(options, suite)
    if (length := options.max_new_tokens) is None:
        return wanted
    if all(task.generation is None for task in wanted.everything):
        raise BadInput(
            "--max-new-tokens is the length of responses, and the tasks asked for are scored "
            "without any; add such as have them (--tasks gen), or leave --max-new-tokens out."
        )
    return wanted.sampled(lambda usual: replace(usual, max_new_tokens=length))


def _named(options: EvaluateOptions, suite: Suite) -> Suite:
    """The tasks that are asked for; that of helpfulness where it or an annotator is named."""
    wanted = suite.only(options.tasks) if options.tasks else replace(suite, helpfulness=None)
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
        "version": task.spec.version,
        "metric": task.spec.metric,
        "chat_template": task.spec.chat_template,
        "generation": None if generation is None else generation.as_dict(),
        # Whoever judges the run later knows the package's tasks, and no others.
        **({} if task.spec.packaged else {"prompts": task.spec.prompts}),
    }
