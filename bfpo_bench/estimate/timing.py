"""A short timed sample of each stage, extrapolated to the whole run. Stores nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bfpo_bench.also.task import AlsoTask
from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.protocol import Engine, GenerateRequest, NonFiniteLogits, ScoreRequest
from bfpo_bench.estimate.memory import BATCH
from bfpo_bench.evaluation.resolve import Evaluation
from bfpo_bench.judges import Exchange, Judge
from bfpo_bench.tasks.requests import Asked, Task

SCORE_SECONDS = 20.0
"""About the longest that timing the scoring may take."""

RESPONSE_SECONDS = 20.0
"""About the longest that one sample of generation may take; longer responses are cut short."""

PILOT_TOKENS, PILOT_PROMPTS, PILOT_SECONDS = 8, 16, 2.0
"""A first look at generation; where it takes less, more prompts are answered at a time."""

SAMPLES = 3
"""Timed samples of each stage; their spread is the uncertainty."""

SAMPLE_SECONDS = 1.0
"""Samples of judging grow until one takes so long."""


@dataclass(frozen=True)
class StageTime:
    """The time of one stage, extrapolated.

    Attributes:
        stage: ``"load model"``, ``"score"``, ``"respond"``, ``"load judge"`` or ``"judge"``.
        seconds: expected for the whole run.
        low, high: the same by the fastest and by the slowest sample.
        note: what was timed.
    """

    stage: str
    seconds: float
    low: float
    high: float
    note: str


def measure(
    evaluation: Evaluation, planned: Sequence[Task | AlsoTask], progress: Progress
) -> list[StageTime]:
    """Loads target and judge, one after the other, and times a sample of each stage.

    Returns:
        the stages in their order.

    Raises:
        BadInput, RunFailed: what an evaluation would end with.
    """
    found = []
    target = evaluation.target
    scored = [task for task in planned if task.scores]
    suite = [task for task in planned if isinstance(task, Task)]
    judged = [task for task in suite if task.judged]
    # Apart: they are longer or shorter, and no judge sees them.
    apart: dict[str, Sequence[Asked]] = {
        "respond to Alpaca": [task for task in suite if task.annotated],
        "respond to lm-eval's tasks": [
            task for task in planned if isinstance(task, AlsoTask) and task.prompts
        ],
    }
    exchanges: list[Exchange] = []
    longer = 1.0
    begin = time.perf_counter()
    with progress.stage(f"loading {target.name} ({target.backend})"):
        engine = target.open(planned)
    try:
        found.append(_load("load model", begin))
        if scored:
            with progress.stage("timing a sample of scoring"):
                found.append(_score(engine, scored))
        if judged:
            with progress.stage("timing a sample of generation"):
                time_spent, exchanges, longer = _respond(engine, judged, _at_a_time(evaluation))
            found.append(time_spent)
        for stage, some in apart.items():
            if some:
                with progress.stage("timing a sample of other responses"):
                    time_spent, _, _ = _respond(engine, some, _at_a_time(evaluation))
                found.append(replace(time_spent, stage=stage))
    finally:
        engine.close()
    suite = [task for task in planned if isinstance(task, Task)]
    for _, chosen, some in evaluation.judges.asked(suite):
        if not some:
            continue
        begin = time.perf_counter()
        with chosen.opened(progress) as judge:
            found.append(_load("load judge", begin))
            total = sum(len(task.prompts) for task in some)
            with progress.stage("timing a sample of verdicts"):
                found.append(_judge(judge, exchanges, total, longer))
    return found


def _load(stage: str, begin: float) -> StageTime:
    seconds = time.perf_counter() - begin
    return StageTime(stage, seconds, seconds, seconds, "timed whole")


def _at_a_time(evaluation: Evaluation) -> int:
    """Responses under way at a time, as many as a run would have."""
    if evaluation.target.backend == "openai":
        return 2 * evaluation.options.concurrency
    return evaluation.options.loading.batch_size or BATCH[evaluation.target.backend]


# ---------------------------------------------------------------------- scoring


def _score(engine: Engine, tasks: Sequence[Asked]) -> StageTime:
    """Times blocks of neighbouring questions of each task, as a run computes them together.

    Neighbours begin alike, and engines compute what they share once: questions from all over
    would seem slower than they are.
    """
    questions = 4

    def blocks(sample: int) -> tuple[float, int, float]:
        """Seconds and choices of a block of each task, and seconds of all tasks by them."""
        spent, asked, whole = 0.0, 0, 0.0
        for task in tasks:
            block = _block(task.scores, questions, sample)
            begin = time.perf_counter()
            with _broken_model_is_told():
                for batch in engine.score(block):
                    if any(not math.isfinite(answer.loglikelihood) for _, answer in batch):
                        raise NonFiniteLogits(batch[0][0])
            seconds = time.perf_counter() - begin
            spent, asked = spent + seconds, asked + len(block)
            whole += seconds * len(task.scores) / len(block)
        return spent, asked, whole

    blocks(0)  # to warm up
    pilot, _, _ = blocks(0)
    affordable = questions * SCORE_SECONDS / SAMPLES / max(pilot, 1e-6)
    questions = max(questions, min(512, int(affordable)))
    rounds = [blocks(sample) for sample in range(SAMPLES)]
    wholes = [whole for _, _, whole in rounds]
    total, asked = sum(len(task.scores) for task in tasks), rounds[0][1]
    return StageTime(
        "score",
        sum(wholes) / SAMPLES,
        min(wholes),
        max(wholes),
        f"{total:,} choices, timed {SAMPLES} × {asked} in blocks of each task",
    )


def _block(scores: Sequence[ScoreRequest], questions: int, sample: int) -> list[ScoreRequest]:
    """All choices of so many neighbouring questions, or of as many as there are."""
    choices = 1
    while choices < len(scores) and scores[choices].group == scores[0].group:
        choices += 1
    wanted = min(len(scores), questions * choices)
    first = round((len(scores) - wanted) * sample / max(1, SAMPLES - 1))
    while first > 0 and scores[first - 1].group == scores[first].group:
        first -= 1
    last = min(len(scores), first + wanted)
    while last < len(scores) and scores[last].group == scores[last - 1].group:
        last += 1
    return [scores[i] for i in range(first, last)]


# ------------------------------------------------------------------- generation


def _respond(
    engine: Engine, tasks: Sequence[Asked], at_a_time: int
) -> tuple[StageTime, list[Exchange], float]:
    """The stage's time, the sampled exchanges, and how many times longer responses may get."""
    counts = [len(task.prompts) for task in tasks]
    most_at_a_time = min(at_a_time, max(counts))
    size = min(PILOT_PROMPTS, most_at_a_time)
    limit = max(task.prompts[0].sampling.max_new_tokens for task in tasks)
    exchanges: list[Exchange] = []

    def run(sample: int, most: int) -> float:
        prompts: list[GenerateRequest] = []
        questions: list[str] = []
        for place, index in spread(counts, size, sample):
            prompt, sampling = tasks[place].prompts[index], tasks[place].prompts[index].sampling
            new = min(most, sampling.max_new_tokens)
            prompts.append(replace(prompt, sampling=replace(sampling, max_new_tokens=new)))
            questions.append(tasks[place].questions[index])
        begin = time.perf_counter()
        with _broken_model_is_told():
            answers = [pair for batch in engine.respond(prompts) for pair in batch]
        exchanges.extend(Exchange(questions[i], answer.text) for i, answer in answers)
        return time.perf_counter() - begin

    run(0, PILOT_TOKENS)  # to warm up
    pilot = run(0, PILOT_TOKENS)
    while size < most_at_a_time and pilot < PILOT_SECONDS:
        size = min(most_at_a_time, 4 * size)
        pilot = run(0, PILOT_TOKENS)
    exchanges.clear()
    affordable = int(PILOT_TOKENS * RESPONSE_SECONDS / max(pilot, 1e-6))
    most = min(limit, max(PILOT_TOKENS, affordable))
    found = extrapolate(
        "respond",
        "responses",
        sum(counts),
        [(run(sample, most), size) for sample in range(SAMPLES)],
    )
    longer = limit / most
    return at_most(found, longer, f", cut at {most} of {limit} new tokens"), exchanges, longer


# ---------------------------------------------------------------------- judging


def _judge(judge: Judge, exchanges: Sequence[Exchange], total: int, longer: float) -> StageTime:
    def run(size: int, sample: int) -> int:
        start = sample * size
        judge.judge([exchanges[(start + i) % len(exchanges)] for i in range(size)])
        return size

    found = extrapolate("judge", "verdicts", total, time_samples(run, min(4, total), total))
    return at_most(found, longer, " of responses that were cut")


@contextmanager
def _broken_model_is_told() -> Iterator[None]:
    try:
        yield
    except NonFiniteLogits:
        raise RunFailed(
            "the model gave NaN logits in the sample; its weights are damaged or its numbers "
            "overflow (try --dtype float32 or bfloat16)."
        ) from None


# ---------------------------------------------------------------------- samples


def spread(counts: Sequence[int], size: int, sample: int) -> list[tuple[int, int]]:
    """Places at equal distances in several lists that are laid end to end.

    Args:
        counts: lengths of the lists.
        size: how many places.
        sample: 0 to ``SAMPLES - 1``; each has places of its own.

    Returns:
        (number of the list, index in it) of each place.
    """
    total = sum(counts)
    found = []
    for step in range(size):
        position = int((step + (sample + 0.5) / SAMPLES) * total / size)
        for place, count in enumerate(counts):
            if position < count:
                found.append((place, position))
                break
            position -= count
    return found


def time_samples(run: Callable[[int, int], int], size: int, most: int) -> list[tuple[float, int]]:
    """Seconds and requests of each sample, once samples are large enough to be timed.

    Args:
        run: does the work of a sample of a size; returns the number of its requests.
        size: to begin with.
        most: larger samples than that are pointless.
    """

    def timed(sample: int) -> tuple[float, int]:
        begin = time.perf_counter()
        requests = run(size, sample)
        return time.perf_counter() - begin, requests

    timed(0)  # to warm up
    while True:
        spent, _ = timed(0)
        if spent >= SAMPLE_SECONDS or size >= most:
            break
        size = min(most, math.ceil(size * min(8.0, 1.2 * SAMPLE_SECONDS / max(spent, 1e-6))))
    return [timed(sample) for sample in range(SAMPLES)]


def extrapolate(
    stage: str, unit: str, total: int, samples: Sequence[tuple[float, int]]
) -> StageTime:
    """The time of a whole stage from its timed samples.

    Args:
        unit: what its requests are called.
        total: requests of the stage.
        samples: (seconds, requests) of each.
    """
    seconds, requests = (sum(values) for values in zip(*samples, strict=True))
    each = [spent / count for spent, count in samples]
    rate = requests / seconds
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    return StageTime(
        stage,
        seconds=total / rate,
        low=total * min(each),
        high=total * max(each),
        note=f"{total:,} {unit} at {shown}/s, timed {len(samples)} × {requests // len(samples)}",
    )


def at_most(found: StageTime, longer: float, why: str) -> StageTime:
    """The same where the whole run's requests may take so many times longer than the sample's."""
    if longer <= 1:
        return found
    high = found.high * longer
    return replace(found, seconds=(found.low + high) / 2, high=high, note=found.note + why)
