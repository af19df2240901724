"""Packed log-probabilities and gradients against each model's own forward, sequence by sequence."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bfpo_bench.engines.prefix import packed as packed_model
from bfpo_bench.engines.prefix.packed import Logprobs, PackedModel, Query
from bfpo_bench.engines.prefix.scorer import TokenRequest
from bfpo_bench.engines.prefix.tree import Row, pack
from tests.engines.architectures import PACKABLE, VOCABULARY, make, next_token_logprobs, shared


def tokens(rng: random.Random, low: int, high: int) -> list[int]:
    return [rng.randrange(3, VOCABULARY) for _ in range(rng.randint(low, high))]


def continuation(ids: list[int], start: int) -> TokenRequest:
    """The tokens from `start` on are wanted."""
    return TokenRequest(ids[:-1], Query(start - 1, ids[start:]))


@pytest.fixture(scope="module")
def requests() -> list[TokenRequest]:
    """All forms that are asked for, among requests that share beginnings of many lengths."""
    rng = random.Random(0)
    found = []
    for _ in range(5):
        question = tokens(rng, 4, 9)
        for _ in range(3):
            found.append(continuation(question + tokens(rng, 1, 6), len(question)))
    shared_context = found[0].ids
    found += [
        # Alternatives at one place, once at the end and once in the midst of a request.
        TokenRequest(shared_context, Query(len(shared_context) - 1, [7, 30, 2], labels=True)),
        TokenRequest(shared_context, Query(2, [50, 0], labels=True)),
        # The same request with other targets; one that begins another; one of a single token.
        TokenRequest(shared_context, Query(1, [9, 8])),
        TokenRequest(shared_context, Query(1, [9, 8])),
        TokenRequest(shared_context[:3], Query(0, [5, 6, 7])),
        TokenRequest([5], Query(0, [6])),
        # Rolling: everything after the first token.
        continuation(tokens(rng, 20, 20), 1),
    ]
    return found


def read(
    model: Any, requests: list[TokenRequest], max_tokens: int = 40
) -> tuple[Logprobs, list[int]]:
    """Packs and reads; also returns the request of each reading."""
    rows = pack([request.ids for request in requests], max_tokens)
    order = [i for row in rows for i in row.requests]
    queries = [[requests[i].query for i in row.requests] for row in rows]
    return PackedModel(model).read(rows, queries), order


def expected(model: Any, request: TokenRequest) -> tuple[torch.Tensor, list[bool]]:
    """Log-probabilities of a request's targets, and whether each is the largest."""
    table = next_token_logprobs(model, list(request.ids))
    want = request.query
    steps = [want.start + (0 if want.labels else k) for k in range(len(want.targets))]
    values = [table[at, target] for at, target in zip(steps, want.targets, strict=True)]
    best = [int(table[at].argmax()) == t for at, t in zip(steps, want.targets, strict=True)]
    return torch.stack(values), best


def per_request(readings: Logprobs) -> list[torch.Tensor]:
    return [readings.logprobs[readings.owners == k] for k in range(readings.requests)]


@pytest.mark.parametrize("name", PACKABLE)
def test_logprobs_equal_the_model_s_own(name: str, requests: list[TokenRequest]) -> None:
    model = shared(name)
    with torch.inference_mode():
        readings, order = read(model, requests)
        assert sorted(order) == list(range(len(requests)))
        for found, index in zip(per_request(readings), order, strict=True):
            right, _ = expected(model, requests[index])
            torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)


def test_greedy_is_the_argmax_of_every_step() -> None:
    """Requests written by greedy decoding, and the same with one token changed."""
    model = shared("llama")
    rng = random.Random(1)
    requests = []
    with torch.inference_mode():
        for _ in range(6):
            ids = tokens(rng, 3, 6)
            context = len(ids)
            for _ in range(4):
                ids.append(int(next_token_logprobs(model, ids)[-1].argmax()))
            requests.append(continuation(ids, context))
            changed = [*ids[:-1], (ids[-1] + 1) % VOCABULARY]
            requests.append(continuation(changed, context))
        readings, order = read(model, requests)
    for k, index in enumerate(order):
        greedy = readings.greedy[readings.owners == k]
        assert greedy.tolist() == expected(model, requests[index])[1]
        assert bool(greedy.all()) == (index % 2 == 0)


def test_sums_are_log_likelihoods(requests: list[TokenRequest]) -> None:
    model = shared("llama")
    with torch.inference_mode():
        readings, order = read(model, requests)
        for total, index in zip(readings.sums(), order, strict=True):
            assert float(total) == pytest.approx(
                float(expected(model, requests[index])[0].sum()), 1e-5
            )


@pytest.mark.parametrize("max_tokens", [1, 15, 1000])
def test_rows_of_any_length_say_the_same(max_tokens: int, requests: list[TokenRequest]) -> None:
    model = shared("gemma3")
    with torch.inference_mode():
        readings, order = read(model, requests, max_tokens)
        for found, index in zip(per_request(readings), order, strict=True):
            right, _ = expected(model, requests[index])
            torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------- gradients


def weights_of(requests: list[TokenRequest]) -> list[float]:
    """Different weights of the requests in a loss, so that a mix-up of them shows."""
    return [(-1) ** i * (1 + i / 7) for i in range(len(requests))]


def packed_gradients(model: Any, requests: list[TokenRequest]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    readings, order = read(model, requests)
    weights = weights_of(requests)
    loss = (readings.sums() * torch.tensor([weights[i] for i in order])).sum()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain_gradients(model: Any, requests: list[TokenRequest]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for request, weight in zip(requests, weights_of(requests), strict=True):
        (expected(model, request)[0].sum() * weight).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_gradients_equal(
    found: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float
) -> None:
    assert found.keys() == right.keys()
    for name, gradient in right.items():
        scale = float(gradient.norm())
        assert scale > 0, f"{name} takes no part; the test says nothing about it"
        assert float((found[name] - gradient).norm()) <= tolerance * scale, name


@pytest.mark.parametrize("name", ["llama", "mistral, window", "gemma2", "gemma3", "phi", "cohere"])
def test_gradients_equal_plain_ones_on_every_parameter(
    name: str, requests: list[TokenRequest]
) -> None:
    model = make(name)
    assert_gradients_equal(
        packed_gradients(model, requests), plain_gradients(model, requests), 1e-4
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_flow_through_chunks_that_are_computed_again(
    rows: int, requests: list[TokenRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("gemma2")
    monkeypatch.setattr(packed_model, "LOGITS_BYTES", rows * 4 * VOCABULARY)
    assert_gradients_equal(
        packed_gradients(model, requests), plain_gradients(model, requests), 1e-4
    )


def test_gradients_under_the_model_s_own_checkpointing(requests: list[TokenRequest]) -> None:
    model = make("llama").train()  # no dropout in it; transformers checkpoints in training only
    right = plain_gradients(model, requests)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    assert_gradients_equal(packed_gradients(model, requests), right, 1e-4)


def test_gradients_in_bfloat16_are_near_those_in_float32(requests: list[TokenRequest]) -> None:
    """As near as plain bfloat16 gradients are, within a factor."""
    exact = plain_gradients(make("llama"), requests)
    coarse = make("llama").bfloat16()
    packed = packed_gradients(coarse, requests)
    plain = plain_gradients(coarse, requests)

    def distance(found: dict[str, torch.Tensor]) -> float:
        parts = [(found[name].float() - exact[name]).norm() ** 2 for name in exact]
        return float(sum(parts)) ** 0.5

    size = float(sum(g.norm() ** 2 for g in exact.values())) ** 0.5
    assert distance(plain) < 0.2 * size
    assert distance(packed) < 1.5 * distance(plain)


# ---------------------------------------------------------------------------- memory


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation made, views of weights apart."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.elements = 0
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.weights:
                    self.elements = max(self.elements, tensor.numel())
        return output


def wide_model() -> Any:
    return make("llama", vocab_size=20000, tie_word_embeddings=True)


@pytest.mark.parametrize("gradients", [False, True])
def test_no_tensor_of_tokens_times_vocabulary_exists(
    gradients: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_model, "LOGITS_BYTES", 5 * 4 * 20000)
    model = wide_model()
    rng = random.Random(2)
    requests = [continuation(tokens(rng, 30, 30), 10) for _ in range(4)]
    with LargestTensor(model) as largest, torch.set_grad_enabled(gradients):
        readings, _ = read(model, requests, max_tokens=200)
        if gradients:
            readings.sums().sum().backward()
    # Five rows of logits; with gradients, that of the embedding too.
    limit = max(5 * 20000, model.get_input_embeddings().weight.numel() if gradients else 0)
    assert 20000 < largest.elements <= limit < 116 * 20000


def test_only_wanted_places_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three answers of one token: the place before them is one row of logits, not three."""
    model = shared("llama")
    seen = []
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        with torch.inference_mode():
            read(model, [continuation([5, 6, 7, 8, answer], 4) for answer in (9, 10, 11)])
    finally:
        handle.remove()
    assert seen == [1]


def test_padding_is_not_read() -> None:
    """A short row beside a long one: what the padding computes goes nowhere."""
    model = shared("llama")
    rng = random.Random(3)
    short, long = continuation([5, 6, 7], 1), continuation(tokens(rng, 30, 30), 1)
    rows: list[Row] = [*pack([long.ids], 64), *pack([short.ids], 64)]
    with torch.inference_mode():
        together = PackedModel(model).read(rows, [[long.query], [short.query]])
        right, _ = expected(model, short)
    torch.testing.assert_close(per_request(together)[1].double(), right, rtol=1e-5, atol=1e-5)
