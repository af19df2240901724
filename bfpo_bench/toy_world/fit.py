"""What tiny models are made of: tokenizer, random weights, and a training loop for one core."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bfpo_bench.toy_world.datasets import corpus

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

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


@dataclass(frozen=True)
class Shape:
    """The size of a tiny Llama, and the greatest one of its vocabulary.

    ``width / heads`` must be a head size that vLLM's CPU kernels know (32 is the smallest).
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    context: int = 2048
    vocabulary: int = 2048


@dataclass(frozen=True)
class Sample:
    """Token ids and, for each of them, whether it is to be predicted."""

    ids: Sequence[int]
    learn: Sequence[bool]


def new_llama(
    tokenizer: PreTrainedTokenizerFast, shape: Shape, *, spread: float = 0.02
) -> LlamaForCausalLM:
    """A Llama with random float32 weights of standard deviation ``spread`` (seed torch first)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        initializer_range=spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)


def fit(
    model: LlamaForCausalLM,
    samples: Sequence[Sample],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    progress: Callable[[int, int, float], None] | None = None,
) -> float:
    """Train by next-token prediction; AdamW, linear warm-up over a tenth, cosine decay to zero.

    Args:
        model: trained in place, left in evaluation mode.
        samples: gone through in a shuffled order, as often as the steps need.
        steps: updates.
        batch: samples an update.
        rate: highest learning rate.
        seed: decides the order of the samples.
        progress: called after every update with (updates done, updates in all, loss).

    Returns:
        The loss of the last update, in nats per predicted token.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, steps // 10)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    pad = int(model.config.pad_token_id)
    loss = torch.zeros(())
    model.train()
    with _one_thread():
        for done, chosen in enumerate(
            _batches(samples, steps, batch, random.Random(seed)), start=1
        ):
            ids, mask, learn = _padded(chosen, pad)
            hidden = model.model(
                input_ids=ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
            # The vocabulary is half of such a model's arithmetic: only where something is learned.
            logits = model.lm_head(hidden[:, :-1][learn[:, 1:]])
            loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][learn[:, 1:]])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(done, steps, loss.item())
    model.eval()
    return loss.item()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: matrices this small gain nothing from a second, lose a lot when the
    cores are busy with something else, and the sums come out the same on every machine size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(
    samples: Sequence[Sample], steps: int, size: int, rng: random.Random
) -> Iterator[list[Sample]]:
    waiting: list[Sample] = []
    for _ in range(steps):
        while len(waiting) < size:
            waiting += rng.sample(samples, len(samples))
        yield waiting[:size]
        waiting = waiting[size:]


def _padded(chosen: Sequence[Sample], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and learning mask of shape (samples, longest), padded on the right."""
    import torch

    longest = max(len(sample.ids) for sample in chosen)
    ids = torch.full((len(chosen), longest), pad)
    mask = torch.zeros_like(ids)
    learn = torch.zeros_like(ids, dtype=torch.bool)
    for row, sample in enumerate(chosen):
        length = len(sample.ids)
        ids[row, :length] = torch.tensor(sample.ids)
        mask[row, :length] = 1
        learn[row, :length] = torch.tensor(sample.learn)
    return ids, mask, learn
