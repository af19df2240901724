"""Why vLLM did not start, in one sentence.

vLLM's engine and its workers are processes of their own. When one of them cannot start, the reason
stands in a traceback that it writes to the terminal, and the exception that arrives here says no
more than to look there. So what they write is read on its way to the terminal.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bfpo_bench.common.errors import BadInput, BenchError, RunFailed

log = logging.getLogger(__name__)

_TROUBLE = re.compile(rb"ERROR|Traceback \(most recent call last\)")
_CAUSE = re.compile(r"(?:^|\] )(?:\w+\.)*(\w+(?:Error|Exception)): (.+)$", re.MULTILINE)

# What vLLM 0.32 says. Sizes are passed on as it writes them.
_NO_SHARED_MEMORY = re.compile(
    r"Insufficient space in (?P<where>\S+) for .*?: (?P<needed>\S+ \S+) required, "
    r"(?P<free>\S+ \S+) free"
)
_CACHE_OVER_MEMORY = re.compile(
    r"Available memory on node \d+ \((?P<free>[\d.]+)/[\d.]+ GiB\) on kv cache allocation is less "
    r"than requested memory for kv \((?P<needed>[\d.-]+)"
)
_CACHE_UNDER_CONTEXT = re.compile(
    r"max seq len \((?P<length>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is "
    r"larger than the available KV cache memory \((?P<free>[\d.]+) GiB\)"
    r"(?:.*?estimated maximum model length is (?P<fits>\d+))?"
)
_NO_CACHE = re.compile(r"No available memory for the cache blocks")
_GPU_TAKEN = re.compile(
    r"Free memory on device (?P<device>\S+) \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup "
    r"is less than .*?\((?P<share>[\d.]+), (?P<needed>[\d.]+) GiB\)"
)
_CONTEXT_OVER_MODEL = re.compile(
    r"User-specified max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len "
    r"\(\w+=(?P<window>\d+)"
)


@contextmanager
def explained(on_gpu: bool) -> Iterator[None]:
    """What goes wrong while vLLM starts in the body is raised as one sentence.

    From the first sign of trouble on, the output of vLLM's processes is held back: it is shown
    where the sentence would have to say "see above", and logged (level DEBUG) where it says all.

    Args:
        on_gpu: which advice helps.

    Raises:
        BadInput: the context window that was asked for is longer than the model's.
        RunFailed: vLLM did not start for another reason.
    """
    with _Output() as output:
        try:
            yield
        except Exception as error:
            said = f"{output.held()}\n{type(error).__name__}: {error}"
            failure = _known(said, on_gpu)
            if failure is None:
                output.release()
                failure = RunFailed(
                    f"vLLM could not load the model ({_cause(said)}); see its log above, try "
                    "--gpu-memory-utilization, --max-length or --backend hf."
                )
            else:
                log.debug("vLLM's own words:\n%s", said)
            raise failure from error
        output.release()


def _known(said: str, on_gpu: bool) -> BenchError | None:
    """What was found and what to do, for the failures that have to do with memory and length."""
    more_cache = (
        "a higher --gpu-memory-utilization or --tensor-parallel-size"
        if on_gpu
        else "a larger VLLM_CPU_KVCACHE_SPACE (GiB, in the environment)"
    )
    if found := _NO_SHARED_MEMORY.search(said):
        return RunFailed(
            f"vLLM needs {found['needed']} of shared memory and {found['where']} has "
            f"{found['free']} left; give it more (a container: --ipc=host or --shm-size=1g) or use "
            "--backend hf."
        )
    if found := _CACHE_OVER_MEMORY.search(said):
        return RunFailed(
            f"vLLM's KV cache was to take {found['needed']} GiB and {found['free']} GiB of memory "
            "are available; lower VLLM_CPU_KVCACHE_SPACE (GiB, in the environment), end other "
            "programs, or use --backend hf."
        )
    if found := _CACHE_UNDER_CONTEXT.search(said):
        fits = f" (up to {int(found['fits']):,} fit)" if found["fits"] else ""
        return RunFailed(
            f"a context window of {int(found['length']):,} tokens needs {found['needed']} GiB of "
            f"KV cache and vLLM has {found['free']} GiB for it; use a shorter one with "
            f"--max-length{fits}, {more_cache}, or --backend hf."
        )
    if _NO_CACHE.search(said):
        return RunFailed(
            f"the model leaves vLLM no memory for a KV cache; use {more_cache}, or --backend hf."
        )
    if found := _GPU_TAKEN.search(said):
        return RunFailed(
            f"vLLM was to take {found['needed']} of the {found['total']} GiB of {found['device']} "
            f"and {found['free']} GiB are free; lower --gpu-memory-utilization ({found['share']} "
            "now) or end what else runs there."
        )
    if found := _CONTEXT_OVER_MODEL.search(said):
        return BadInput(
            f"--max-length {found['length']} is more than the model's context window of "
            f"{found['window']} tokens; give at most that."
        )
    return None


def _cause(said: str) -> str:
    """The first exception that was reported: later ones say that something went wrong before."""
    found = _CAUSE.search(said)
    return f"{found[1]}: {found[2].strip()}"[:200] if found else said.strip()[:200]


class _Output:
    """Standard output and error of this process and its children, read on their way to stderr.

    Children keep what they inherit, so the way stays in use as long as they live: later on, what
    they write is passed on as it comes. This process gets its own two back when the body ends.
    """

    def __enter__(self) -> _Output:
        _flush()
        self._lock = threading.Lock()
        self._starting = True
        self._recent = self._held = b""
        self._trouble = self._ended = False
        self._over = threading.Event()
        self._own = (os.dup(1), os.dup(2))
        self._terminal = os.dup(2)
        self._source, sink = os.pipe()
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        threading.Thread(target=self._pass_on, name="bfpo-vllm-output", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _flush()
        for number, descriptor in enumerate(self._own, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        with self._lock:
            self._starting = False
        self._over.set()

    def held(self) -> str:
        """What was held back; waits a moment for what a dying process has still to say."""
        while self._take(0.5):
            pass
        with self._lock:
            return self._held.decode("utf-8", "replace")

    def release(self) -> None:
        """Shows what was held back, and holds nothing back from now on."""
        with self._lock:
            self._starting = False
            _write(self._terminal, self._held)
            self._held = b""

    def _pass_on(self) -> None:
        while not self._ended:
            _wait_for(self._source, None)
            self._take(0)
        self._over.wait()
        os.close(self._source)
        os.close(self._terminal)

    def _take(self, patience: float) -> bool:
        """Reads once, whoever of the two threads comes first; False where nothing is there."""
        with self._lock:
            if self._ended or not _wait_for(self._source, patience):
                return False
            piece = os.read(self._source, 1 << 16)
            self._ended = not piece
            self._recent = self._recent[-100:] + piece
            self._trouble = self._trouble or _TROUBLE.search(self._recent) is not None
            if self._starting and self._trouble:
                self._held += piece
            else:
                _write(self._terminal, piece)
            return bool(piece)


def _wait_for(descriptor: int, seconds: float | None) -> bool:
    """Whether there is something to read, or an end, within so many seconds (None: for ever)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # None under pythonw, closed under some test runners.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _write(descriptor: int, content: bytes) -> None:
    with suppress(OSError):
        while content:
            content = content[os.write(descriptor, content) :]
