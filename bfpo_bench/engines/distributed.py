"""Several copies of a model, one process each, sharing the requests."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from bfpo_bench.common import processes
from bfpo_bench.common.errors import BadInput, BenchError, RunFailed
from bfpo_bench.common.interrupts import Interrupts
from bfpo_bench.engines.protocol import (
    Answered,
    Engine,
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
    Shard,
)
from bfpo_bench.engines.tokenization import load_tokenizer

POLL_SECONDS = 5.0
"""How often main process and copies look whether the other is still there."""

CLOSE_SECONDS = 30.0
"""What a copy is given to leave in good order, and again to follow a SIGTERM."""

WINDOW = 2048
"""Prompts that a copy is given at a time."""


class ParallelEngine(Engine):
    """`data_parallel_size` engines in processes of their own, each with its own GPUs.

    Every copy plans the batches of all scores and computes its share of them, so scores and
    verdicts are those of one process. Responses are dealt out in turn; chance belongs to the
    request, so they are those of a single engine up to the rounding that another batch brings.
    """

    def __init__(self, backend: str, options: EngineOptions) -> None:
        self.backend = backend
        copies = options.data_parallel_size
        devices = _device_groups(copies, options.tensor_parallel_size)
        context = multiprocessing.get_context("spawn")
        self._orders: list[Any] = [context.Queue() for _ in range(copies)]
        # A pipe of its own for each: its end is the end of the copy, whatever way that came.
        pipes = [context.Pipe(duplex=False) for _ in range(copies)]
        self._answers: list[Any] = [source for source, _ in pipes]
        self._workers = [
            context.Process(
                target=_process,
                args=(
                    *(rank, backend, _single(options, rank), devices[rank]),
                    *(self._orders[rank], pipes[rank][1]),
                ),
            )
            for rank in range(copies)
        ]
        self._busy = False
        try:
            for worker, (_, sink) in zip(self._workers, pipes, strict=True):
                worker.start()
                sink.close()
            loaded = [self._next() for _ in self._workers]
            self.max_length = int(loaded[0][2]["max_length"])
            # Copies on GPUs that are filled differently must still plan alike.
            budgets = [about["score_tokens"] for _, _, about in loaded]
            budget = None if None in budgets else min(budgets)
            self._shards = [Shard(rank, copies, budget) for rank in range(copies)]
            folder = Path(options.tokenizer or options.model)
            self.tokenizer = load_tokenizer(folder, options.trust_remote_code)
        except BaseException:
            # Nobody will close an engine that was never made, and Python waits for its children.
            self._end()
            raise

    def score(
        self, requests: Sequence[ScoreRequest], answered: Answered = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """See :class:`bfpo_bench.engines.Engine`; the copies are the shares."""
        if self.backend == "hf" and any(request.rolling for request in requests):
            raise BadInput(
                "a text of several windows is not shared between copies of a model; leave "
                "--data-parallel-size out, or use --backend vllm."
            )
        known = set(answered)
        for orders, part in zip(self._orders, self._shards, strict=True):
            orders.put(("score", (list(requests), known, part)))
        yield from self._batches()

    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """See :class:`bfpo_bench.engines.Engine`."""
        copies = len(self._workers)
        known = set(answered)

        def next_window(rank: int) -> range | None:
            """Sends a copy its next requests; they are few, so that memory stays flat."""
            for window in windows[rank]:
                mine = {place for place, index in enumerate(window) if index in known}
                if len(mine) < len(window):
                    order = ([requests[i] for i in window], mine)
                    self._orders[rank].put(("respond", order))
                    return window
            return None

        windows = [_windows(len(requests), rank, copies) for rank in range(copies)]
        current = [next_window(rank) for rank in range(copies)]
        self._busy = True
        while any(window is not None for window in current):
            rank, kind, content = self._next()
            window = current[rank]
            assert window is not None
            if kind == "batch":
                yield [(window[place], answer) for place, answer in content]
            elif kind == "nan":
                raise NonFiniteLogits(window[content])
            else:
                current[rank] = next_window(rank)
        self._busy = False

    def label_batches(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
        answered: Answered = (),
    ) -> Iterator[list[tuple[int, list[float]]]]:
        """See :class:`bfpo_bench.engines.Engine`; the copies are the shares."""
        for orders, part in zip(self._orders, self._shards, strict=True):
            order = (list(prompts), list(token_ids), add_special_tokens, set(answered), part)
            orders.put(("label_batches", order))
        yield from self._batches()

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`."""
        for orders in self._orders:
            orders.put(None)
        # What is in the middle of an order looks at no other; a signal it looks at.
        self._end(patience=0.0 if self._busy else CLOSE_SECONDS)

    def _end(self, patience: float = 0.0) -> None:
        """Sees every copy out: those that have not left after so many seconds are told, then made.

        A copy treats SIGTERM like Ctrl-C and keeps what it has begun.
        """
        for end, seconds in ((None, patience), ("terminate", CLOSE_SECONDS), ("kill", None)):
            until = None if seconds is None else time.monotonic() + seconds
            alive = [worker for worker in self._workers if worker.is_alive()]
            for worker in alive:
                if end is not None:
                    getattr(worker, end)()
            for worker in alive:
                worker.join(None if until is None else max(0.0, until - time.monotonic()))

    def _batches(self) -> Iterator[list[tuple[int, Any]]]:
        """What the copies answer to one order each, until all are done with it."""
        self._busy = True
        running = len(self._workers)
        while running:
            _, kind, content = self._next()
            if kind == "batch":
                yield content
            else:
                running -= 1
        self._busy = False

    def _next(self) -> tuple[int, str, Any]:
        """The next message of a worker; its failure, and its end, are raised here."""
        while True:
            # Looked for first: what it said before it ended is in its pipe by then.
            gone = [worker for worker in self._workers if worker.exitcode is not None]
            ready: list[Any] = wait(self._answers, POLL_SECONDS)
            for source in ready:
                try:
                    rank, kind, content = source.recv()
                except (EOFError, OSError):
                    # The pipe closes a moment before the process is gone.
                    ended = self._workers[self._answers.index(source)]
                    ended.join(CLOSE_SECONDS)
                    gone.append(ended)
                    continue
                if kind == "failed":
                    raise content
                return rank, kind, content
            if gone:
                raise RunFailed(
                    f"a copy of the model ended unexpectedly ({_how(gone[0].exitcode)}); run the "
                    "same command again to go on."
                )


def _how(exit_code: int | None) -> str:
    """What an exit code tells of an end."""
    if exit_code == -signal.SIGKILL:
        return "killed; did the memory suffice?"
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


def _single(options: EngineOptions, rank: int) -> EngineOptions:
    """How one copy is loaded."""
    scratch = str(Path(options.scratch) / str(rank)) if options.scratch else None
    return replace(options, data_parallel_size=1, scratch=scratch)


def _windows(count: int, rank: int, copies: int) -> Iterator[range]:
    """Every `copies`-th request from `rank` on, as many at a time as a copy is given."""
    for start in range(rank, count, copies * WINDOW):
        yield range(start, count, copies)[:WINDOW]


def _device_groups(copies: int, width: int) -> list[str | None]:
    """``CUDA_VISIBLE_DEVICES`` of each copy; None where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return [None] * copies
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    if len(devices) < copies * width:
        raise BadInput(
            f"{copies} copies on {width} GPU(s) each need {copies * width} GPUs, {len(devices)} "
            "are visible; lower --data-parallel-size or --tensor-parallel-size."
        )
    return [",".join(devices[i * width : (i + 1) * width]) for i in range(copies)]


def _process(*arguments: Any) -> None:
    """Main function of a worker process."""
    Interrupts(quiet=True)
    try:
        _work(*arguments)
    except KeyboardInterrupt:
        pass
    finally:
        # It is on its way out; a signal that comes now would only make noise.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def open_copy(backend: str, options: EngineOptions) -> Engine:
    """Loads one copy of a model into this process."""
    if backend == "vllm":
        from bfpo_bench.engines.vllm.engine import VLLMEngine

        return VLLMEngine(options)
    from bfpo_bench.engines.hf.engine import HFEngine

    return HFEngine(options)


def _work(
    rank: int,
    backend: str,
    options: EngineOptions,
    devices: str | None,
    orders: Any,
    answers: Any,
) -> None:
    """Loads a copy of the model and answers orders until there are no more."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    # What a copy forks must not hold the pipe open once the copy is gone.
    processes.locks.add(answers.fileno())
    parent = os.getppid()
    try:
        engine = open_copy(backend, options)
        budget = getattr(engine, "score_tokens", None)
        about = {"max_length": engine.max_length, "score_tokens": budget}
        answers.send((rank, "loaded", about))
        while True:
            try:
                order = orders.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if os.getppid() != parent:
                    return
                continue
            if order is None:
                engine.close()
                return
            _obey(rank, engine, order, answers)
    except BenchError as error:
        answers.send((rank, "failed", error))
    except Exception as error:
        with suppress(OSError):  # the main process is gone
            answers.send((rank, "failed", RunFailed(f"a copy of the model failed: {error!r}")))


def _obey(rank: int, engine: Any, order: tuple[str, tuple[Any, ...]], answers: Any) -> None:
    method, arguments = order
    try:
        # Closed at once when a signal comes: what is under way is kept then.
        with closing(getattr(engine, method)(*arguments)) as batches:
            for batch in batches:
                answers.send((rank, "batch", batch))
        answers.send((rank, "end", None))
    except NonFiniteLogits as error:
        answers.send((rank, "nan", error.index))
