"""Every figure that needs a GPU, in one run of at most eight minutes on one of them.

Random weights of a 7B shape are drawn once and shared by all parts. Each part is a benchmark of
this folder in a process of its own, and its page is written as it ends, so that a run that is cut
off loses the part that was under way and no other. A part may take its own time and what the parts
before it have left of theirs; a contender that it does not suffice for is left out of its page, by
name. What has become of each part is said at the end. ``benchmarks/gpu.sh`` runs this::

    benchmarks/gpu.sh --output pages
    benchmarks/gpu.sh --model tiny --device cpu     # a rehearsal
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.engines import DENSE, HF, OURS, UNSHARED, VLLM
from benchmarks.pages import RESULTS
from benchmarks.random_models import MODELS, SHAPES

GRACE = 10.0
"""Seconds that a part gets, after those it knows of, to write its page."""

TASKS = ("crows_pairs", "winogrande", "ethics_cm", "bbq_lite")
"""What is scored: short texts and long ones, that have much in common and little."""

LONG_TASKS = ("bbq_lite", "hhh_alignment")
"""What attentions are compared on."""


DTYPES = {"cuda": "bfloat16", "cpu": "float32"}

AMOUNTS = {
    # Enough to fill a GPU for some seconds each.
    "cuda": {
        "scored": "--limit 400 --harness-batch 32",
        "trained": "--updates 4 --per-update 16 --at-once 4 --losses dpo bfpo --bf16 "
        "--checkpointing",
        "generated": "--prompts 512 --new-tokens 128 --mean-tokens 60 --batch 128 --repeats 2",
    },
    # A rehearsal.
    "cpu": {
        "scored": "--limit 3 --harness-batch 4",
        "trained": "--updates 2 --per-update 4 --at-once 2 --losses dpo bfpo",
        "generated": "--prompts 6 --new-tokens 8 --mean-tokens 6 --batch 4 --repeats 1",
    },
}
"""How much is asked, as options of the parts."""


@dataclass(frozen=True)
class Part:
    """One page, or what the pages need.

    Attributes:
        name: in what is said about it.
        module: of this folder, that is run.
        seconds: that it may take.
        arguments: of the module.
        lacks: packages that are not installed and without which there is nothing to measure.
        told: whether the module is told by when it has to have its page.
    """

    name: str
    module: str
    seconds: float
    arguments: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    told: bool = True


def parts(options: argparse.Namespace) -> list[Part]:
    """What is run, in its order: what a stop must not cost comes first."""
    little, dtype = AMOUNTS[options.device], DTYPES[options.device]
    place = ("--models", str(options.models))
    page = ("--output", str(options.output))
    common = ("--model", options.model, "--device", options.device, *place, *page)
    scored = (*common, "--dtype", dtype, "--repeats", "1", *little["scored"].split())
    generated = (*common, "--dtype", dtype, *little["generated"].split())
    pairs = () if options.pairs is None else ("--data", str(options.pairs))
    trained = (*common, *pairs, "--layers", "mlp.down_proj", *little["trained"].split())

    def lacks(*packages: str) -> tuple[str, ...]:
        return tuple(one for one in packages if one in options.without or find_spec(one) is None)

    engines = [HF, *([] if lacks("vllm") else [VLLM]), OURS]
    trl = ("--without-trl",) if lacks("trl") else ()
    ours = (UNSHARED, DENSE, OURS)
    scoring, generation = "benchmarks.scoring", "benchmarks.generation"
    weights = ("--model", options.model, "--dtype", dtype, *place)
    on_vllm = (*generated, "--backend", "vllm")
    long = (*scored, "--tasks", *LONG_TASKS, "--engines", *ours, "--suffix=-attention")
    return [
        Part("weights", "benchmarks.random_models", 60, weights, told=False),
        Part("scoring", scoring, 120, (*scored, "--tasks", *TASKS, "--engines", *engines)),
        Part("training", "benchmarks.training", 120, (*trained, *trl)),
        Part("generation on vllm", generation, 70, on_vllm, lacks("vllm")),
        Part("attention", scoring, 60, long),
        Part("generation on hf", generation, 50, (*generated, "--backend", "hf")),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the parts; 1 where one of them has failed."""
    options = _parser().parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    options.output.mkdir(parents=True, exist_ok=True)
    waiting = parts(options)
    if options.only:
        waiting = [part for part in waiting if part.name in ("weights", *options.only)]
    said: list[str] = []
    failed = False
    while waiting:
        part = waiting.pop(0)
        # What those before it have left of their time is its own, too.
        seconds = end - time.monotonic() - sum(one.seconds for one in waiting if not one.lacks)
        if part.lacks:
            said.append(f"{part.name}: left out, as {' and '.join(part.lacks)} is not installed")
            continue
        before = _pages(options.output)
        begin = time.monotonic()
        outcome = run(part, max(seconds, min(part.seconds, end - begin)))
        took = time.monotonic() - begin
        new = [page for page, at in _pages(options.output).items() if before.get(page) != at]
        pages = "".join(f", {page}" for page in new)
        said.append(f"{part.name}: {outcome or 'done'} after {took:.0f} s{pages}")
        failed = failed or bool(outcome)
        print(f"== {said[-1]}", flush=True)
    print("\n".join(["", f"{'What became of the parts':=^60}", *said]))
    return int(failed)


def run(part: Part, seconds: float) -> str:
    """Runs a part in a process of its own; what went wrong, "" if nothing did."""
    if seconds <= 2 * GRACE:
        return "no time was left"
    words = [sys.executable, "-m", part.module, *part.arguments]
    if part.told:
        words += ["--seconds", f"{seconds - GRACE:.0f}"]
    # Its own processes end with it: a GPU that one of them holds is nobody else's.
    process = subprocess.Popen(words, start_new_session=True)
    try:
        code = process.wait(seconds)
        return f"failed (exit code {code}, see above)" if code else ""
    except subprocess.TimeoutExpired:
        return "ran out of time"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _pages(folder: Path) -> dict[Path, int]:
    return {page: page.stat().st_mtime_ns for page in sorted(folder.glob("*.md"))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=list(SHAPES), default="7b", help="shape of the random weights")
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--minutes", type=float, default=8.0, help="that all parts may take together")
    add("--only", nargs="+", default=[], metavar="PART", help="names of parts; default: all")
    add("--without", nargs="*", default=[], help="packages that are taken as not installed")
    add("--pairs", type=Path, help="file of preference pairs; default: of BFPO_DATA_DIR")
    add("--output", type=Path, default=RESULTS, help="folder of the pages")
    add("--models", type=Path, default=MODELS, help="folder of the weights: 15 GB for 7b")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
