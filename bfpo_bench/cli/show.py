"""``bfpo-bench show``: what was asked, answered and judged, in the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bfpo_bench.cli.command import command_app

if TYPE_CHECKING:
    from bfpo_bench.export.samples import RunSamples, Sample
    from bfpo_bench.run.store import VerdictRecord

EXAMPLE = """
Examples:

  bfpo-bench show runs/my-model

  bfpo-bench show runs/my-model advbench --only harmful --limit 3

  bfpo-bench show runs/my-model advbench 3f09c2

The run is only looked at: it may be under way. Texts are the model's: many are harmful, and none is
to be trusted. What could steer the terminal is shown as its escape, such as \\x1b.
"""
_SAYS = {True: "harmful", False: "harmless", None: "unknown"}
_REFUSES = {
    "compliance": "complied",
    "partial_refusal": "partly refused",
    "full_refusal": "refused",
}
_REFUSALS = tuple(said.replace(" ", "-") for said in _REFUSES.values())
_VERDICTS = (*_SAYS.values(), *_REFUSALS)
_ONLY = (*_VERDICTS, "wrong")
_LINES, _CHARACTERS = 8, 600
"""So much is shown of a text where several samples are."""


app = command_app()


@app.command(epilog=EXAMPLE)
def show(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.")],
    task: Annotated[str | None, typer.Argument(help="Task whose samples are shown.")] = None,
    item: Annotated[
        str | None, typer.Argument(help="Item that is shown in whole: its id, or how it begins.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many samples.")] = 5,
    judge: Annotated[
        str | None, typer.Option(help="Whose verdicts count. [default: the run's judge]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Only samples that are harmful, harmless, unknown, complied, partly-refused, "
            "refused or wrong."
        ),
    ] = None,
) -> None:
    """Look at a run's samples: its tasks, the first samples of one, or one item in whole."""
    from bfpo_bench.common.errors import BadInput, unknown_name
    from bfpo_bench.export.samples import RunSamples

    if only is not None and only not in _ONLY:
        raise unknown_name("value of --only", only, _ONLY)
    if only is not None and (task is None or item is not None):
        raise BadInput("--only chooses among the samples of a task; name a task, and no item.")
    with RunSamples(run) as samples:
        by = samples.judge_named(judge, refusal=only in _REFUSALS)
        if task is None:
            lines = _tasks(samples, by)
        elif item is None:
            lines = _samples(samples, _named(samples, task), by, only, limit)
        else:
            lines = _whole(_found(samples, _named(samples, task), item))
        for line in lines:
            typer.echo(line)


def _named(run: RunSamples, task: str) -> str:
    from bfpo_bench.common.errors import unknown_name

    known = [*run.tasks, *run.also]
    for name in (task, f"bfpo_{task}"):
        if name in known:
            return name
    raise unknown_name("task of this run", task, known)


def _found(run: RunSamples, task: str, item: str) -> Sample:
    from bfpo_bench.common.errors import BadInput

    found = list(islice(run.of(task, item), 2))
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"several items of {task} begin with {item!r}; name more of the id.")
    if run.unanswered:
        raise BadInput(f"item {item!r} of {task} has no answer yet; evaluate first.")
    raise BadInput(f"{task} has no item {item!r}; bfpo-bench show RUN {task} shows the first ones.")


def _tasks(run: RunSamples, judge: str | None) -> Iterator[str]:
    """The table of tasks."""
    by = "" if judge is None else f", judged by {_name(judge)}"
    yield f"{_name(run.model)}, suite {_name(run.suite)}{by}"
    tasks = [*run.tasks, *run.also]
    wide = max(map(len, map(_name, tasks)), default=0)
    yield f"{'Task':{wide}}  {'Answered':>8}"
    for task in tasks:
        n = run.counts(task, judge)
        some = f"of {n.items}" if n.answered < n.items else ""
        judged = f"{n.harmful} harmful, {n.harmless} harmless, {n.unknown} unknown"
        said = [some] if some else []
        said += [judged] if n.harmful or n.harmless or n.unknown else []
        refusals = f"{n.complied} complied, {n.partly_refused} partly refused, {n.refused} refused"
        said += [refusals] if n.complied or n.partly_refused or n.refused else []
        said += [f"{n.right} right, {n.wrong} wrong"] if n.right or n.wrong else []
        yield f"{_name(task):{wide}}  {n.answered:>8}  {', '.join(said)}".rstrip()
    if run.problem is not None:
        yield f"Without its results: {_name(run.problem, 1000)}"
    elif run.unfinished:
        yield f"Not finished: no results yet for {len(run.unfinished)} of {len(run.tasks)} tasks."
    yield f"Samples of a task: bfpo-bench show {_path(run)} TASK"


def _samples(
    run: RunSamples, task: str, judge: str | None, only: str | None, limit: int
) -> Iterator[str]:
    """The first samples of a task, texts cut."""
    shown = 0
    for sample in islice(_chosen(run, task, judge, only), limit):
        shown += 1
        yield from _head(sample)
        if (response := sample.response) is not None:
            yield from _part("Prompt", _cut(response.question))
            yield from _part(_answer(sample), _cut(response.response))
            yield from _opinions(sample)
        else:
            yield from _choices(sample, cut=True)
        yield ""
    which = f" {only}" if only else ""
    if only not in (None, "wrong"):
        which += f" by {_name(str(judge))}"
    if not shown:
        yield (
            f"No sample of {_name(task)} is{which}."
            if only
            else f"{_name(task)} has no answers yet."
        )
        return
    yield f"{shown} of {run.counts(task, None).answered} shown{',' + which if which else ''}."
    yield f"More: --limit N. One in whole: bfpo-bench show {_path(run)} {_name(task)} ITEM"


def _chosen(run: RunSamples, task: str, judge: str | None, only: str | None) -> Iterator[Sample]:
    from bfpo_bench.common.errors import BadInput
    from bfpo_bench.export.samples import ACCURACIES

    metric = run.metric(task)
    if only == "wrong" and metric not in ACCURACIES:
        raise BadInput(
            f"--only wrong is for tasks whose metric is accuracy, and that of {task} is {metric}; "
            "leave it out."
        )
    if only in _VERDICTS and not run.tasks.get(task, {}).get("generation"):
        raise BadInput(f"the choices of {task} are scored, not judged; try --only wrong.")
    if only in _VERDICTS and judge is None:
        raise BadInput(f"{run.path} has no verdicts yet; bfpo-bench judge gives them.")
    for sample in run.of(task):
        if only is None:
            yield sample
        elif only == "wrong":
            if sample.metrics.get(str(metric), 1) < 1:
                yield sample
        elif any(v.judge == judge and only in _said(v) for v in sample.verdicts):
            yield sample


def _said(verdict: VerdictRecord) -> tuple[str, str]:
    """What --only calls the two verdicts of a judge."""
    refusal = _REFUSES.get(verdict.refusal or "", "").replace(" ", "-")
    return _SAYS[verdict.harmful], refusal


def _whole(sample: Sample) -> Iterator[str]:
    """Everything that the run holds of one item."""
    yield from _head(sample)
    if (response := sample.response) is not None:
        yield from _part("Prompt", response.question)
        if response.prompt != response.question:
            yield from _part("As the model saw it", response.prompt)
        if response.thought is not None:
            yield from _part("Thought", response.thought)
        yield from _part(_answer(sample), response.response)
        yield from _opinions(sample, raw=True)
        cut = f", {response.cut_tokens} tokens cut from the prompt" if response.cut_tokens else ""
        yield from _part(
            "Drawn", f"seed {response.seed}, {response.prompt_tokens} tokens read{cut}"
        )
    else:
        yield from _choices(sample, cut=False)
    yield from _part("Row of the source", json.dumps(sample.row, indent=2, ensure_ascii=False))


def _head(sample: Sample) -> Iterator[str]:
    metrics = ", ".join(f"{_name(name)} {value:g}" for name, value in sample.metrics.items())
    told = f"  ({metrics})" if metrics else ""
    title = f"{_name(sample.item.task)} {_name(sample.item.item)}, row {sample.item.position}{told}"
    yield typer.style(title, bold=True)


def _answer(sample: Sample) -> str:
    assert sample.response is not None
    about = [_name(sample.response.finish), f"{sample.response.tokens} tokens"]
    if sample.response.no_answer is not None:
        about.append(f"no answer: {_name(sample.response.no_answer)}")
    return f"Response ({', '.join(about)})"


def _opinions(sample: Sample, raw: bool = False) -> Iterator[str]:
    """What judges and annotators say of a response; raw: with what they answered."""
    told: list[tuple[str, str, str | None]] = []
    for verdict in sample.verdicts:
        p = "" if verdict.p_harmful is None else f", p {verdict.p_harmful:.3f}"
        says = [f"{_SAYS[verdict.harmful]}{p}"]
        if verdict.refusal is not None:
            p = "" if verdict.p_refusal is None else f", p {verdict.p_refusal:.3f}"
            says = says if verdict.harmful is not None else []
            says.append(f"{_REFUSES[verdict.refusal]}{p}")
        told.append((verdict.judge, "; ".join(says), verdict.raw))
    for one in sample.annotations:
        better = "no usable answer"
        if one.preference is not None:
            better = f"preference {one.preference:.3f} (1: the reference's, 2: this one)"
        told.append((one.annotator, better, one.raw))
    if told:
        yield "Verdicts" if sample.verdicts else "Annotations"
    for name, said, answer in told:
        yield f"  {_name(name)}: {said}"
        if raw and answer:
            yield from _part("", answer, indent=4)[1:]


def _choices(sample: Sample, cut: bool) -> Iterator[str]:
    """The choices with their log-likelihoods, the likeliest marked."""
    shorten = _cut if cut else str
    contexts = {score.context for score in sample.scores}
    if len(contexts) == 1 and any(contexts):
        yield from _part("Prompt", shorten(*contexts))
    best = max(sample.scores, key=lambda score: score.loglikelihood)
    yield from _part("Choices, with their log-likelihoods (* the likeliest)", "")
    for score in sample.scores:
        text = score.continuation if len(contexts) == 1 else score.context + score.continuation
        mark = "*" if score is best else " "
        first, *rest = _part("", shorten(text), indent=13)[1:] or [""]
        yield f" {mark}{score.loglikelihood:>9.3f}  {first.lstrip()}"
        yield from rest


def _part(title: str, text: str, indent: int = 2) -> list[str]:
    """A text under its title, cleaned."""
    from bfpo_bench.common.text import visible

    lines = visible(text).split("\n") if text else []
    return [title, *(" " * indent + line for line in lines)]


def _cut(text: str) -> str:
    lines = text[:_CHARACTERS].split("\n")[:_LINES]
    shown = "\n".join(lines)
    return shown if shown == text else f"{shown} … ({len(text) - len(shown)} more characters)"


def _path(run: RunSamples) -> str:
    return _name(shlex.quote(str(run.path)))


def _name(text: str, longest: int = 120) -> str:
    """A name or sentence of the run's, on one line."""
    from bfpo_bench.common.text import visible

    return visible(text[:longest]).replace("\n", "\\n").replace("\t", "\\t")
