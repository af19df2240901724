"""Copies of a model on one machine: how much faster they are, and what kills cost them.

Speed: the same requests by one copy and by two, of one thread each, in turn. On a machine that
others use too, wall time says little; processor time says how long the slower copy computes, which
is what the run takes where every copy has a core of its own.

Kills: ``kill -9`` of a random copy at random moments of scoring, of labels and of responding.
Answers are compared with those of one undisturbed process, and what was begun with what was needed.
For example::

    python -m benchmarks.copies --model tiny --kills 30
    python -m benchmarks.copies --model smollm2 --kills 0
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.generation_setup import make_prompts, prepare_model
from benchmarks.pages import head, run, table
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, ScoreRequest, copies
from bfpo_bench.engines.cluster import connected
from bfpo_bench.engines.copied import CopiedEngine
from bfpo_bench.engines.open import open_copy
from bfpo_bench.engines.plan import Plan, PlannedEngine

Asked = dict[str, Callable[[PlannedEngine], Iterator[list[tuple[int, Any]]]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copies")
    parser.add_argument("--model", default="tiny", help="tiny, smollm2 or a checkpoint folder")
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of the speed")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    return run("copies", arguments, parser, measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Measures speed and kills; the page's name and its text."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = _model(options.model, folder)
        loading = EngineOptions(
            str(model), dtype="float32", device="cpu", batch_size=options.batch_size
        )
        lines = head(
            "Copies of a model on one machine: speed and kills",
            command,
            {"Model": f"{model.name}, float32", "Requests": f"{options.requests:,} of each kind"},
        )
        with connected(None, 3):
            if options.rounds:
                asked = _asked(options.requests, options.new_tokens)
                lines += _speed(loading, asked, options.rounds)
            if options.kills:
                lines += _kills(loading, options, folder)
    return f"copies-{model.name}-cpu", "\n".join(lines) + "\n"


def _model(name: str, folder: Path) -> Path:
    if name == "smollm2":
        from bfpo_bench.toy_world.smollm2 import cached_folder, make_smollm2

        return make_smollm2(cached_folder())
    return prepare_model(name, folder, make_prompts(500), "float32", 60)


def _asked(count: int, new_tokens: int) -> Asked:
    prompts = make_prompts(count)
    scores = [
        ScoreRequest(prompt, f" {choice}", number)
        for number, prompt in enumerate(prompts)
        for choice in ("yes", "no, not at all")
    ][:count]
    responses = [
        GenerateRequest(prompt, Sampling(new_tokens, 0.7), n) for n, prompt in enumerate(prompts)
    ]
    return {
        "scores": lambda engine: engine.score(scores),
        "labels": lambda engine: engine.label_batches(prompts, [5, 9]),
        "responses": lambda engine: engine.respond(responses),
    }


# -------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class _Took:
    """Seconds: on the clock; of the processor in the busiest copy, and in this process."""

    wall: float
    copy: float
    here: float


def _speed(loading: EngineOptions, asked: Asked, rounds: int) -> list[str]:
    took: dict[tuple[str, int], list[_Took]] = {}
    engines = {
        n: CopiedEngine(open_copy, "hf", replace(loading, data_parallel_size=n)) for n in (1, 2)
    }
    try:
        for _ in range(rounds):
            for what, ask in asked.items():
                for n, engine in engines.items():
                    took.setdefault((what, n), []).append(_timed(engine, ask))
    finally:
        for engine in reversed(engines.values()):
            engine.close()
    rows = []
    for what in asked:
        one, two = took[what, 1], took[what, 2]
        by = [
            statistics.median(
                getattr(a, name) / getattr(b, name) for a, b in zip(one, two, strict=True)
            )
            for name in ("wall", "copy")
        ]
        numbers = [
            *(statistics.median(t.wall for t in some) for some in (one, two)),
            *(statistics.median(t.copy for t in some) for some in (one, two)),
            statistics.median(t.here for t in two),
        ]
        rows.append((what, *(f"{n:.2f}" for n in numbers), *(f"{ratio:.2f} ×" for ratio in by)))
    columns = (
        *("", "s, 1 copy", "s, 2 copies", "processor s, 1 copy", "processor s, slower of 2"),
        *("processor s of the driver", "faster by the clock", "faster by the processor"),
    )
    return ["## Two copies of one thread against one", "", *table(columns, rows), ""]


def _timed(
    engine: PlannedEngine, ask: Callable[[PlannedEngine], Iterator[list[tuple[int, Any]]]]
) -> _Took:
    before = {process: _processor(process) for process in _workers()}
    wall, here = time.perf_counter(), time.process_time()
    for _ in ask(engine):
        pass
    wall, here = time.perf_counter() - wall, time.process_time() - here
    return _Took(wall, max(_processor(one) - used for one, used in before.items()), here)


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _workers() -> list[psutil.Process]:
    """Processes of copies of this program."""
    mine = psutil.Process().children(recursive=True)
    return [one for one in mine if "".join(_line(one)).startswith("ray::Copy")]


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


# -------------------------------------------------------------------------- kills


def _kills(loading: EngineOptions, options: argparse.Namespace, folder: Path) -> list[str]:
    copies.RESTARTS = options.kills
    # A kill costs a batch: so many of them that this is a twentieth or less.
    asked = _asked(options.kills * 16 * options.batch_size, options.new_tokens)
    alone = open_copy("hf", loading)
    assert isinstance(alone, PlannedEngine)
    whole = {what: dict(one for some in ask(alone) for one in some) for what, ask in asked.items()}
    alone.close()
    notes = folder / "notes"
    engine = CopiedEngine(partial(noted, notes), "hf", replace(loading, data_parallel_size=2))
    rng = random.Random(options.seed)
    rows = []
    each = [len(range(n, options.kills, len(asked))) for n in range(len(asked))]
    try:
        for kills, (what, ask) in zip(each, asked.items(), strict=True):
            notes.write_text("")
            needed = len(whole[what])
            # At so many answers heard.
            moments = sorted(rng.sample(range(1, needed * 9 // 10), kills))
            found: dict[int, Any] = {}
            begin = time.perf_counter()
            for some in ask(engine):
                found.update(some)
                if moments and len(found) >= moments[0] and (there := _workers()):
                    moments.pop(0)
                    rng.choice(there).kill()
            seconds = time.perf_counter() - begin
            begun = sum(map(int, notes.read_text().split()))
            rows.append(
                (
                    *(what, f"{needed:,}", str(kills - len(moments))),
                    "yes" if found == whole[what] else "NO",
                    f"{100 * (begun / needed - 1):.1f} %",
                    f"{seconds:.0f}",
                )
            )
    finally:
        engine.close()
    columns = ("", "requests", "kills", "equal to one process", "begun in vain", "seconds")
    return ["## kill -9 of two copies at random moments", "", *table(columns, rows), ""]


def noted(notes: Path, backend: str, options: EngineOptions) -> Any:
    """An engine that notes how many requests each batch holds that it begins."""
    engine: Any = open_copy(backend, options)

    def noting(plan: Callable[..., Plan[Any]], *arguments: Any) -> Plan[Any]:
        found = plan(*arguments)

        def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, Any]]]:
            for number in numbers:
                with notes.open("a") as file:
                    print(len(set(found.batches[number]) - known), file=file)
                yield from found.compute([number], known)

        return replace(found, compute=compute)

    for what in ("scores", "labels", "responses"):
        name = f"plan_{what}"
        setattr(engine, name, partial(noting, getattr(engine, name)))
    return engine


if __name__ == "__main__":
    raise SystemExit(main())
