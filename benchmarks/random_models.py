"""Models with random weights in the shapes that scoring is measured at.

What a model answers does not matter to how fast it answers, so nothing is downloaded: weights are
drawn on the spot, and a tokenizer is trained on the very texts that are going to be asked. Models
of one shape share their weights on disk. To draw them beforehand::

    python -m benchmarks.random_models --model 7b --dtype bfloat16
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.toy_world.made_once import make_once

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

MODELS = Path(
    os.environ.get("BFPO_BENCH_MODELS") or Path(tempfile.gettempdir()) / "bfpo-bench-models"
)
"""Where they are kept, if nobody says otherwise."""

SHARD = "4GB"
"""Of a weight file; several are written and read faster than one."""

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
    weights = make_weights(name, folder, dtype)

    def build(target: Path) -> None:
        copy_model(weights, target)
        _tokenizer(corpus, min(shape["vocab_size"], TRAINED_VOCABULARY)).save_pretrained(
            str(target)
        )

    size = sum(map(len, corpus))
    settings = {"shape": shape, "dtype": dtype, "texts": [len(corpus), size]}
    return make_once(folder / f"{name}-{dtype}-{size}", settings, build)


def copy_model(model: Path, target: Path) -> None:
    """Copies a model folder, but for the weights, which both then share."""

    def taken(source: str, place: str) -> None:
        if source.endswith(".safetensors"):
            os.link(source, place)
        else:
            shutil.copyfile(source, place)

    shutil.copytree(model, target, copy_function=taken, dirs_exist_ok=True)


def make_weights(name: str, folder: Path, dtype: str) -> Path:
    """A model folder of one of `SHAPES` without a tokenizer, drawn on a GPU where there is one."""
    shape = SHAPES[name]

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
        model.save_pretrained(str(target), max_shard_size=SHARD)

    return make_once(folder / f"{name}-{dtype}", {"shape": shape, "dtype": dtype}, build)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the weights of a shape."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_models")
    parser.add_argument("--model", choices=list(SHAPES), default="tiny")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--models", type=Path, default=MODELS)
    options = parser.parse_args(arguments)
    print(make_weights(options.model, options.models, options.dtype))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
