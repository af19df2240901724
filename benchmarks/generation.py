"""Generation speed side by side: the engine alone, and our whole path around it.

The whole path is what `bfpo-bench evaluate` does with loaded models: read the data, write the
prompts, generate, store every response, judge each by keyword, collect the results. On vLLM it
stands against a bare ``LLM.generate`` over the same prompts, on `hf` against transformers' static
batches (``generate``) and its continuous ones (``generate_batch``). All run in turns in one
process on one loaded model. For example::

    OMP_NUM_THREADS=2 python -m benchmarks.generation --backend hf --prompts 512
    OMP_NUM_THREADS=2 python -m benchmarks.generation --backend vllm --prompts 2000
    python -m benchmarks.generation --backend vllm --model 7b --dtype bfloat16 --prompts 5000
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counting import Count, load
from benchmarks.generation_setup import make_prompts, prepare_model, write_data, write_suite
from benchmarks.matrix_rate import matrix_rate
from benchmarks.pages import head, model_name, run
from benchmarks.random_models import MODELS, SHAPES
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines import EngineOptions, GenerateRequest, open_engine

OURS = "bfpo-bench, whole path"


@dataclass(frozen=True)
class Timing:
    """One pass over all prompts.

    Attributes:
        seconds: wall time.
        processor: seconds of processor time, over this process and those it started (vLLM's
            engine). On a machine that others use as well it says more than wall time.
        own: the part of it that this process took.
        tokens: generated.
    """

    seconds: float
    processor: float
    own: float
    tokens: int


Contender = Callable[[], int]
"""Answers all prompts; returns the number of tokens."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, writes the page, prints it."""
    return run("generation", arguments, _parser(), measure)


def measure(options: argparse.Namespace, command: str) -> tuple[str, str]:
    """Runs the contenders; the page's name and its text."""
    with tempfile.TemporaryDirectory() as folder:
        page = _in_turns(options, Path(folder), command)
    return f"generation-{options.backend}-{Path(options.model).name}", page


def _in_turns(options: argparse.Namespace, folder: Path, command: str) -> str:
    """The page; data, suite and run directories are made in the folder."""
    prompts = make_prompts(options.prompts)
    model = prepare_model(
        options.model, options.models, prompts, options.dtype, options.mean_tokens
    )
    rate = matrix_rate(options.device, options.dtype)
    engine: Any = open_engine(
        options.backend,
        EngineOptions(
            str(model), dtype=options.dtype, device=options.device, max_length=options.max_length
        ),
    )
    path = _WholePath(engine, options, model, folder, prompts)
    requests = path.requests()
    contenders: dict[str, Contender] = {}
    if options.backend == "vllm":
        contenders["LLM.generate"] = lambda: _bare_vllm(engine, requests)
    else:
        size = options.batch
        contenders["generate, static batches"] = lambda: _static(engine, requests, size)
        contenders["generate_batch, continuous"] = lambda: _continuous(engine, requests, size)
        contenders["bfpo-bench, engine alone"] = lambda: sum(
            answer.tokens for batch in engine.respond(requests) for _, answer in batch
        )
    contenders[OURS] = path.run
    timings: dict[str, list[Timing]] = {name: [] for name in contenders}
    refused: dict[str, str] = {}
    _warm_up(engine, requests[:8])
    for repeat in range(options.repeats):
        # Forth and back, so that nobody always comes first.
        for name in list(contenders)[:: -1 if repeat % 2 == 0 else 1]:
            if name in refused:
                continue
            if time.monotonic() > options.until and name != OURS:
                if not timings[name]:
                    refused[name] = "time ran out"
                continue
            if options.backend == "vllm":
                # Else the second pass over the same prompts would find them computed.
                engine._llm.reset_prefix_cache()
            begin, busy, own = time.perf_counter(), _processor_seconds(), time.process_time()
            try:
                tokens = contenders[name]()
            except Exception as error:
                if name == OURS:
                    raise
                refused[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            seconds, processor = time.perf_counter() - begin, _processor_seconds() - busy
            own = time.process_time() - own
            timings[name].append(Timing(seconds, processor, own, tokens))
            print(f"{name}: {timings[name][-1]}", file=sys.stderr)
    held = _Work(requests, model)
    engine.close()
    shape = " (random weights)" if options.model in SHAPES else ""
    mean = timings[OURS][-1].tokens / len(prompts)
    facts = {
        "Model": f"{Path(options.model).name}{shape}, {options.dtype}",
        "Prompts": f"{len(prompts)}, temperature 0.7, top_p 0.95, at most {options.new_tokens} "
        f"new tokens, {mean:.0f} in the mean",
        "Whole path, last pass": path.stages(),
        "Matrix products": f"{rate / 1e9:,.0f} GFLOP/s in {options.dtype}",
    }
    top = head(f"Generation on {options.backend}", command, facts)
    return _page(
        top, timings, refused, lambda one: held.operations(one.tokens) / one.seconds / rate
    )


class _WholePath:
    """An evaluation from options to results, on an engine that is loaded already."""

    def __init__(
        self,
        engine: Any,
        options: argparse.Namespace,
        model: Path,
        folder: Path,
        prompts: list[str],
    ) -> None:
        from bfpo_bench.evaluation.options import EvaluateOptions

        self._engine = engine
        self._runs = 0
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._options = {
            "model": str(model),
            "suite": str(write_suite(folder, options.new_tokens)),
            "data_dir": write_data(folder / "data", prompts),
            "allow_unpinned": True,
            "judge": "keyword",
            "backend": options.backend,
            "dtype": options.dtype,
            "device": options.device,
            "max_length": options.max_length,
        }
        self._make: Callable[..., EvaluateOptions] = EvaluateOptions

    def requests(self) -> list[GenerateRequest]:
        """The very requests that a run makes, for the others."""
        from bfpo_bench.evaluation.resolve import resolve
        from bfpo_bench.tasks.requests import render

        request = resolve(self._make(**self._options, output=self._folder / "unused"))
        [task] = render(request.tasks, request.target.chat())
        return list(task.prompts)

    def run(self) -> int:
        """Evaluates into a new run directory; tokens generated."""
        import json
        import sqlite3
        from unittest import mock

        from bfpo_bench.data import load
        from bfpo_bench.engines import open as select
        from bfpo_bench.evaluation.run import run_evaluation

        self._runs += 1
        output = self._folder / f"run-{self._runs}"
        load._load.cache_clear()
        with mock.patch.object(select, "open_engine", return_value=_Kept(self._engine)):
            run_evaluation(self._make(**self._options, output=output))
        run = json.loads((output / "run.json").read_text(encoding="utf-8"))
        self._seconds = run["sessions"][-1]["seconds"]
        with sqlite3.connect(output / "samples.sqlite") as store:
            [(tokens, judged)] = store.execute(
                "SELECT TOTAL(tokens), (SELECT COUNT(*) FROM verdicts) FROM responses"
            )
        store.close()
        assert judged > 0
        return int(tokens)

    def stages(self) -> str:
        """Where the time of the last run went."""
        return ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self._seconds.items())


class _Work:
    """What the requests cost at least, whoever answers them."""

    def __init__(self, requests: Sequence[GenerateRequest], model: Path) -> None:
        self._config, tokenizer = load(model)
        encoded = tokenizer([r.prompt for r in requests], add_special_tokens=True)["input_ids"]
        self._prompts = list(map(len, encoded))

    def operations(self, tokens: int) -> float:
        """Of reading every prompt once and generating so many tokens, which are taken to be the
        same number after each prompt."""
        each = tokens / len(self._prompts)
        pairs = sum((prompt + each) * (prompt + each + 1) / 2 for prompt in self._prompts)
        read = sum(self._prompts)
        return Count(read, round(read + tokens), round(pairs), tokens).operations(self._config)


class _Kept:
    """An engine whose user does not close it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Leaves the engine open."""


def _processor_seconds() -> float:
    """Of this process and of all below it that are alive."""
    import psutil

    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def _warm_up(engine: Any, requests: list[GenerateRequest]) -> None:
    for _ in engine.respond(requests):
        pass


def _bare_vllm(engine: Any, requests: list[GenerateRequest]) -> int:
    from vllm import SamplingParams

    params = [
        SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            max_tokens=request.sampling.max_new_tokens,
            stop_token_ids=sorted(engine._end_ids) or None,
            seed=request.seed,
        )
        for request in requests
    ]
    outputs = engine._llm.generate([r.prompt for r in requests], params, use_tqdm=False)
    # Our counts leave the end-of-sequence token out.
    return sum(
        len(o.outputs[0].token_ids) - (o.outputs[0].finish_reason == "stop") for o in outputs
    )


def _static(engine: Any, requests: list[GenerateRequest], size: int) -> int:
    """What a careful user writes: sorted by length, batch by batch, sampled by ``generate``."""
    import torch

    tokenizer, model = engine.tokenizer, engine.model
    tokenizer.padding_side = "left"
    encoded = tokenizer([r.prompt for r in requests], add_special_tokens=True)["input_ids"]
    order = sorted(range(len(requests)), key=lambda i: -len(encoded[i]))
    ends = torch.tensor(model.generation_config.eos_token_id, device=model.device)
    tokens = 0
    for begin in range(0, len(order), size):
        batch = tokenizer.pad(
            {"input_ids": [encoded[i] for i in order[begin : begin + size]]}, return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(**batch, **_sampling(requests[0].sampling))
        ended = torch.isin(output[:, batch["input_ids"].shape[1] :], ends)
        tokens += int((ended.cumsum(dim=-1) == 0).sum())
    return tokens


def _continuous(engine: Any, requests: list[GenerateRequest], size: int) -> int:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model = engine.model
    config = GenerationConfig(
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=model.generation_config.pad_token_id,
        **_sampling(requests[0].sampling),
    )
    encoded = engine.tokenizer([r.prompt for r in requests], add_special_tokens=True)["input_ids"]
    before = model.config._attn_implementation
    try:
        outputs = model.generate_batch(
            encoded,
            generation_config=config,
            continuous_batching_config=ContinuousBatchingConfig(
                max_requests_per_batch=size,
                # Of a GPU it is to take what is left; a processor's memory is others' as well.
                max_memory_percent=None if model.device.type == "cuda" else 0.1,
            ),
        )
    finally:
        model.set_attn_implementation(before)
    if len(outputs) < len(requests):
        raise RuntimeError(f"only {len(outputs)} of {len(requests)} requests were answered")
    ends = set(config.eos_token_id)
    return sum(len(o.generated_tokens) - (o.generated_tokens[-1] in ends) for o in outputs.values())


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "max_new_tokens": sampling.max_new_tokens,
    }


def _page(
    top: Sequence[str],
    timings: dict[str, list[Timing]],
    refused: dict[str, str],
    used: Callable[[Timing], float],
) -> str:
    """The page; `used` is the share of a device's operations that a pass made use of."""
    base = next(name for name in timings if timings[name])

    def middle(name: str, field: str) -> float:
        return float(statistics.median(getattr(timing, field) for timing in timings[name]))

    lines = [
        *top,
        f"| | seconds, median | range | × {base} | processor seconds | × {base} "
        "| of that, this process | tokens/s | utilisation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, some in timings.items():
        if name in refused:
            lines.append(f"| {name} | cannot: {refused[name]} | | | | | | | |")
            continue
        seconds, processor = middle(name, "seconds"), middle(name, "processor")
        lines.append(
            f"| {name} | {seconds:.2f} "
            f"| {min(t.seconds for t in some):.2f} to {max(t.seconds for t in some):.2f} "
            f"| {seconds / middle(base, 'seconds'):.3f} | {processor:.2f} "
            f"| {processor / middle(base, 'processor'):.3f} | {middle(name, 'own'):.2f} "
            f"| {statistics.median(t.tokens / t.seconds for t in some):,.0f} "
            f"| {statistics.median(map(used, some)):.1%} |"
        )
    lines += [
        "",
        "*Utilisation*: operations of reading every prompt and computing every new token once, per "
        "second, over the rate of a plain matrix product. A token that is generated reads all "
        "weights for one row, so that memory and not arithmetic sets the pace.",
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.generation", description=__doc__)
    add = parser.add_argument
    add("--backend", choices=("hf", "vllm"), default="hf")
    add(
        "--model",
        type=model_name,
        default="tiny",
        help=f"{', '.join(SHAPES)} (random weights), smollm2 (a real one) or a folder",
    )
    add("--prompts", type=int, default=512)
    add("--new-tokens", type=int, default=128, help="most new tokens of a response")
    add("--mean-tokens", type=int, default=60, help="mean length with random weights")
    add("--max-length", type=int, default=2048)
    add("--batch", type=int, default=128, help="rows of a batch of the others on hf")
    add("--dtype", default="float32")
    add("--device", default="cpu")
    add("--repeats", type=int, default=5)
    add("--models", type=Path, default=MODELS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
