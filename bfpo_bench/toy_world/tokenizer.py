"""A byte-level BPE tokenizer, trained on the spot on the texts of the toy world."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bfpo_bench.toy_world.examples import corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

# Text that both models may meet although the world has none of it; weighs little against it.
_EXTRA = (" yes", " no", "Yes", "No", "yes", "no") * 50


def build_tokenizer(
    *,
    texts: Sequence[str] = (),
    whole: Sequence[str] = (),
    vocab_size: int = 2048,
    context: int = 2048,
) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same arguments always give the same one.

    Args:
        texts: more text to learn merges from, beside that of the toy world.
        whole: long fixed passages that become one vocabulary entry each. A judge reads the same
            350 words of instructions around every answer; as three entries instead of hundreds of
            tokens they cost a tiny model next to nothing.
        vocab_size: upper limit of the vocabulary without ``whole``.
        context: longest input in tokens that the tokenizer announces.

    Returns:
        A tokenizer that can represent every string, puts ``<s>`` in front, and has a chat template.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, BOS, EOS, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*corpus(random.Random(0)), *texts, *_EXTRA], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in whole])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
