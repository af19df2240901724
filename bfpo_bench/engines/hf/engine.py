"""The transformers engine: lm-evaluation-harness' `hf` model with stored-as-it-goes batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from bfpo_bench.common.errors import BadInput, BenchError
from bfpo_bench.engines.batching import power_of_two
from bfpo_bench.engines.hf.generate import HFGeneration, embedding_count, end_ids
from bfpo_bench.engines.hf.load import load_causal_model, not_loadable, torch_device
from bfpo_bench.engines.plan import Order, Plan, PlannedEngine, answers_here
from bfpo_bench.engines.prefix.attention import FLEX, TILES
from bfpo_bench.engines.prefix.packed import Query
from bfpo_bench.engines.prefix.scorer import (
    Reading,
    Scorer,
    TokenRequest,
    continuation_request,
)
from bfpo_bench.engines.prefix.self_check import packing_fault
from bfpo_bench.engines.protocol import (
    Answered,
    EngineOptions,
    GenerateRequest,
    Response,
    Score,
    ScoreRequest,
)
from bfpo_bench.engines.tokenization import (
    check_known,
    encode_many,
    encode_pairs,
    fit_pair,
    score_parts,
)
from bfpo_bench.models.config import hidden, intermediate

log = logging.getLogger(__name__)


class HFEngine(HFLM, PlannedEngine):  # type: ignore[misc]
    """A causal transformers model, also usable wherever lm-eval takes an ``LM``.

    Scores equal those of lm-eval's `hf` model; what requests have in common at their beginning is
    computed once (:mod:`bfpo_bench.engines.prefix.scorer`).
    """

    def __init__(self, options: EngineOptions) -> None:
        if options.tensor_parallel_size > 1:
            raise BadInput(
                "the hf backend cannot split one model over several GPUs; use --backend vllm "
                "for --tensor-parallel-size, or --data-parallel-size for copies."
            )
        # lm-eval calls its model family `backend`; ours is the engine's name, so keep both apart.
        self.engine_options = options
        device = torch_device(options.device)
        try:
            super().__init__(
                pretrained=options.model,
                tokenizer=options.tokenizer,
                revision=None,
                backend="causal",
                device=str(device),
                dtype=options.dtype,
                batch_size=1,
                max_length=options.max_length,
                trust_remote_code=options.trust_remote_code,
            )
        except (BenchError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise not_loadable(options.model, error) from error
        self.model.eval()
        self._generation = HFGeneration(
            self.model,
            self.tokenizer,
            max_length=self.max_length,
            pad_id=self._pad_id(),
            batch_size=options.batch_size,
            scratch=Path(options.scratch) if options.scratch else None,
        )
        self._scorer = self._make_scorer()

    def _create_model(self, *arguments: Any, **settings: Any) -> None:
        """lm-eval's own fills missing weights with random numbers, and takes any device."""
        options = self.engine_options
        self._model = load_causal_model(
            options.model,
            options.dtype,
            torch_device(options.device),
            options.trust_remote_code,
            adapter=options.adapter,
        )

    # ------------------------------------------------------------------ scoring

    def answers(
        self, orders: Iterable[Order], answered: Answered
    ) -> Iterator[list[tuple[int, Any]]]:
        """See :class:`PlannedEngine`."""
        yield from answers_here(self, orders, answered)

    @property
    def limits(self) -> tuple[int, ...]:
        """Tokens in a batch of scores, and of responses with their keys and values."""
        return self._scorer.max_tokens, self._generation.max_tokens

    @limits.setter
    def limits(self, limits: tuple[int, ...]) -> None:
        self._scorer.max_tokens, self._generation.max_tokens = limits

    def plan_scores(self, requests: Sequence[ScoreRequest]) -> Plan[Score]:
        """The batches of log-likelihoods."""
        parts, owners = score_parts(self.tokenizer, requests, self.max_length)
        asked = self._known([continuation_request(context, more) for context, more, _ in parts])

        def score(part: int, one: Reading) -> Score:
            return Score(one.loglikelihood, one.is_greedy, parts[part][2])

        several = owners if len(parts) > len(requests) else None
        return replace(self._scorer.plan(asked).each(score), owners=several)

    def plan_labels(
        self, prompts: Sequence[str], token_ids: Sequence[int], add_special_tokens: bool
    ) -> Plan[list[float]]:
        """The batches of label probabilities."""
        rows = encode_many(self.tokenizer, prompts, add_special_tokens)
        for row in rows:
            if len(row) > self.max_length:
                raise BadInput(
                    f"a prompt of {len(row)} tokens is longer than the context window of "
                    f"{self.max_length}; shorten it, or take a model with a longer one."
                )
        asked = [TokenRequest(row, Query(len(row) - 1, token_ids, labels=True)) for row in rows]
        return self._scorer.plan(self._known(asked)).each(lambda _, one: one.logprobs)

    def plan_responses(self, requests: Sequence[GenerateRequest]) -> Plan[Response]:
        """The batches of responses."""
        return self._generation.plan_responses(requests)

    # ------------------------------------------------------------ lm-eval's way in

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, is greedy) of lm-eval instances with (context, continuation)."""
        texts = [request.args for request in requests]
        encoded = encode_pairs(self.tokenizer, texts)
        keyed = [(text, *pair) for text, pair in zip(texts, encoded, strict=True)]
        return self._loglikelihood_tokens(keyed, disable_tqdm)

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihoods of whole texts, ``(text,)`` each, in lm-eval's disjoint windows."""
        windows, owners = [], []
        for index, (text,) in enumerate(request.args for request in requests):
            tokens = self.tok_encode(text)
            for window in get_rolling_token_windows(
                tokens, self.prefix_token_id, self.max_length, context_len=1
            ):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(index)
        totals = [0.0] * len(requests)
        answers = self._loglikelihood_tokens(windows, disable_tqdm)
        for index, (loglikelihood, _) in zip(owners, answers, strict=True):
            totals[index] += loglikelihood
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, is greedy) of continuations given as token ids.

        Args:
            requests: (cache key, context token ids, continuation token ids).
            disable_tqdm: show no progress.
            override_bs: not needed; batches are planned by tokens.
        """
        from tqdm import tqdm

        pairs = [fit_pair(context, more, self.max_length)[:2] for _, context, more in requests]
        asked = self._known([continuation_request(*pair) for pair in pairs])
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(
            total=len(requests), disable=disable_tqdm, desc="Running loglikelihood requests"
        ) as bar:
            for batch in self._scorer.run(asked):
                for index, reading in batch:
                    answers[index] = (reading.loglikelihood, reading.is_greedy)
                    key = requests[index][0]
                    if key is not None:
                        self.cache_hook.add_partial("loglikelihood", key, answers[index])
                bar.update(len(batch))
        return answers

    def _known(self, asked: list[TokenRequest]) -> list[TokenRequest]:
        """Refuses what nothing can be predicted from, and tokens that the model does not have."""
        known = embedding_count(self.model)
        for request in asked:
            ids, query = request.ids, request.query
            if query.start < 0 or not query.targets:
                raise BadInput(
                    "a request has no token before the one to be scored, or none to be scored; "
                    "give a context and a continuation of at least one token each."
                )
            check_known((ids, query.targets), known)
        return asked

    def _make_scorer(self) -> Scorer:
        """Packed scoring where the model can do it; plain, and a word about it, where not."""
        most = self.engine_options.batch_size
        if self.device.type == "cuda" and packing_fault(self.model, FLEX) is None:
            return Scorer(self.model, self._packed_tokens(), most, kind=FLEX)
        if self.device.type == "cpu" and packing_fault(self.model, TILES) is None:
            return Scorer(self.model, self._packed_tokens(), most, kind=TILES)
        fault = packing_fault(self.model)
        if fault is None:
            return Scorer(self.model, self._packed_tokens(), most)
        name = type(self.model).__name__
        log.warning("%s is scored without shared prefixes: %s.", name, fault)
        return Scorer(self.model, self._padded_tokens(), most, share_prefixes=False)

    def _packed_tokens(self) -> int:
        """Tokens in a packed batch: what its widest layer holds may take a quarter of memory."""
        if self.device.type != "cuda":
            # Enough to keep matrix products busy, few enough for steady progress.
            return 2048
        config = self.model.config.get_text_config()
        widths = 8 * hidden(config) + 4 * intermediate(config)
        per_token = widths * self.model.dtype.itemsize
        free, _ = torch.cuda.mem_get_info(self.device)
        return power_of_two(0.25 * free / per_token, 2048, 32768)

    def _padded_tokens(self) -> int:
        """Tokens in a plain batch: logits in float32, twice, may take a quarter of memory."""
        per_token = 8 * self.model.config.get_text_config().vocab_size
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return power_of_two(0.25 * free / per_token, 512, 65536)
        return power_of_two(1e9 / per_token, 512, 8192)

    def _pad_id(self) -> int:
        """A token that fills rows up, where nothing looks at it: any that the model has will do."""
        own, ends = self.tokenizer.pad_token_id, sorted(end_ids(self.model, self.tokenizer))
        some = (token for token in (own, *ends, 0) if token is not None)
        return int(next(token for token in some if token < embedding_count(self.model)))

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`."""
        import gc

        self._model = None
        del self._generation, self._scorer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
