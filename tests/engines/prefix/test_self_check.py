"""Which models are packed, and what happens to the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from bfpo_bench.engines import EngineOptions, ScoreRequest, open_engine
from bfpo_bench.engines.prefix.attention import FLEX
from bfpo_bench.engines.prefix.self_check import packing_fault
from tests.engines.architectures import FALLING_BACK, PACKABLE, make, shared


@pytest.mark.parametrize("name", PACKABLE)
def test_these_are_packed(name: str) -> None:
    assert packing_fault(shared(name)) is None


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_these_are_packed_in_16_bits_too(name: str, dtype: torch.dtype) -> None:
    model = make(name)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(0.3)  # real models do not amplify rounding as much
    assert packing_fault(model.to(dtype)) is None


@pytest.mark.parametrize("name", FALLING_BACK)
def test_these_are_not(name: str) -> None:
    assert packing_fault(shared(name)) is not None


def test_a_scaling_of_the_head_that_is_not_known_is_noticed() -> None:
    """A model like Llama whose forward multiplies its logits, as MiniCPM's does."""
    from transformers import LlamaForCausalLM

    class Scaled(LlamaForCausalLM):  # type: ignore[misc]
        def forward(self, *arguments: Any, **keywords: Any) -> Any:
            output = super().forward(*arguments, **keywords)
            output.logits = output.logits * 0.9
            return output

    model = Scaled(make("llama").config).eval()
    fault = packing_fault(model)
    assert fault is not None
    assert "differ by" in fault


def test_positions_counted_inside_the_model_are_noticed() -> None:
    """A model that overlooks ``position_ids``."""
    model = make("llama")
    forward = model.model.forward

    def overlooks(*arguments: Any, **keywords: Any) -> Any:
        keywords["position_ids"] = None
        return forward(*arguments, **keywords)

    model.model.forward = overlooks
    fault = packing_fault(model)
    assert fault is not None
    assert "differ by" in fault


def test_a_window_that_the_config_hides_is_noticed() -> None:
    """Packed with full attention, computed by the model within a window."""
    model = make("mistral, window", sliding_window=30)
    assert packing_fault(model) is None
    forward = model.forward

    def hides(*arguments: Any, **keywords: Any) -> Any:
        model.config.sliding_window = 8
        try:
            return forward(*arguments, **keywords)
        finally:
            model.config.sliding_window = 30

    model.forward = hides
    assert packing_fault(model) is not None


def test_a_window_counted_in_the_row_is_noticed() -> None:
    """GPT-Neo's local layers count distances between places, not positions: short rows hide it."""
    model = make("gpt-neo (local layers that count in the row)")
    model.config.attention_layers = None  # as a model would look that nobody knows
    fault = packing_fault(model)
    assert fault is not None
    assert "differ by" in fault


def test_layers_of_an_unknown_kind_are_not_packed() -> None:
    model = make("llama")
    model.config.layer_types = ["full_attention", "chunked_attention", "full_attention"]
    fault = packing_fault(model)
    assert fault is not None
    assert "chunked_attention" in fault


def test_nan_weights_are_no_fault_of_packing() -> None:
    model = make("llama")
    model.model.embed_tokens.weight.data.fill_(float("nan"))
    assert packing_fault(model) is None


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_checked_where_it_caps_scores_and_sdpa_does_not() -> None:
    """transformers leaves Gemma 2's capping of attention scores out of SDPA, not out of flex."""
    with torch.compiler.set_stance("force_eager"):
        assert packing_fault(make("gemma3", max_position_embeddings=512), FLEX) is None
        fault = packing_fault(make("gemma2", max_position_embeddings=512), FLEX)
    assert fault is not None
    assert "differ by" in fault


@pytest.mark.parametrize("name", FALLING_BACK)
def test_without_packing_scores_equal_lm_eval_and_it_is_said_once(
    name: str, tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    folder = str(tmp_path / "model")
    tokenizer.save_pretrained(folder)
    make(name, vocab_size=len(tokenizer)).save_pretrained(folder)
    requests = [
        ScoreRequest(f"the bike of {who} is", f" {what}", 0)
        for who in ("mine", "today and of nobody else who paints", "")
        for what in ("open", "yours today", "a b c")
    ]
    with caplog.at_level(logging.WARNING, "bfpo_bench"):
        engine = open_engine("hf", EngineOptions(folder, dtype="float32", device="cpu"))
        ours = dict(pair for batch in engine.score(requests) for pair in batch)
        list(engine.score(requests))
    said = [record for record in caplog.records if "without shared prefixes" in record.message]
    assert len(said) == 1

    stock = HFLM(folder, device="cpu", dtype="float32", batch_size=2, max_length=engine.max_length)
    theirs = stock.loglikelihood(
        [Instance("loglikelihood", {}, (r.context, r.continuation), 0) for r in requests],
        disable_tqdm=True,
    )
    for index, (loglikelihood, greedy) in enumerate(theirs):
        assert ours[index].loglikelihood == pytest.approx(loglikelihood, rel=1e-4, abs=1e-4)
        assert ours[index].is_greedy == greedy
