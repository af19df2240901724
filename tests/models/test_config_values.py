"""Every architecture's config can be read for the memory that a model takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import transformers

from bfpo_bench.estimate.memory import _cache_layers
from bfpo_bench.models.config_values import cached_values, hidden, intermediate, number

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 8}


def test_one_number_for_all_layers() -> None:
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, intermediate_size=48)
    assert (hidden(config), intermediate(config)) == (32, 48)
    assert cached_values(config) == [2 * 2 * 8] * 4


def test_a_number_for_each_layer() -> None:
    """Gemma 3n: a list of widths, and layers that share what others cache."""
    config = transformers.Gemma3nTextConfig(
        **SIZES, num_key_value_heads=2, intermediate_size=[48, 64, 48, 48]
    )
    assert intermediate(config) == 64
    assert cached_values(config) == [2 * 2 * 8] * 4


def test_a_config_that_refuses_to_answer_for_all_layers() -> None:
    """Gemma 4: heads of the layers that see all are larger than those of the others."""
    config = transformers.Gemma4TextConfig(
        **SIZES,
        num_key_value_heads=2,
        global_head_dim=16,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
    )
    with pytest.raises(Exception, match="per-layer attribute"):
        _ = config.head_dim
    assert number(config, "head_dim") == 16
    assert cached_values(config)[:3] == [2 * 2 * 8] * 3
    assert cached_values(config)[3] % (2 * 16) == 0
    assert len(_cache_layers(config)) == 4 - config.num_kv_shared_layers


def test_without_heads_nothing_is_cached() -> None:
    config = transformers.MambaConfig(hidden_size=32, num_hidden_layers=3)
    assert cached_values(config) == [0, 0, 0]
    assert _cache_layers(config) == ()
    assert number(SimpleNamespace(flag=True), "flag") is None


def test_every_causal_config_of_transformers_can_be_read() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    read = 0
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            made = getattr(transformers, CONFIG_MAPPING_NAMES[name])()
        except Exception:  # made of other configs, or of a package that is not here
            continue
        config = made.get_text_config(decoder=True)
        assert hidden(config) >= 1
        assert intermediate(config) >= 1
        assert all(value >= 0 for value in cached_values(config))
        assert all(layer.values >= 0 for layer in _cache_layers(config))
        read += 1
    assert read > 100
