"""Responses from a transformers model: batches of similar lengths, chance from the request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from bfpo_bench.engines.batching import pending, plan_batches, power_of_two
from bfpo_bench.engines.hf_memory import halve_when_full
from bfpo_bench.engines.protocol import (
    Done,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Sampling,
)
from bfpo_bench.engines.sampling import cut_at_stop, seeded_processor, stop_string_criterion
from bfpo_bench.engines.tokenization import encode_many, fit_prompt

MAX_SEQUENCES = 128


class HFGeneration:
    """The generating half of :class:`bfpo_bench.engines.hf.HFEngine`.

    Args:
        model: a causal transformers model; its generation config is replaced, for sampling
            settings that ship with a checkpoint must not leak into ours.
        pad_id: the token that fills rows up.
        batch_size: rows of a batch; None goes by `MAX_SEQUENCES` and the memory at hand.
    """

    def __init__(
        self, model: Any, tokenizer: Any, max_length: int, pad_id: int, batch_size: int | None
    ) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._batch_size = batch_size
        self._eos_ids = end_ids(model, tokenizer)
        self._pad_id = pad_id
        model.generation_config = GenerationConfig(
            eos_token_id=sorted(self._eos_ids) or None, pad_token_id=pad_id
        )

    def respond(
        self, requests: Sequence[GenerateRequest], done: Done = ()
    ) -> Iterator[list[tuple[int, Response]]]:
        """See :class:`bfpo_bench.engines.Engine`."""
        known = set(done)
        for sampling in dict.fromkeys(r.sampling for r in requests):
            mine = [i for i, r in enumerate(requests) if r.sampling == sampling]
            encoded = encode_many(self.tokenizer, [requests[i].prompt for i in mine])
            prompts = {
                i: fit_prompt(ids, sampling.max_new_tokens, self.max_length)
                for i, ids in zip(mine, encoded, strict=True)
            }
            lengths = [len(prompts[i][0]) + sampling.max_new_tokens for i in mine]
            plan = plan_batches(
                lengths,
                max_sequences=self._batch_size or MAX_SEQUENCES,
                max_tokens=self._cache_token_budget(),
            )
            for batch in pending([[mine[k] for k in b] for b in plan], known):
                run = partial(self._respond_some, requests, prompts, sampling)
                try:
                    responses = halve_when_full(run, batch)
                except NonFiniteLogits as error:
                    raise NonFiniteLogits(batch[error.index]) from error
                yield list(zip(batch, responses, strict=True))

    def _respond_some(
        self,
        requests: Sequence[GenerateRequest],
        prompts: dict[int, tuple[list[int], int]],
        sampling: Sampling,
        part: list[int],
    ) -> list[Response]:
        seeds = [requests[i].seed for i in part]
        return self._respond_batch([prompts[i] for i in part], seeds, sampling)

    @torch.inference_mode()
    def _respond_batch(
        self, prompts: list[tuple[list[int], int]], seeds: list[int], sampling: Sampling
    ) -> list[Response]:
        width = max(len(ids) for ids, _ in prompts)
        ids = torch.full((len(prompts), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for i, (prompt, _) in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.tensor(prompt)
            mask[i, width - len(prompt) :] = 1
        criteria = (
            [stop_string_criterion(self.tokenizer, sampling.stop, width)] if sampling.stop else []
        )
        output = self.model.generate(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            logits_processor=[seeded_processor(seeds, sampling, width)],
            stopping_criteria=criteria,
        )
        return [
            self._response(new, len(prompt), cut, sampling)
            for new, (prompt, cut) in zip(output[:, width:].tolist(), prompts, strict=True)
        ]

    def _response(
        self, new: list[int], prompt_tokens: int, cut: int, sampling: Sampling
    ) -> Response:
        end = next((at for at, token in enumerate(new) if token in self._eos_ids), None)
        kept = new[:end] if end is not None else new
        text = self.tokenizer.decode(
            kept, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        text, stopped = cut_at_stop(text, sampling.stop)
        if stopped and end is None:
            # Rows that stop early are padded until the last one is done: count to the stop.
            kept = _shortest_with(self.tokenizer, kept, sampling.stop)
        finish = "stop" if end is not None or stopped else "length"
        return Response(text, len(kept), prompt_tokens, cut, finish)

    def _cache_token_budget(self) -> int:
        """Tokens whose keys and values may be held at once: half of the free GPU memory."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        per_token = 2 * config.num_hidden_layers * heads * size * self.model.dtype.itemsize
        if self.model.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.model.device)
            return power_of_two(0.5 * free / per_token, 1024, 1 << 20)
        return power_of_two(2e9 / per_token, 1024, 1 << 16)


def end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a response: the checkpoint's generation config's and the tokenizer's EOS.

    Chat models often end a turn with a token that only one of the two names.
    """
    declared = getattr(model.generation_config, "eos_token_id", None)
    ends = set(declared) if isinstance(declared, (list, tuple)) else {declared}
    return {int(token) for token in ends | {tokenizer.eos_token_id} if token is not None}


def _shortest_with(tokenizer: Any, ids: list[int], stop: Sequence[str]) -> list[int]:
    """The shortest beginning of `ids` whose text holds a stop string."""
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        text = tokenizer.decode(ids[:middle], skip_special_tokens=True)
        low, high = (low, middle) if any(s in text for s in stop) else (middle + 1, high)
    return ids[:low]
