"""Models with random weights in the shapes that scoring is measured at.

What a model answers does not matter to how fast it answers, so nothing is downloaded: weights are
drawn on the spot, and a tokenizer is trained on the very texts that are going to be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bfpo_bench.toy_world.models import make_once

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "llama",
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "intermediate_size": 688,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 2000,
        "tie_word_embeddings": False,
    },
    # Qwen2-0.5B's config.json.
    "0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    },
    # Qwen2-7B's config.json.
    "7b": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
        "rope_theta": 1e6,
    },
}

TRAINED_VOCABULARY = 32_000
"""Most entries that the tokenizer is trained to; embeddings beyond them are there, but unused."""

END = "<|endoftext|>"


def make_model(name: str, folder: Path, texts: Iterable[str], dtype: str) -> Path:
    """A checkpoint of one of `SHAPES` with random weights and a tokenizer of its own.

    Args:
        name: which shape.
        folder: where checkpoints are kept; one that was made before is taken as it is.
        texts: what the tokenizer is trained on.
        dtype: of the weights.
    """
    shape = SHAPES[name]
    corpus = sorted(set(texts))

    def build(target: Path) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        config = transformers.AutoConfig.for_model(
            **shape,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = transformers.AutoModelForCausalLM.from_config(
                config, dtype=getattr(torch, dtype)
            )
        model.save_pretrained(str(target))
        _tokenizer(corpus, min(shape["vocab_size"], TRAINED_VOCABULARY)).save_pretrained(
            str(target)
        )

    size = sum(map(len, corpus))
    settings = {"shape": shape, "dtype": dtype, "texts": [len(corpus), size]}
    return make_once(folder / f"{name}-{dtype}-{size}", settings, build)


def _tokenizer(texts: list[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer that adds no special tokens, as Qwen's does not."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=4096
    )
