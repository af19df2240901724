"""A checkpoint that says a given text, whatever it is asked: each token decides the next one.

Layers that add nothing leave a token's own embedding, one direction for each token, and the output
matrix sends it to its successor. Every engine loads it like any other.
"""

from __future__ import annotations

from pathlib import Path

import torch


def write_scripted(
    folder: Path, script: list[str], special: tuple[str, ...] = (), template: str | None = None
) -> Path:
    """A model that goes on from the first token of a script to its last, and then ends.

    Args:
        script: different words, without blanks; the first one ends every prompt.
        special: those of them that are special tokens.
        template: chat template; default: the message and the first word behind it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    assert len(set(script)) == len(script)
    names = ["<unk>", "<s>", "</s>", *script]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = template or "{{ messages[-1].content }} " + script[0]
    fast.save_pretrained(folder)
    size = 64
    assert len(names) <= size
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, dtype="float32",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name:
                weights.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        follows = {i: i + 1 for i in range(3, len(names) - 1)} | {len(names) - 1: 2}
        for token, following in follows.items():
            model.lm_head.weight[following, token] = 100.0
    model.save_pretrained(folder)
    return folder
