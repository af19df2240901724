"""The engines that are compared: each keeps its model and scores one list of texts at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HF, VLLM = "lm-eval hf", "lm-eval vllm"
OURS, DENSE, UNSHARED = "ours", "ours, dense mask", "ours, nothing shared"

Texts = Sequence[tuple[str, str]]
Answers = list[tuple[float, bool]]


@dataclass(frozen=True)
class Setup:
    """How an engine is loaded.

    Attributes:
        kind: one of `KINDS`: lm-eval's two, ours as it chooses its attention itself (FlexAttention
            on a GPU, tiles on a CPU), and ours in other ways: the model's own attention with a
            dense mask, and nothing shared, so that a causal mask will do.
        model: folder of a checkpoint.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: of weights and activations.
        harness_batch: batch size of lm-eval's `hf`; ``"auto"`` searches one.
        memory: bytes of data that the process may hold on a CPU, so that lm-eval's search for a
            batch size meets an error and not the machine's end.
        longest: the longest request, which lm-eval's search tries batches of.
    """

    kind: str
    model: Path
    device: str
    dtype: str
    harness_batch: str
    memory: int
    longest: tuple[str, str]


@dataclass(frozen=True)
class Ready:
    """A loaded engine.

    Attributes:
        seconds: that loading took.
        memory: peak bytes so far.
        batch: batch size of lm-eval's `hf`, else None.
        search: seconds that finding the batch size took.
    """

    seconds: float
    memory: int
    batch: int | None
    search: float


@dataclass(frozen=True)
class Timing:
    """Scores of some texts.

    Attributes:
        seconds: from texts to scores.
        cpu_seconds: of processor time meanwhile, of all threads of the process (not of vLLM's
            others): steadier than the clock where other programs want the processor too.
        tokens: that went through the model, padding included; None where that cannot be seen.
        memory: peak bytes of the process (CPU) or of torch's allocator (GPU) meanwhile.
        answers: (log-likelihood, is greedy) of each text.
    """

    seconds: float
    cpu_seconds: float
    tokens: int | None
    memory: int
    answers: Answers


def serve(pipe: Connection, setup: Setup) -> None:
    """Loads an engine, then scores what comes until the other end is closed."""
    score, memory, ready = _load(setup)
    pipe.send(ready)
    while True:
        texts = pipe.recv()
        memory.restart()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        answers, tokens = score(texts)
        cpu_seconds = time.process_time() - cpu_begin
        seconds = time.perf_counter() - begin
        pipe.send(Timing(seconds, cpu_seconds, tokens, memory.peak(), answers))


Score = Callable[[Texts], tuple[Answers, int | None]]


def _load(setup: Setup) -> tuple[Score, _Memory, Ready]:
    begin = time.perf_counter()
    if setup.device == "cpu" and setup.kind != VLLM:
        _limit_memory(setup.memory)
    score, find_batch = _LOADERS[setup.kind](setup)
    loaded = time.perf_counter() - begin
    memory = _Memory(setup.device)
    held = memory.peak()
    batch = find_batch() if find_batch else None
    search = time.perf_counter() - begin - loaded
    return score, memory, Ready(loaded, held, batch, search)


def _harness_hf(setup: Setup) -> tuple[Score, Callable[[], int]]:
    from lm_eval.models.huggingface import HFLM

    auto = setup.harness_batch == "auto"
    lm = HFLM(
        str(setup.model),
        device=setup.device,
        dtype=setup.dtype,
        batch_size="auto" if auto else int(setup.harness_batch),
    )

    def find_batch() -> int:
        """lm-eval searches at the start of each call, with the longest text of that call. All
        tasks of a run are one call; here each task is, so the search is done once, beforehand."""
        if auto:
            context, more = lm._encode_pair(*setup.longest)
            lm.batch_size_per_gpu = lm._detect_batch_size([(setup.longest, context, more)])
        return int(lm.batch_size_per_gpu)

    return _harness_score(lm, _tokens_seen(lm.model)), find_batch


def _harness_vllm(setup: Setup) -> tuple[Score, None]:
    import os

    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    arguments: dict[str, Any] = {"gpu_memory_utilization": 0.85}
    if setup.device == "cpu":
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        arguments = {"enforce_eager": True}
        _stand_in_for_vllm_metadata()
    from lm_eval.models.vllm_causallms import VLLM

    from bfpo_bench.common.processes import Guard

    # lm-eval never closes its vLLM, whose processes outlive this one; the guard ends them with it.
    with Guard().starting():
        lm = VLLM(str(setup.model), dtype=setup.dtype, max_model_len=2048, seed=0, **arguments)
    return _harness_score(lm, lambda: None), None


def _harness_score(lm: Any, tokens_seen: Callable[[], int | None]) -> Score:
    from lm_eval.api.instance import Instance

    def score(texts: Texts) -> tuple[Answers, int | None]:
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(texts)]
        return lm.loglikelihood(requests, disable_tqdm=True), tokens_seen()

    return score


def _ours(setup: Setup) -> tuple[Score, None]:
    from bfpo_bench.engines.hf.engine import HFEngine
    from bfpo_bench.engines.prefix.scorer import Scorer
    from bfpo_bench.engines.protocol import EngineOptions, ScoreRequest

    class Otherwise(HFEngine):
        def _make_scorer(self) -> Scorer:
            if setup.kind == DENSE:
                return Scorer(self.model, self._packed_tokens())
            if setup.kind == UNSHARED:
                return Scorer(self.model, self._padded_tokens(), share_prefixes=False)
            return super()._make_scorer()

    engine = Otherwise(EngineOptions(str(setup.model), dtype=setup.dtype, device=setup.device))
    tokens_seen = _tokens_seen(engine.model)

    def score(texts: Texts) -> tuple[Answers, int | None]:
        answers: Answers = [(0.0, False)] * len(texts)
        requests = [ScoreRequest(*pair, group=i) for i, pair in enumerate(texts)]
        for batch in engine.score(requests):
            for index, found in batch:
                answers[index] = (found.loglikelihood, found.is_greedy)
        return answers, tokens_seen()

    return score, None


_LOADERS: dict[str, Callable[[Setup], tuple[Score, Callable[[], int] | None]]] = {
    HF: _harness_hf,
    VLLM: _harness_vllm,
    OURS: _ours,
    DENSE: _ours,
    UNSHARED: _ours,
}

KINDS = tuple(_LOADERS)


def _tokens_seen(model: Any) -> Callable[[], int]:
    """A function that tells how many tokens went through a model since it was last called."""
    seen = [0]

    def note(_: Any, inputs: tuple[Any, ...]) -> None:
        seen[0] += inputs[0].numel()

    model.get_input_embeddings().register_forward_pre_hook(note)

    def take() -> int:
        found, seen[0] = seen[0], 0
        return found

    return take


class _Memory:
    """Peak memory since the last restart: of this process and its children, or of the GPU."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"

    def restart(self) -> None:
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        for folder in self._processes():
            # Documented in proc(5): sets the high-water mark back to what is held now.
            (folder / "clear_refs").write_text("5")

    def peak(self) -> int:
        if self.on_gpu:
            import torch

            return torch.cuda.max_memory_allocated()
        return sum(map(_high_water, self._processes()))

    def _processes(self) -> list[Path]:
        import psutil

        own = psutil.Process()
        return [Path(f"/proc/{p.pid}") for p in [own, *own.children(recursive=True)]]


def _high_water(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _stand_in_for_vllm_metadata() -> None:
    """lm-eval asks for the version of a distribution named `vllm`; the CPU build is `vllm-cpu`."""
    import tempfile

    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        version = metadata.version("vllm-cpu")
        home = Path(tempfile.mkdtemp(prefix="vllm-metadata-"))
        folder = home / f"vllm-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8"
        )
        sys.path.append(str(home))
