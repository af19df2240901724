"""Responses from a transformers model: batches of similar lengths, chance from the request."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.batching import halve_when_full, plan_batches, power_of_two
from bfpo_bench.engines.hf.decode import Decoding
from bfpo_bench.engines.hf.padding_check import ALONE, ANY, EQUAL, company
from bfpo_bench.engines.hf.unfinished import Unfinished
from bfpo_bench.engines.plan import Plan, answers_here, windows
from bfpo_bench.engines.protocol import Answered, GenerateRequest, NonFiniteLogits, Response
from bfpo_bench.engines.thoughts import Decoder, apart
from bfpo_bench.engines.tokenization import check_known, cut_at_stop, encode_prompts, fit_prompt
from bfpo_bench.models.config import cached_values, hidden

log = logging.getLogger(__name__)

MAX_SEQUENCES = 128


class HFGeneration:
    """The generating half of :class:`bfpo_bench.engines.hf.engine.HFEngine`.

    Args:
        model: a causal transformers model. Sampling settings that ship with the checkpoint stay
            out: only what a request asks for counts.
        pad_id: the token that fills rows up.
        batch_size: rows of a batch; None goes by `MAX_SEQUENCES` and the memory at hand.
        scratch: folder for a batch that is stopped; None keeps nothing.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_length: int,
        pad_id: int,
        batch_size: int | None,
        scratch: Path | None = None,
    ) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._batch_size = batch_size
        self._scratch = scratch
        self._eos_ids = end_ids(model, tokenizer)
        self._decoder = Decoder(tokenizer)
        self._pad_id = pad_id
        # Found before anything has run: later the free memory tells of what ran, and a resumed run
        # would plan other batches.
        self.max_tokens = _cache_token_budget(model)
        self._config = GenerationConfig(
            eos_token_id=sorted(self._eos_ids) or None, pad_token_id=pad_id
        )

    def respond(
        self, requests: Sequence[GenerateRequest], answered: Answered = ()
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """See :class:`bfpo_bench.engines.Engine`."""
        yield from answers_here(self, windows(requests, answered), answered)

    def plan_responses(self, requests: Sequence[GenerateRequest]) -> Plan[Response]:
        """The batches in which responses to these requests are decoded."""
        encoded = encode_prompts(self.tokenizer, requests)
        check_known(encoded, embedding_count(self.model))
        prompts = [
            fit_prompt(ids, request.most_tokens, self.max_length)
            for request, ids in zip(requests, encoded, strict=True)
        ]
        drawn = [
            replace(request.sampling, max_new_tokens=request.most_tokens) for request in requests
        ]
        batches: list[list[int]] = []
        for sampling in dict.fromkeys(drawn):
            mine = [i for i, own in enumerate(drawn) if own == sampling]
            plan = self._plan([len(prompts[i][0]) for i in mine], sampling.max_new_tokens)
            batches += [[mine[k] for k in batch] for batch in plan]

        def compute(
            numbers: Sequence[int], known: Set[int]
        ) -> Iterator[list[tuple[int, Response]]]:
            def run(part: list[int]) -> Iterator[list[tuple[int, Response]]]:
                asked = [requests[i] for i in part]
                rows = {row for row, i in enumerate(part) if i in known}
                try:
                    for some in self._respond_batch(
                        [prompts[i] for i in part], asked, drawn[part[0]], rows
                    ):
                        yield [(part[row], response) for row, response in some]
                except NonFiniteLogits as error:
                    raise NonFiniteLogits(part[error.index]) from error

            for number in numbers:
                yield from halve_when_full(run, batches[number])

        return Plan(batches, compute)

    def _plan(self, lengths: list[int], new: int) -> list[list[int]]:
        """Which prompts are decoded together, by their lengths."""
        company = self._company
        most = 1 if company == ALONE else self._batch_size or MAX_SEQUENCES
        if company != EQUAL:
            return plan_batches([length + new for length in lengths], most, self.max_tokens)
        batches = []
        for length in sorted(set(lengths), reverse=True):
            alike = [i for i, own in enumerate(lengths) if own == length]
            plan = plan_batches([length + new] * len(alike), most, self.max_tokens)
            batches += [[alike[k] for k in batch] for batch in plan]
        return batches

    @cached_property
    def _company(self) -> str:
        if self._batch_size == 1:
            return ANY
        vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        found = company(self._decode, vocabulary, self.model.dtype, self.max_length)
        if found != ANY:
            log.warning(
                "%s takes the padding of a batch into its state; %s.",
                type(self.model).__name__,
                "prompts of equal length alone are answered together"
                if found == EQUAL
                else "prompts are answered one by one",
            )
        return found

    def _respond_batch(
        self,
        prompts: list[tuple[list[int], int]],
        requests: list[GenerateRequest],
        sampling: Sampling,
        known: Set[int],
    ) -> Iterator[list[tuple[int, Response]]]:
        """Yields (row, response) of the rows that are not known, soon after they have ended."""
        seeds = [request.seed for request in requests]
        asked = ([ids for ids, _ in prompts], seeds, sampling.as_dict(), sorted(self._eos_ids))
        kept = Unfinished(self._scratch, asked)
        decoding = Decoding(seeds, sampling, self._eos_ids, self.tokenizer, kept, known)
        for ended in self._decode([ids for ids, _ in prompts], decoding, sampling.max_new_tokens):
            yield [
                (row, self._response(new, len(prompts[row][0]), prompts[row][1], requests[row]))
                for row, new in ended
            ]

    def _decode(
        self, prompts: list[list[int]], decoding: Decoding, new: int
    ) -> Iterator[list[tuple[int, list[int]]]]:
        """What `decoding` makes of prompts that are filled up on the left."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.tensor(prompt)
            mask[i, width - len(prompt) :] = 1
        own, self.model.generation_config = self.model.generation_config, self._config
        try:
            # Readies the cache and gives back the iterator that `decoding` is.
            found: Iterator[list[tuple[int, list[int]]]] = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=new,
                do_sample=False,
                custom_generate=decoding,
            )
        finally:
            # lm-eval's own generation goes by the checkpoint's.
            self.model.generation_config = own
        return found

    def _response(
        self, new: list[int], prompt_tokens: int, cut: int, request: GenerateRequest
    ) -> Response:
        ended = new[-1] in self._eos_ids
        new = new[:-1] if ended else new
        kept = self._decoder.within(new, request)
        text, stopped = cut_at_stop(self._decoder.text(kept), request.sampling.stop)
        finish = "stop" if stopped or (ended and len(kept) == len(new)) else "length"
        response = Response(text, len(kept), prompt_tokens, cut, finish)
        return apart(response, request.prompt, self._decoder.marks)


def _cache_token_budget(model: Any) -> int:
    """Tokens whose keys and values may be held at once: half of the free GPU memory."""
    # A state-space model caches no keys and values, and has less to hold than this.
    config = model.config.get_text_config()
    values = sum(cached_values(config)) or hidden(config)
    per_token = values * model.dtype.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        return power_of_two(0.5 * free / per_token, 1024, 1 << 20)
    return power_of_two(2e9 / per_token, 1024, 1 << 16)


def embedding_count(model: Any) -> int:
    """Tokens that a model has an embedding of; a tokenizer may know more of them."""
    return int(model.get_input_embeddings().weight.shape[0])


def end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a response: the checkpoint's generation config's and the tokenizer's EOS.

    Chat models often end a turn with a token that only one of the two names.
    """
    declared = getattr(model.generation_config, "eos_token_id", None)
    ends = set(declared) if isinstance(declared, (list, tuple)) else {declared}
    return {int(token) for token in ends | {tokenizer.eos_token_id} if token is not None}
