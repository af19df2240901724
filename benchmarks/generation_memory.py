"""Peak memory of a whole evaluation against the number of prompts.

Each count is evaluated in a process of its own: data read, prompts written, responses stored,
judged by keyword, collected. The model is left out (an engine that echoes the prompt takes its
place), for its own memory does not depend on how many prompts there are. For example::

    python -m benchmarks.generation_memory --prompts 5000 50000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generation_setup import make_prompts, prepare_model, write_data, write_suite
from benchmarks.pages import head, run, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation_memory")
    parser.add_argument("--prompts", type=int, nargs="+", default=[5000, 50_000])
    return run("generation_memory", arguments, parser, measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Evaluates each number of prompts; the page's name and its text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = prepare_model("tiny", folder, make_prompts(500), "float32", 60)
        peaks = {count: _peak(folder / str(count), model, count) for count in options.prompts}
    first = min(peaks)
    title = "Peak memory of an evaluation, by number of prompts"
    engine = "an echo in the place of the model; judge: keyword"
    columns = (
        *("prompts", "peak MiB of the process", f"× {first:,}"),
        "of that: rows as they were read",
    )
    rows = [
        (
            *(f"{count:,}", f"{peak / 2**20:,.0f}", f"{peak / peaks[first][0]:.3f}"),
            f"{read / 2**20:,.0f}",
        )
        for count, (peak, read) in peaks.items()
    ]
    lines = [*head(title, command, {"Engine": engine}), *table(columns, rows, words=0)]
    return "generation-memory", "\n".join(lines) + "\n"


def _peak(folder: Path, model: Path, count: int) -> tuple[int, int]:
    """Peak resident bytes of an evaluation of so many prompts, and what reading them took."""
    folder.mkdir()
    write_data(folder / "data", make_prompts(count))
    write_suite(folder, 64)
    # By its name: __name__ is "__main__" here.
    module = "benchmarks.generation_memory"
    program = f"from {module} import evaluate; evaluate({str(folder)!r}, {str(model)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    peak, rows = done.stdout.split()[-2:]
    return int(peak), int(rows)


def evaluate(name: str, model: str) -> None:
    """Evaluates what `_peak` wrote; prints peak bytes of the process, and those of the rows."""
    import gc
    import tracemalloc
    from unittest import mock

    from bfpo_bench.data import load, load_source
    from bfpo_bench.engines import open as select
    from bfpo_bench.engines.options import Loading
    from bfpo_bench.evaluation.options import EvaluateOptions
    from bfpo_bench.evaluation.run import run_evaluation
    from bfpo_bench.tasks.alert import PLAIN

    folder = Path(name)
    options = EvaluateOptions(
        model=model,
        suite=str(folder / "generation.yaml"),
        data_dir=folder / "data",
        allow_unpinned=True,
        judge="keyword",
        loading=Loading(backend="hf"),
        output=folder / "run",
    )
    with mock.patch.object(select, "open_engine", return_value=_Echo()):
        results = run_evaluation(options)
    assert results.tasks["bfpo_alert"].n > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    # Measured last and apart, for tracing takes memory itself; what was read before is let go.
    load._load.cache_clear()
    gc.collect()
    tracemalloc.start()
    loaded = load_source(PLAIN, data_dir=folder / "data", allow_unpinned=True)
    assert loaded.rows
    print(tracemalloc.get_traced_memory()[0])


class _Echo:
    """Answers with the prompt, 128 at a time."""

    def respond(self, requests: Sequence[Any], done: Any = ()) -> Iterator[Any]:
        from bfpo_bench.engines import Response

        for begin in range(0, len(requests), 128):
            batch = range(begin, min(begin + 128, len(requests)))
            yield [(i, Response(requests[i].prompt, 64, 64, 0, "length")) for i in batch]

    def close(self) -> None:
        """Nothing to free."""


if __name__ == "__main__":
    raise SystemExit(main())
