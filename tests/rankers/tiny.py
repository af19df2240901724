"""Tiny rankers with random weights, in the layout of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Model,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

MARKS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
DEBERTA: dict[str, Any] = {
    **SHAPE,
    # As in deberta-v3: relative positions alone, no token types.
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_position_embeddings": 64,
    "max_relative_positions": -1,
}


def tokenizer_of_bytes() -> PreTrainedTokenizerFast:
    """[CLS] text [SEP], a token per byte, as DeBERTa's tokenizer frames a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *alphabet]
    made = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    frame = [("[CLS]", 1), ("[SEP]", 2)]
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", frame
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    )


def make_pairrm(folder: Path, tasks: int = 2, seed: int = 0) -> Path:
    """A PairRM checkpoint under the published names of its weights."""
    tokenizer = tokenizer_of_bytes()
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    tokenizer.save_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids(list(MARKS))
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        pad_token_id=0,
        **DEBERTA,
        n_tasks=tasks,
        drop_out=0.05,
        sep_token_id=2,
        **dict(zip(("source_prefix_id", "cand1_prefix_id"), ids, strict=False)),
    )
    config.save_pretrained(folder)
    torch.manual_seed(seed)
    size = config.hidden_size
    weights = {
        f"pretrained_model.{name}": tensor + 0.2 * torch.randn_like(tensor)
        for name, tensor in DebertaV2Model(config).state_dict().items()
    }
    weights |= {
        "head_layer.1.weight": torch.randn(size, 2 * size) / 8,
        "head_layer.1.bias": torch.randn(size),
        "head_layer.4.weight": torch.randn(tasks, size),
        "head_layer.4.bias": torch.randn(tasks),
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def make_deberta_reward(folder: Path, labels: int = 1) -> Path:
    """A reward model without a chat template, as OpenAssistant's."""
    tokenizer = tokenizer_of_bytes()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = DebertaV2Config(vocab_size=len(tokenizer), num_labels=labels, **DEBERTA)
    _save(DebertaV2ForSequenceClassification(config), folder)
    return folder


def make_llama_reward(folder: Path, template_from: Path) -> Path:
    """A reward model with a chat template; tokenizer and template of another model."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(template_from))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_labels=1,
        max_position_embeddings=256,
        # The padding token ends every text here: what is read must be the last token all the same.
        pad_token_id=tokenizer.eos_token_id,
        **SHAPE,
    )
    _save(LlamaForSequenceClassification(config), folder)
    return folder


def _save(model: Any, folder: Path) -> None:
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)


def change_config(folder: Path, **values: Any) -> None:
    """Writes other values into a checkpoint's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
