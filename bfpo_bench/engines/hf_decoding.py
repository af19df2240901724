"""The decoding loop of the transformers engine: rows that have ended leave the batch.

``generate`` computes every row until the last one has ended. Responses differ in length by a
factor of ten, so most of that work is thrown away. Here the rows that go on move together as soon
as a tenth of them has ended. What is computed together depends on the batch alone, so a batch
that is computed again after an interruption gives the same bits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from bfpo_bench.engines.protocol import NonFiniteLogits
from bfpo_bench.engines.sampling import pick, uniform_draws
from bfpo_bench.sampling import Sampling

DROP_BELOW = 0.9
"""Ended rows are dropped when no more than this share goes on. Each time the keys and values of
the others are copied, which costs about as much as one or two steps."""

ROOM = 128
"""Tokens by which the space for keys and values grows."""


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
    """

    def __init__(
        self, seeds: Sequence[int], sampling: Sampling, ends: Collection[int], tokenizer: Any
    ) -> None:
        self._sampling = sampling
        self._ends = frozenset(ends)
        self._tokenizer = tokenizer
        self._draws = uniform_draws(seeds, sampling.max_new_tokens)
        # A stop string of n bytes spans at most n tokens, plus one that began before it.
        self._tail = max((len(text.encode()) for text in sampling.stop), default=0) + 1

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **state: Any,
    ) -> list[list[int]]:
        """New tokens of each row, the one that ends it included.

        Raises:
            NonFiniteLogits: names the row.
        """
        _give_room(state.get("past_key_values"))
        tokens: list[list[int]] = [[] for _ in range(len(input_ids))]
        rows = list(range(len(input_ids)))
        going = set(rows)
        for step in range(self._sampling.max_new_tokens):
            inputs = model.prepare_inputs_for_generation(
                input_ids,
                next_sequence_length=1 if step else None,
                is_first_iteration=not step,
                **state,
            )
            outputs = model(**inputs, return_dict=True)
            state = model._update_model_kwargs_for_generation(outputs, state)
            # The copy lets the logits of the whole prompt go.
            logits = outputs.logits[:, -1].to(torch.float32, copy=True)
            del outputs
            chosen = self._choose(logits, rows, step)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                if row in going:
                    tokens[row].append(token)
                    if self._has_ended(tokens[row]):
                        going.remove(row)
            if not going:
                break
            input_ids = torch.cat([input_ids, chosen.unsqueeze(-1)], dim=-1)
            if len(going) <= DROP_BELOW * len(rows) and _can_drop(state, len(rows)):
                places = [place for place, row in enumerate(rows) if row in going]
                kept = torch.tensor(places, device=input_ids.device)
                input_ids = input_ids[kept]
                _keep(state, kept)
                rows = [rows[place] for place in places]
        return tokens

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


def _can_drop(state: dict[str, Any], rows: int) -> bool:
    """Whether everything that belongs to the rows is known; caches of other kinds stay whole."""
    layers = getattr(state.get("past_key_values"), "layers", None)
    return (
        layers is not None
        and all(hasattr(layer, "batch_select_indices") for layer in layers)
        and all(
            value.dim() == 2 and len(value) == rows
            for value in state.values()
            if isinstance(value, torch.Tensor)
        )
    )


def _keep(state: dict[str, Any], kept: torch.Tensor) -> None:
    state["past_key_values"].batch_select_indices(kept)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            state[name] = value[kept]
