"""What a run would ask and what it would need, before anything is paid for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.device import find_device
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.tokenization import GUESS, load_tokenizer
from bfpo_bench.estimate.memory import ModelUse, memory_need, memory_verdict
from bfpo_bench.estimate.shape import ModelShape, model_shape
from bfpo_bench.estimate.timing import StageTime, measure
from bfpo_bench.estimate.tokens import Workload, judge_work, task_work
from bfpo_bench.estimate.units import duration, gigabytes
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import Evaluation, resolve
from bfpo_bench.evaluation.rounds import Rounds
from bfpo_bench.evaluation.target import LocalTarget
from bfpo_bench.helpfulness.annotator import ChosenAnnotator
from bfpo_bench.judges import RubricCard, ZooCard
from bfpo_bench.judges.chosen import LONGEST_JUDGED, ChosenJudge
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.tasks.requests import Task


def dry_run(
    options: EvaluateOptions, measured: bool = False, progress: Progress | None = None
) -> str:
    """Text with the first prompt of every task, the tokens, and the memory they need.

    Args:
        measured: load the models and time a short sample of each stage. Either way nothing is
            stored.

    Raises:
        BadInput: something asked for cannot be had.
        RunFailed: a model could not be loaded, or gives no numbers (only when `measured`).
    """
    # A sample is judged, and never annotated.
    evaluation = resolve(options, asked=("judge",) if measured else ())
    target = evaluation.target
    tokenizer = None
    if target.tokenizer is not None:
        tokenizer = load_tokenizer(target.tokenizer, options.loading.trust_remote_code)
    planned: list[Task | AlsoTask] = [
        *evaluation.planned(),
        *evaluation.also.written(target, options),
    ]
    known = None
    if isinstance(target, LocalTarget) and target.adapter is None:
        known = _known_tokens(
            target.files, target.backend, target.dtype, options.loading.trust_remote_code
        )
    works = [task_work(task, tokenizer, known) for task in planned]
    judge = ", ".join(one.card.name for one in evaluation.judges.parts().values()) or "none"
    lines = [
        f"model {target.name}, backend {target.backend}, judge {judge}, "
        f"suite {evaluation.suite.name}, run directory {evaluation.output}",
    ]
    lines += evaluation.left_out.values()
    if options.precision is not None:
        lines.append(
            f"--precision {options.precision:g} stops each task as soon as its items are enough: "
            "what is said of all of them is the most that can be asked"
        )
    if tokenizer is None:
        lines.append(f"no tokenizer given: tokens are guessed at {GUESS} characters each")
    for task, work in zip(planned, works, strict=True):
        lines += ["", *_task_lines(task, work), *_stops(task, options)]
    lines += [
        "",
        f"In all about {sum(work.read for work in works):,} tokens to read, "
        f"{sum(work.scored for work in works):,} to score, "
        f"at most {sum(work.generated for work in works):,} to generate.",
    ]
    lines += ["", *_needs(evaluation, planned, works)]
    if not measured:
        lines += ["", "Time: --measure loads the models and times a sample of each stage."]
    else:
        lines += ["", *_measured(measure(evaluation, planned, progress or Progress(show=False)))]
    return "\n".join(lines)


def _known_tokens(
    files: ModelFiles, backend: str, dtype: str, trust_remote_code: bool
) -> int | None:
    """How many tokens a model knows; None where only its engine can tell.

    Raises:
        BadInput: an evaluation could not load it.
    """
    if backend == "vllm":
        # It has its own ways of loading, and goes by what the config says.
        vocabulary = model_shape(files, dtype, trust_remote_code).vocabulary
        return vocabulary if vocabulary > 1 else None
    if "quantization_config" in files.config:
        return None  # packed weights are made of other pieces than the model
    import torch

    from bfpo_bench.engines.hf.generate import embedding_count
    from bfpo_bench.engines.hf.load import load_causal_model

    meta = torch.device("meta")
    return embedding_count(load_causal_model(files.folder, dtype, meta, trust_remote_code))


def _task_lines(task: Task | AlsoTask, work: Workload) -> list[str]:
    if isinstance(task, Task):
        data = f"{task.loaded.where} ({task.loaded.status})"
    else:
        data = f"{task.where} (lm-eval's own task, --also; {task.examples} examples)"
    lines = [
        f"── {task.name}: {task.size} of {len(task.ids)} items",
        f"   data: {data}",
    ]
    if task.scores:
        first = [task.scores[n] for n in range(task.choices[0])]
        return [
            *lines,
            f"   {work.requests} choices, about {work.read:,} tokens to read, "
            f"{work.scored:,} of them to score",
            _shown("context", first[0].context),
            *(_shown(f"choice {n}", choice.continuation) for n, choice in enumerate(first)),
        ]
    return [
        *lines,
        f"   {work.requests} prompts, about {work.read:,} tokens to read, "
        f"at most {work.generated:,} to generate",
        _shown("prompt", task.prompts[0].prompt),
    ]


def _stops(task: Task | AlsoTask, options: EvaluateOptions) -> list[str]:
    """Where a task may stop that is wanted with a precision."""
    if options.precision is None or not isinstance(task, Task):
        return []
    rounds = Rounds(task, options.precision, options.seed)
    if rounds.why_whole is not None:
        return [f"   {rounds.why_whole}"]
    return [f"   may stop at {', '.join(map(str, rounds.sizes[:-1]))} items"]


def _shown(label: str, text: str) -> str:
    return f"   {label}: {text!r}"


# ------------------------------------------------------------------- what it needs


def _needs(
    evaluation: Evaluation, planned: Sequence[Task | AlsoTask], works: Sequence[Workload]
) -> list[str]:
    """Memory of target, judge and annotator; what the latter cost."""
    target, options = evaluation.target, evaluation.options
    suite = [task for task in planned if isinstance(task, Task)]
    if isinstance(target, LocalTarget):
        shape = model_shape(target.files, target.dtype, options.loading.trust_remote_code)
        device = find_device(options.loading.device)
        loading = options.loading
        if options.serve is not None:
            loading = replace(loading, tensor_parallel_size=options.serve.gpus)
        use = ModelUse(shape, target.backend, loading, device, works, options.max_length)
        lines = _model_lines(f"target {target.name}", use, target.note)
        lines += _too_long(planned, min(options.max_length or shape.context, shape.context))
    else:
        lines = [
            f"target {target.name}: {sum(work.requests for work in works):,} requests to the "
            f"server, {options.concurrency} at a time; no memory of this machine"
        ]
    for _, judge, judged in evaluation.judges.asked(suite):
        lines += _judge_needs(judge, judged) if judged else []
    for task in suite:
        if task.annotated and evaluation.annotator is not None:
            lines += _annotator_needs(evaluation, evaluation.annotator, task)
    return lines


def _too_long(planned: Sequence[Task | AlsoTask], window: int) -> list[str]:
    """Tasks whose responses alone would fill the context window; an evaluation refuses them."""
    asked = {task.name: task.prompts[0].most_tokens for task in planned if task.prompts}
    return [
        f"   {name} does not fit: its {new} new tokens leave no room for a prompt in a context "
        f"window of {window}; lower --max-new-tokens"
        for name, new in asked.items()
        if new >= window
    ]


def _annotator_needs(evaluation: Evaluation, annotator: ChosenAnnotator, task: Task) -> list[str]:
    """What the annotator reads, and what that costs, before there is a response."""
    from bfpo_bench.helpfulness.annotation import of_row
    from bfpo_bench.helpfulness.cost import expected_tokens

    new = task.prompts[0].most_tokens
    instructions = (of_row(item, row) for item, _, row in task.items())
    likely, most = expected_tokens(annotator.config, instructions, new)
    prices, limit = evaluation.prices, evaluation.prices.max_cost
    title = f"annotator {annotator.name}"
    lines = [
        f"{title}: {task.size:,} questions to {annotator.where}",
        f"   about {likely.read:,} tokens to read where responses are as long as the reference's "
        f"({GUESS} characters each), {most.read:,} where all reach their limit; at most "
        f"{likely.written:,} to write",
    ]
    if prices.price_in is not None:
        cost = prices.text(prices.cost(likely))
        lines.append(f"   about {cost}, at most {prices.text(prices.cost(most))}")
    if limit is not None:
        fits = "covers" if prices.cost(likely) <= limit else "does not cover"
        lines.append(f"   --max-cost {prices.text(limit)} {fits} that")
    if annotator.server is not None and annotator.server.lacks_key:
        lines.append(f"   its key is still to be set in {annotator.options.annotator_key_env}")
    if annotator.files is None:
        return lines
    loading = annotator.options.loading
    dtype, note = loading.number_format(annotator.files)
    shape = model_shape(annotator.files, dtype, loading.trust_remote_code)
    count = task.size
    work = Workload("annotate", count, likely.read, generated=likely.written)
    longest = replace(work, longest=round(most.read / count) + annotator.config.max_tokens)
    use = ModelUse(
        shape, annotator.backend, loading, find_device(loading.device), [longest], LONGEST_JUDGED
    )
    return [*lines, *_model_lines(title, use, note)]


def _judge_needs(judge: ChosenJudge, judged: Sequence[Task]) -> list[str]:
    title = f"judge {judge.card.name}"
    known = None
    if judge.model is not None:
        options = judge.options
        dtype = options.loading.engine_options(judge.model).dtype
        known = _known_tokens(judge.model, judge.backend, dtype, options.loading.trust_remote_code)
    work = judge_work(judge, judged, known)
    if work is None:
        # JudgeZoo chooses, loads and runs its models itself.
        return [
            f"{title}: {'not estimated' if isinstance(judge.card, ZooCard) else 'loads no model'}"
        ]
    if judge.model is None:
        assert isinstance(judge.card, RubricCard)
        lacking = judge.card.server(asked=False).lacks_key
        key = [f"   its key is still to be set in {judge.card.api_key_env}"] if lacking else []
        return [
            f"{title}: {work.requests:,} requests to its server, about {work.read:,} tokens to "
            f"read ({GUESS} characters each), at most {work.generated:,} to generate; no memory "
            "of this machine",
            *key,
        ]
    options = judge.options
    dtype, note = judge.number_format(judge.model)
    shape = model_shape(judge.model, dtype, options.loading.trust_remote_code)
    use = ModelUse(
        shape, judge.backend, options.loading, find_device(options.loading.device), [work]
    )
    questions = (
        f"   {work.requests:,} questions, at most {work.read:,} tokens to read (template, prompt, "
        "and a response as long as it may get)"
    )
    return [*_model_lines(title, use, note), questions]


def _model_lines(title: str, use: ModelUse, note: str | None) -> list[str]:
    need, device = memory_need(use), use.device
    each = " on each GPU" if device.is_gpu and use.options.tensor_parallel_size > 1 else ""
    lines = [
        f"{title}: needs about {gigabytes(need.least)}{each}, up to {gigabytes(need.wanted)} with "
        f"full batches; {gigabytes(device.free)} of {gigabytes(device.total)} are free "
        f"({device.title})",
        f"   weights {gigabytes(need.weights)} ({_weights(use.shape)})",
        *([f"   {note}"] if note else []),
    ]
    if need.single:
        lines.append(
            f"   keys and values {gigabytes(need.token)} a token: {gigabytes(need.single)} for "
            f"one text, {gigabytes(need.batch)} for {need.sequences} requests at a time"
        )
    lines.append(f"   activations and logits about {gigabytes(need.activations)}")
    if need.reserved is not None:
        lines.append(f"   vLLM takes {gigabytes(need.reserved)} whatever it needs")
    return [*lines, f"   {memory_verdict(use, need)}"]


def _weights(shape: ModelShape) -> str:
    stored = ", ".join(f"{gigabytes(size)} {kind}" for kind, size in shape.stored_bytes.items())
    packed = " and packed ones" if shape.quantised else ""
    return f"{shape.parameters:,} parameters{packed} in {shape.dtype}; files: {stored}"


def _measured(found: Sequence[StageTime]) -> list[str]:
    lines = ["Time, from a sample of each stage (range: its fastest and its slowest):"]
    for stage in found:
        between = ""
        if stage.low != stage.high:
            between = f" ({duration(stage.low)} to {duration(stage.high)})"
        lines.append(f"   {stage.stage}: {duration(stage.seconds)}{between}; {stage.note}")
    total, low, high = (
        sum(getattr(stage, field) for stage in found) for field in ("seconds", "low", "high")
    )
    lines.append(
        f"In all about {duration(total)} ({duration(low)} to {duration(high)}). Nothing was stored."
    )
    return lines
