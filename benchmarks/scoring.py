"""Scoring speed side by side: lm-eval's `hf` and `vllm` models and ours, on the suite's own items.

All engines get the same texts and the same weights, in one run, on one machine; a Markdown page
goes to ``benchmarks/results``. For example::

    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model tiny --limit 300 --repeats 3
    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model 0.5b --limit 10 --harness-batch 8
    python -m benchmarks.scoring --model 7b --device cuda --dtype bfloat16 --limit 500 \\
        --engines "lm-eval hf" "lm-eval vllm" ours
    python -m benchmarks.scoring --limit 100 --engines "ours, nothing shared" "ours, dense mask" \\
        ours --suffix=-attention
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import scoring_report
from benchmarks.contender import Contender, OutOfTime
from benchmarks.counting import count, load
from benchmarks.engines import HF, KINDS, OURS, Ready, Setup, Timing, serve
from benchmarks.items import Asked, read_items
from benchmarks.matrix_rate import matrix_rate
from benchmarks.pages import head, left_out, model_name, real_data, run
from benchmarks.random_models import MODELS, SHAPES, make_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    return run("scoring", arguments, _parser(), measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Runs the engines.

    Args:
        options: what was asked for.
        command: as which words; the page repeats them.

    Returns:
        the page's name and its text.
    """
    asked = read_items(options.tasks, options.data_dir, options.limit, options.seed, options.first)
    every = [(r.context, r.continuation) for task in asked for r in task.requests]
    model = Path(options.model)
    if options.model in SHAPES:
        texts = [context + continuation for context, continuation in every]
        model = make_model(options.model, options.models, texts, options.dtype)
    config, tokenizer = load(model)
    kinds = list(options.engines)
    setups = [
        Setup(
            kind=kind,
            model=model,
            device=options.device,
            dtype=options.dtype,
            harness_batch=options.harness_batch,
            memory=int(options.memory * 2**30),
            longest=max(every, key=lambda pair: len(pair[0]) + len(pair[1])),
        )
        for kind in kinds
    ]
    rate = matrix_rate(options.device, options.dtype)
    taking = _one_after_another if options.device == "cuda" else _in_turns
    ready, timings = taking(setups, asked, options.repeats, options.until)
    if not timings:
        raise OutOfTime(f"{options.seconds:g} s do not suffice for {kinds[0]!r} alone.")
    measured = []
    for number, task in enumerate(asked):
        counted = count(tokenizer, task.requests)
        measured.append(
            scoring_report.Measured(
                asked=task,
                count=counted,
                operations=counted.operations(config),
                timings={kind: some[number] for kind, some in timings.items()},
            )
        )
    name = model.name if options.model not in SHAPES else options.model
    facts = {
        "Model": f"{name}{' (random weights)' if options.model in SHAPES else ''}, "
        f"{options.dtype} on {options.device}",
        "Items": f"{'first' if options.first else 'random'} {options.limit or 'all'} per task",
        "Matrix products": f"{rate / 1e9:,.0f} GFLOP/s in {options.dtype}",
    }
    top = head(f"Scoring: {name} on {options.device}", command, facts)
    late = left_out(kind for kind in kinds if kind not in timings)
    page = scoring_report.page([*top, *late], measured, ready, rate)
    return f"scoring-{name}-{options.device}", page


Runs = tuple[dict[str, Ready], dict[str, list[list[Timing]]]]


def _in_turns(setups: Sequence[Setup], asked: Sequence[Asked], repeats: int, until: float) -> Runs:
    """All engines at once in memory, taking turns task by task: noise hits them alike."""
    timings: dict[str, list[list[Timing]]] = {s.kind: [[] for _ in asked] for s in setups}
    engines: list[Contender] = []
    try:
        for setup in setups:
            engines.append(Contender(setup.kind, serve, setup, until))
        _warm_up(engines, asked)
        for repeat in range(repeats):
            for number, task in enumerate(asked):
                # Each goes first as often as the others.
                turn = (repeat + number) % len(engines)
                for engine in engines[turn:] + engines[:turn]:
                    _note(timings, engine, number, task)
        return {engine.kind: engine.ready for engine in engines}, timings
    finally:
        for engine in engines:
            engine.close()


def _one_after_another(
    setups: Sequence[Setup], asked: Sequence[Asked], repeats: int, until: float
) -> Runs:
    """One engine at a time: a GPU's memory is one's alone, and vLLM takes most of it.

    Those that time does not suffice for, and those after them, are left out.
    """
    timings: dict[str, list[list[Timing]]] = {}
    ready = {}
    for setup in setups:
        own: dict[str, list[list[Timing]]] = {setup.kind: [[] for _ in asked]}
        try:
            engine = Contender(setup.kind, serve, setup, until)
            try:
                _warm_up([engine], asked)
                for _ in range(repeats):
                    for number, task in enumerate(asked):
                        _note(own, engine, number, task)
            finally:
                engine.close()
        except OutOfTime as error:
            print(error, file=sys.stderr)
            break
        ready[setup.kind] = engine.ready
        timings |= own
    return ready, timings


def _warm_up(engines: Sequence[Contender], asked: Sequence[Asked]) -> None:
    """What only the first call of a process pays for, and no run of a suite would notice."""
    texts = [(r.context, r.continuation) for task in asked for r in task.requests[:2]]
    for engine in engines:
        engine.ask(texts)


def _note(
    timings: dict[str, list[list[Timing]]], engine: Contender, number: int, task: Asked
) -> None:
    timing: Timing = engine.ask([(r.context, r.continuation) for r in task.requests])
    timings[engine.kind][number].append(timing)
    print(f"{task.name:26} {engine.kind:13} {timing.seconds:9.2f} s", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        type=model_name,
        default="tiny",
        help=f"{', '.join(SHAPES)} (random weights), smollm2 (a real one) or a folder",
    )
    add("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--tasks", nargs="*", default=[], help="names of scored tasks; all of them by default")
    add("--limit", type=int, help="items per task; all by default")
    add("--first", action="store_true", help="the first items of a task, not random ones")
    add("--seed", type=int, default=0, help="decides which items are drawn")
    add("--repeats", type=int, default=3)
    add(
        "--engines",
        nargs="+",
        default=[HF, OURS],
        choices=KINDS,
        metavar="ENGINE",
        help=f"compared with the first of them: {', '.join(KINDS)}",
    )
    add("--harness-batch", default="auto", help="batch size of lm-eval's hf model")
    add("--memory", type=float, default=_half_of_memory(), help="GiB that a CPU engine may hold")
    add("--data-dir", type=Path, default=real_data(), help="default: BFPO_DATA_DIR")
    add("--models", type=Path, default=MODELS)
    return parser


def _half_of_memory() -> float:
    import psutil

    return float(psutil.virtual_memory().available) / 2**31


if __name__ == "__main__":
    raise SystemExit(main())
