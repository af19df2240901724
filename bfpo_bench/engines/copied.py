"""An engine that is several copies of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bfpo_bench.engines.copies import Copies
from bfpo_bench.engines.plan import Order, PlannedEngine
from bfpo_bench.engines.protocol import Answered, Engine, EngineOptions
from bfpo_bench.engines.tokenization import load_tokenizer


class CopiedEngine(PlannedEngine):
    """`data_parallel_size` engines that share the requests.

    Scores, verdicts and, with hf, responses are those of one engine, bit by bit on machines that
    are alike.

    Args:
        open_copy: loads one of them, wherever it is called.
    """

    def __init__(
        self,
        open_copy: Callable[[str, EngineOptions], Engine],
        backend: str,
        options: EngineOptions,
    ) -> None:
        self.backend = backend
        if backend == "vllm":
            self.window *= options.data_parallel_size  # it finds its own batches
        with ExitStack() as stack:
            if backend == "vllm" and options.adapter:
                from bfpo_bench.engines.vllm.files import merged_copy

                # Copies that are started again read it again.
                options = stack.enter_context(merged_copy(options))
            self._copies = Copies(partial(open_copy, backend), options)
            stack.callback(self._copies.close)
            folder = Path(options.tokenizer or options.model)
            self.tokenizer = load_tokenizer(folder, options.trust_remote_code)
            self.max_length = self._copies.max_length or 0
            self._stack = stack.pop_all()

    def answers(
        self, orders: Iterable[Order], answered: Answered
    ) -> Iterator[list[tuple[int, Any]]]:
        """See :class:`PlannedEngine`."""
        yield from self._copies.answers(orders, answered)

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`."""
        self._stack.close()
