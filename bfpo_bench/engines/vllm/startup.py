"""Why vLLM did not start, in one sentence; the rest stands in its own log.

vLLM's engine and its workers are processes of their own. When one of them cannot start, the reason
stands in a traceback that it writes to the terminal, and the exception that arrives here says no
more than to look there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bfpo_bench.common.errors import BadInput, RunFailed

_TOO_LONG = re.compile(
    r"max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=(\d+)"
)


@contextmanager
def explained(on_gpu: bool) -> Iterator[None]:
    """What goes wrong while vLLM starts in the body is raised as one sentence.

    Args:
        on_gpu: which advice helps.

    Raises:
        BadInput: the context window that was asked for is longer than the model's.
        RunFailed: vLLM did not start for another reason.
    """
    try:
        yield
    except Exception as error:
        if found := _TOO_LONG.search(str(error)):
            raise BadInput(
                f"--max-length {found[1]} is more than the model's context window of {found[2]} "
                "tokens; give at most that."
            ) from error
        cache = (
            "--gpu-memory-utilization (higher for more cache, lower beside other programs), more "
            "GPUs with --tensor-parallel-size"
            if on_gpu
            else "VLLM_CPU_KVCACHE_SPACE (GiB, in the environment)"
        )
        said = " ".join(str(error).split())[:200]
        raise RunFailed(
            f"vLLM could not load the model ({type(error).__name__}: {said}); its log above says "
            f"why. Where memory is short, a smaller --max-length helps, {cache}, in a container "
            "--ipc=host or --shm-size=1g, and else --backend hf."
        ) from error
