"""Scoring speed side by side: lm-eval's `hf` and `vllm` models and ours, on the suite's own items.

All engines get the same texts and the same weights, in one run, on one machine; a Markdown page
goes to ``benchmarks/results``. For example::

    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model tiny --limit 300 --repeats 3
    OMP_NUM_THREADS=2 python -m benchmarks.scoring --model 0.5b --limit 10 --harness-batch 8
    python -m benchmarks.scoring --model 7b --device cuda --dtype bfloat16 --limit 500 --vllm
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import scoring_report
from benchmarks.counting import count, load
from benchmarks.engines import KINDS, EngineProcess, Ready, Setup, Timing
from benchmarks.items import Asked, read_items
from benchmarks.matrix_rate import matrix_rate
from benchmarks.random_models import SHAPES, make_model
from bfpo_bench.errors import BenchError

RESULTS = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints where it is."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        target = measure(options, f"python -m benchmarks.scoring {shlex.join(given)}")
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(target.read_text(encoding="utf-8"))
    print(f"written to {target}")
    return 0


def measure(options: argparse.Namespace, command: str) -> Path:
    """Runs the engines and writes the page.

    Args:
        options: what was asked for.
        command: as which words; the page repeats them.

    Returns:
        the page's path.
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
    run = _one_after_another if options.device == "cuda" else _in_turns
    ready, timings = run(setups, asked, options.repeats)
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
        "Date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "Command": f"`{command}`",
        "Model": f"{name}{' (random weights)' if options.model in SHAPES else ''}, "
        f"{options.dtype} on {options.device}",
        "Items": f"{'first' if options.first else 'random'} {options.limit or 'all'} per task",
        **scoring_report.machine(),
        "Threads": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}, "
        f"load of the machine {os.getloadavg()[1]:.1f}",
        "Matrix products": f"{rate / 1e9:,.0f} GFLOP/s in {options.dtype}",
    }
    page = scoring_report.page(f"Scoring: {name} on {options.device}", facts, measured, ready, rate)
    options.output.mkdir(parents=True, exist_ok=True)
    target: Path = options.output / f"scoring-{name}-{options.device}{options.suffix}.md"
    target.write_text(page, encoding="utf-8")
    return target


Runs = tuple[dict[str, Ready], dict[str, list[list[Timing]]]]


def _in_turns(setups: Sequence[Setup], asked: Sequence[Asked], repeats: int) -> Runs:
    """All engines at once in memory, taking turns task by task: noise hits them alike."""
    timings: dict[str, list[list[Timing]]] = {s.kind: [[] for _ in asked] for s in setups}
    engines: list[EngineProcess] = []
    try:
        for setup in setups:
            engines.append(EngineProcess(setup))
        _warm_up(engines, asked)
        for repeat in range(repeats):
            for number, task in enumerate(asked):
                # Each goes first as often as the others.
                turn = (repeat + number) % len(engines)
                for engine in engines[turn:] + engines[:turn]:
                    _note(timings, engine, number, task)
        return {engine.setup.kind: engine.ready for engine in engines}, timings
    finally:
        for engine in engines:
            engine.close()


def _one_after_another(setups: Sequence[Setup], asked: Sequence[Asked], repeats: int) -> Runs:
    """One engine at a time: a GPU's memory is one's alone, and vLLM takes most of it."""
    timings: dict[str, list[list[Timing]]] = {s.kind: [[] for _ in asked] for s in setups}
    ready = {}
    for setup in setups:
        engine = EngineProcess(setup)
        try:
            ready[setup.kind] = engine.ready
            _warm_up([engine], asked)
            for _ in range(repeats):
                for number, task in enumerate(asked):
                    _note(timings, engine, number, task)
        finally:
            engine.close()
    return ready, timings


def _warm_up(engines: Sequence[EngineProcess], asked: Sequence[Asked]) -> None:
    """What only the first call of a process pays for, and no run of a suite would notice."""
    texts = [(r.context, r.continuation) for task in asked for r in task.requests[:2]]
    for engine in engines:
        engine.score(texts)


def _note(
    timings: dict[str, list[list[Timing]]], engine: EngineProcess, number: int, task: Asked
) -> None:
    timing = engine.score([(r.context, r.continuation) for r in task.requests])
    timings[engine.setup.kind][number].append(timing)
    print(f"{task.name:26} {engine.setup.kind:13} {timing.seconds:9.2f} s", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="tiny", help=f"{', '.join(SHAPES)} (random weights) or a folder")
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
    add("--data-dir", type=Path, default=_data_dir(), help="default: BFPO_DATA_DIR")
    add("--models", type=Path, default=Path(tempfile.gettempdir()) / "bfpo-bench-models")
    add("--output", type=Path, default=RESULTS, help="folder of the page")
    add("--suffix", default="", help="ends the page's name")
    return parser


def _data_dir() -> Path | None:
    for candidate in (os.environ.get("BFPO_DATA_DIR"), RESULTS.parents[2] / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    return None


def _half_of_memory() -> float:
    import psutil

    return float(psutil.virtual_memory().available) / 2**31


if __name__ == "__main__":
    raise SystemExit(main())
