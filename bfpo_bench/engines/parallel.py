"""Several copies of a model, one process each, sharing the requests."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bfpo_bench.engines.protocol import (
    Done,
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
    Share,
)
from bfpo_bench.errors import BadInput, BenchError, RunFailed
from bfpo_bench.interrupts import Interrupts

POLL_SECONDS = 5.0

WINDOW = 2048
"""Prompts that a copy is given at a time."""


class ParallelEngine:
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
        self._answers: Any = context.Queue()
        self._orders: list[Any] = [context.Queue() for _ in range(copies)]
        single = replace(options, data_parallel_size=1)
        self._workers = [
            context.Process(
                target=_process,
                args=(rank, backend, single, devices[rank], self._orders[rank], self._answers),
            )
            for rank in range(copies)
        ]
        for worker in self._workers:
            worker.start()
        loaded = [self._next() for _ in self._workers]
        self.max_length = int(loaded[0][2]["max_length"])
        # Copies on GPUs that are filled differently must still plan alike.
        budgets = [about["score_tokens"] for _, _, about in loaded]
        budget = None if None in budgets else min(budgets)
        self._shares = [Share(rank, copies, budget) for rank in range(copies)]
        from pathlib import Path

        from bfpo_bench.engines.tokenization import load_tokenizer

        folder = Path(options.tokenizer or options.model)
        self.tokenizer = load_tokenizer(folder, options.trust_remote_code)

    def score(
        self, requests: Sequence[ScoreRequest], done: Done = ()
    ) -> Iterator[list[tuple[int, Score]]]:
        """See :class:`bfpo_bench.engines.Engine`; the copies are the shares."""
        known = set(done)
        for orders, part in zip(self._orders, self._shares, strict=True):
            orders.put(("score", (list(requests), known, part)))
        yield from self._batches()

    def respond(
        self, requests: Sequence[GenerateRequest], done: Done = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        copies = len(self._workers)
        known = set(done)

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

    def label_logprobs(
        self,
        prompts: Sequence[str],
        token_ids: Sequence[int],
        add_special_tokens: bool = True,
    ) -> list[list[float]]:
        """See :class:`bfpo_bench.engines.Engine`; the copies are the shares."""
        answers: list[list[float]] = [[] for _ in prompts]
        for orders, part in zip(self._orders, self._shares, strict=True):
            order = (list(prompts), list(token_ids), add_special_tokens, part)
            orders.put(("label_logprobs", order))
        for batch in self._batches():
            for index, values in batch:
                answers[index] = values
        return answers

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`."""
        for orders in self._orders:
            orders.put(None)
        for worker in self._workers:
            worker.join(timeout=30)
            if worker.is_alive():
                worker.terminate()

    def _batches(self) -> Iterator[list[tuple[int, Any]]]:
        """What the copies answer to one order each, until all are done with it."""
        running = len(self._workers)
        while running:
            _, kind, content = self._next()
            if kind == "batch":
                yield content
            else:
                running -= 1

    def _next(self) -> tuple[int, str, Any]:
        """The next message of a worker; its failure is raised here."""
        while True:
            try:
                rank, kind, content = self._answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                dead = [w for w in self._workers if w.exitcode is not None]
                if dead:
                    raise RunFailed(
                        f"a copy of the model ended unexpectedly (exit code {dead[0].exitcode}; "
                        "out of memory?); run the same command again to go on."
                    ) from None
                continue
            if kind == "failed":
                raise content
            return rank, kind, content


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
    Interrupts()
    _work(*arguments)


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
    parent = os.getppid()
    try:
        from bfpo_bench.engines.select import open_engine

        engine = open_engine(backend, options)
        budget = getattr(engine, "score_tokens", None)
        about = {"max_length": engine.max_length, "score_tokens": budget}
        answers.put((rank, "loaded", about))
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
        answers.put((rank, "failed", error))
    except KeyboardInterrupt:
        return
    except BaseException as error:
        answers.put((rank, "failed", RunFailed(f"a copy of the model failed: {error!r}")))


def _obey(rank: int, engine: Any, order: tuple[str, tuple[Any, ...]], answers: Any) -> None:
    method, arguments = order
    try:
        if method == "label_logprobs":
            values = engine.label_logprobs(*arguments)
            answers.put((rank, "batch", [(i, some) for i, some in enumerate(values) if some]))
        else:
            for batch in getattr(engine, method)(*arguments):
                answers.put((rank, "batch", batch))
        answers.put((rank, "end", None))
    except NonFiniteLogits as error:
        answers.put((rank, "nan", error.index))
