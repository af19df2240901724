"""The decoding loop of the transformers engine: rows that have ended leave the batch.

``generate`` computes every row until the last one has ended. Responses differ in length by a
factor of ten, so most of that work is thrown away. Here the rows that go on move together as soon
as a tenth of them has ended, and a row's tokens are handed out when it ends. What is computed
together depends on the batch alone, and a batch that is stopped is kept as it is
(:mod:`bfpo_bench.engines.hf.unfinished`), so an interruption changes no bit.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, LinearAttentionCacheLayerMixin

from bfpo_bench.common.interrupts import held
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.hf.draw import pick, uniform_draws
from bfpo_bench.engines.hf.unfinished import Batch, Unfinished, cache_of, is_filled
from bfpo_bench.engines.protocol import NonFiniteLogits

DROP_BELOW = 0.9
"""Ended rows are dropped when no more than this share goes on. Each time the keys and values of
the others are copied, which costs about as much as one or two steps."""

ROOM = 128
"""Tokens by which the space for keys and values grows."""


HAND_OUT_SECONDS = 0.5
"""Rows that have ended are handed out (and stored by the caller) at least this often."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room behind them, so that a step writes one token and copies none.

    transformers' own layer copies all that it holds in every step: a third of the time on a CPU.
    """

    keys: torch.Tensor
    values: torch.Tensor
    _key_space: torch.Tensor | None = None
    _value_space: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds the keys and values of new tokens, ``[rows, heads, tokens, size]``; returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        have = self.get_seq_length()
        self._key_space = _with_room(self._key_space, self.keys, key_states, have)
        self._value_space = _with_room(self._value_space, self.values, value_states, have)
        end = have + key_states.shape[-2]
        self.keys, self.values = self._key_space[:, :, :end], self._value_space[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps these rows."""
        super().batch_select_indices(indices)
        self._key_space = self._value_space = None


def _with_room(
    space: torch.Tensor | None, held: torch.Tensor, new: torch.Tensor, have: int
) -> torch.Tensor:
    """`new` written behind the `have` tokens of `space`, or of a larger copy of what it held."""
    end = have + new.shape[-2]
    if space is None or space.shape[-2] < end:
        space = new.new_empty((*new.shape[:2], end + ROOM, new.shape[-1]))
        if have:
            space[:, :, :have] = held
    space[:, :, have:end] = new
    return space


def _give_room(cache: Any) -> None:
    layers = getattr(cache, "layers", [])
    for place, layer in enumerate(layers):
        # Sliding windows, linear attention and the like keep their own layers.
        if type(layer) is DynamicLayer:
            layers[place] = RoomyLayer()


class Decoding:
    """Decodes one batch; given to ``generate`` as ``custom_generate``, which readies the cache.

    Args:
        seeds: one for each row.
        ends: tokens that end a response.
        tokenizer: finds stop strings.
        kept: where the batch lies when it is stopped.
        known: rows whose answers are not wanted, only computed beside the others: what is computed
            together must be the same whatever is known.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        sampling: Sampling,
        ends: Collection[int],
        tokenizer: Any,
        kept: Unfinished,
        known: Collection[int] = (),
    ) -> None:
        self._sampling = sampling
        self._ends = frozenset(ends)
        self._tokenizer = tokenizer
        self._kept = kept
        self._known = frozenset(known)
        self._draws = uniform_draws(seeds, sampling.max_new_tokens)
        # A stop string of n bytes spans at most n tokens, plus one that began before it.
        self._tail = max((len(text.encode()) for text in sampling.stop), default=0) + 1

    @torch.inference_mode()
    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **state: Any,
    ) -> Iterator[list[tuple[int, list[int]]]]:
        """Yields (row, its new tokens with the one that ends it) of rows that have ended.

        Raises:
            NonFiniteLogits: names the row.
        """
        _give_room(cache_of(state))
        rows = list(range(len(input_ids)))
        batch = Batch(input_ids, state, [[] for _ in rows], rows, set(rows))
        batch = self._kept.restore(batch, model.config) or batch
        handed = set(self._known)
        last = time.monotonic()
        try:
            while batch.going - self._known and batch.step < self._sampling.max_new_tokens:
                # Reading the prompts may take long, and is nothing that could be kept.
                with held() if batch.step else nullcontext():
                    self._step(model, batch)
                if time.monotonic() - last > HAND_OUT_SECONDS:
                    yield _ended(batch, handed)
                    last = time.monotonic()
                self._kept.save_when_due(batch)
        except (KeyboardInterrupt, GeneratorExit):
            self._kept.save(batch)
            raise
        batch.going.clear()
        yield _ended(batch, handed)
        self._kept.discard()

    def _step(self, model: Any, batch: Batch) -> None:
        """One more token for each row."""
        batch.whole = False
        inputs = model.prepare_inputs_for_generation(
            batch.input_ids,
            next_sequence_length=1 if batch.step else None,
            is_first_iteration=not batch.step,
            **batch.state,
        )
        outputs = model(**inputs, return_dict=True)
        batch.state = model._update_model_kwargs_for_generation(outputs, batch.state)
        # The copy lets the logits of the whole prompt go.
        logits = outputs.logits[:, -1].to(torch.float32, copy=True)
        del outputs
        chosen = self._choose(logits, batch.rows, batch.step)
        for row, token in zip(batch.rows, chosen.tolist(), strict=True):
            if row in batch.going:
                batch.tokens[row].append(token)
                if self._has_ended(batch.tokens[row]):
                    batch.going.remove(row)
        batch.step += 1
        batch.input_ids = torch.cat([batch.input_ids, chosen.unsqueeze(-1)], dim=-1)
        rows = len(batch.rows)
        if 0 < len(batch.going) <= DROP_BELOW * rows and _can_drop(batch.state, rows):
            places = [place for place, row in enumerate(batch.rows) if row in batch.going]
            kept = torch.tensor(places, device=batch.input_ids.device)
            batch.input_ids = batch.input_ids[kept]
            _keep(batch.state, kept)
            batch.rows = [batch.rows[place] for place in places]
        batch.whole = True

    def _choose(self, logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        # The greatest logit is NaN where one is NaN, and infinite where one is.
        finite = logits.amax(dim=-1).isfinite()
        if not bool(finite.all()):
            raise NonFiniteLogits(rows[int((~finite).nonzero()[0])])
        return pick(logits, self._draws[rows, step], self._sampling)

    def _has_ended(self, tokens: list[int]) -> bool:
        if tokens[-1] in self._ends:
            return True
        if not self._sampling.stop:
            return False
        text = self._tokenizer.decode(tokens[-self._tail :], skip_special_tokens=True)
        return any(stop in text for stop in self._sampling.stop)


def _ended(batch: Batch, handed: set[int]) -> list[tuple[int, list[int]]]:
    """Rows that have ended and were not handed out before."""
    found = [
        (row, tokens)
        for row, tokens in enumerate(batch.tokens)
        if row not in batch.going and row not in handed
    ]
    handed.update(row for row, _ in found)
    return found


def _can_drop(state: dict[str, Any], rows: int) -> bool:
    """Whether everything that belongs to the rows is known; caches of other kinds stay whole."""
    cache = cache_of(state)
    return (
        cache is not None
        and (type(cache) is not DynamicCache or all(map(is_filled, cache.layers)))
        and all(
            value.dim() == 2 and len(value) == rows
            for value in state.values()
            if isinstance(value, torch.Tensor)
        )
    )


def _keep(state: dict[str, Any], kept: torch.Tensor) -> None:
    cache = cache_of(state)
    if type(cache) is not DynamicCache:
        cache.batch_select_indices(kept)
    else:
        for layer in cache.layers:
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                # States have no other way; where there are keys and values too, it takes both.
                layer.reorder_cache(kept)
            else:
                layer.batch_select_indices(kept)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            state[name] = value[kept]
