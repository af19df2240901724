"""Scoring speed side by side: lm-eval's `hf` and `vllm` models and ours, on the suite's own items.

All engines get the same texts and the same weights, in one run, on one machine; a Markdown page
goes to ``benchmarks/results``. For example::

    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model tiny --limit 300 --repeats 3
    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model 0.5b --limit 10 --harness-batch 8
    python -m benchmarks.scoring --model 7b --device cuda --dtype bfloat16 --limit 500 --vllm
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import scoring_report
from benchmarks.contender import Contender
from benchmarks.counting import count, load
from benchmarks.engines import KINDS, Ready, Setup, Timing, serve
from benchmarks.items import Asked, read_items
from benchmarks.matrix_rate import matrix_rate
from benchmarks.pages import head, model_name, real_data, run
from benchmarks.random_models import SHAPES, make_model


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
    kinds = [kind for kind in KINDS if options.vllm or kind != "lm-eval vllm"]
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
    ready, timings = taking(setups, asked, options.repeats)
    measured = []
    for number, task in enumerate(asked):
        counted = count(tokenizer, task.requests)
        measured.append(
            scoring_report.Measured(
                asked=task,
                count=counted,
                operations=counted.operations(config),
                timings={kind: timings[kind][number] for kind in kinds},
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
    page = scoring_report.page(top, measured, ready, rate)
    return f"scoring-{name}-{options.device}", page


Runs = tuple[dict[str, Ready], dict[str, list[list[Timing]]]]


def _in_turns(setups: Sequence[Setup], asked: Sequence[Asked], repeats: int) -> Runs:
    """All engines at once in memory, taking turns task by task: noise hits them alike."""
    timings: dict[str, list[list[Timing]]] = {s.kind: [[] for _ in asked] for s in setups}
    engines: list[Contender] = []
    try:
        for setup in setups:
            engines.append(Contender(setup.kind, serve, setup))
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


def _one_after_another(setups: Sequence[Setup], asked: Sequence[Asked], repeats: int) -> Runs:
    """One engine at a time: a GPU's memory is one's alone, and vLLM takes most of it."""
    timings: dict[str, list[list[Timing]]] = {s.kind: [[] for _ in asked] for s in setups}
    ready = {}
    for setup in setups:
        engine = Contender(setup.kind, serve, setup)
        try:
            ready[setup.kind] = engine.ready
            _warm_up([engine], asked)
            for _ in range(repeats):
                for number, task in enumerate(asked):
                    _note(timings, engine, number, task)
        finally:
            engine.close()
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
    add("--vllm", action="store_true", help="compare with lm-eval's vllm model too")
    add("--harness-batch", default="auto", help="batch size of lm-eval's hf model")
    add("--memory", type=float, default=_half_of_memory(), help="GiB that a CPU engine may hold")
    add("--data-dir", type=Path, default=real_data(), help="default: BFPO_DATA_DIR")
    add("--models", type=Path, default=Path(tempfile.gettempdir()) / "bfpo-bench-models")
    return parser


def _half_of_memory() -> float:
    import psutil

    return float(psutil.virtual_memory().available) / 2**31


if __name__ == "__main__":
    raise SystemExit(main())
