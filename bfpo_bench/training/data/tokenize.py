"""Training pairs as token ids: the response whole, the prompt cut on its left where need be.

The prompt is the rendered conversation up to and with the generation prompt, tokenised by itself:
the ids that the model is asked with, the same for both responses. A response is what follows in the
rendered conversation, its end-of-turn token included; its ids are those that stand after the
prompt's when both are tokenised as one text. Only where a token would span the border between them
(the ids of the whole do not begin with the prompt's) is the response tokenised apart. Splitting by
character offsets instead would end the prompt in another token than the model is asked with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.clock import DATE
from bfpo_bench.training.data.chat_template import ChatTemplate, Rendered
from bfpo_bench.training.data.limits import PAPER, Ids, Limits, fit
from bfpo_bench.training.data.preferences import Messages, Pair, Segments
from bfpo_bench.training.data.segments import token_weights

T = TypeVar("T")

MASKED = (
    "no token of a response weighs more than 0, so that nothing can be learnt from it; let its "
    "segments, or the set's 'emphasis', leave something of it."
)

_CHUNK = 256  # pairs that the tokenizer gets at once; it spreads a list over all cores


@dataclass(frozen=True)
class TokenPair:
    """A pair as the trainer takes it.

    Attributes:
        prompt: ids, with a BOS token only where the chat template writes one.
        chosen: ids that follow the prompt, end-of-turn token(s) included; none where an unpaired
            row has a response that loses alone.
        rejected: the same of the response that loses; none where there is only one that wins.
        chosen_safe: whether the winner is safe; None when not known.
        rejected_safe: the same of the loser.
        source: name of the set.
        margin: MODPO's, or None.
        cut: number of tokens that the prompt lost on its left.
        chosen_weights: of each token of the chosen response; None where all weigh 1.
        rejected_weights: of the rejected response.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    chosen_safe: bool | None
    rejected_safe: bool | None
    source: str
    margin: float | None
    cut: int
    chosen_weights: list[float] | None = None
    rejected_weights: list[float] | None = None

    @property
    def unpaired(self) -> bool:
        """Whether there is only one response, desirable or not."""
        return not (self.chosen and self.rejected)


@dataclass(frozen=True)
class TokenCounts:
    """What tokenising found.

    Attributes:
        pairs: number of pairs.
        cut: pairs of which anything was cut.
        prompts_cut: prompts that were cut on the left.
        responses_cut: responses, of two per pair at most, that were cut at the end.
        prompt_tokens: of all prompts after cutting, each counted once for its two responses.
        response_tokens: of all responses after cutting.
        longest: tokens of the longest pair, prompt and both responses, after cutting.
    """

    pairs: int
    cut: int
    prompts_cut: int
    responses_cut: int
    prompt_tokens: int
    response_tokens: int
    longest: int

    def __str__(self) -> str:
        tokens = self.prompt_tokens + self.response_tokens
        return (
            f"{self.pairs:,} pairs, {tokens:,} tokens; cut: {self.prompts_cut:,} prompts on the "
            f"left, {self.responses_cut:,} responses at the end"
        )


def tokenize_pairs(
    pairs: Sequence[Pair],
    tokenizer: Any,
    *,
    template: str | None = None,
    date: str = DATE,
    limits: Limits = PAPER,
    progress: Callable[[int], None] | None = None,
    broken: dict[int, str] | None = None,
) -> tuple[list[TokenPair], TokenCounts]:
    """The pairs as token ids, in order.

    Args:
        pairs: what to tokenise.
        tokenizer: a transformers tokenizer.
        template: chat template (Jinja) to use instead of the tokenizer's own.
        date: what its clock says.
        limits: how long a pair may be; see :func:`~bfpo_bench.training.data.limits.fit`.
        progress: called now and then with the number of pairs done.
        broken: gets index and sentence of each pair that the template cannot write or that has a
            response of no weight; it is left out. None: the first one is an error.

    Raises:
        BadInput: no template, one that cannot write a pair, a response of which no token weighs
            anything, or more than half of the pairs cut.
    """
    chat = ChatTemplate(tokenizer, template, date)
    chat.teach_end()
    ending = chat.missing
    header = max(1, len(_encode(tokenizer, [chat.header])[0]))
    tokens: list[TokenPair] = []
    cut = responses_cut = 0
    for start in range(0, len(pairs), _CHUNK):
        wanted = [
            (pair.where, partial(chat.render, pair)) for pair in pairs[start : start + _CHUNK]
        ]
        rendered = dict(_written(wanted, start, broken))
        encoded = _encoded(list(rendered.values()), tokenizer)
        for (index, texts), (prompt, *responses) in zip(rendered.items(), encoded, strict=True):
            pair = pairs[index]
            whole = Ids(prompt, *(response and response + ending for response in responses))
            has_bos = prompt[:1] == [tokenizer.bos_token_id]
            ids = fit(whole, limits, keep_start=int(has_bos), keep_end=header)
            one, two = (
                _weights(tokenizer, texts, side, prompt, len(ids[1 + side])) for side in (0, 1)
            )
            if any(weights is not None and not any(weights) for weights in (one, two)):
                _leave_out(broken, index, pair.where, MASKED)
                continue
            shortened = [len(a) < len(b) for a, b in zip(ids, whole, strict=True)]
            cut += any(shortened)
            responses_cut += sum(shortened[1:])
            tokens.append(
                TokenPair(
                    *ids,
                    chosen_safe=pair.chosen_safe,
                    rejected_safe=pair.rejected_safe,
                    source=pair.source,
                    margin=pair.margin,
                    cut=len(whole.prompt) - len(ids.prompt),
                    chosen_weights=one,
                    rejected_weights=two,
                )
            )
        if progress is not None:
            progress(min(start + _CHUNK, len(pairs)))
    if cut > len(tokens) / 2:
        names = ", ".join(sorted({repr(pair.source) for pair in tokens}))
        raise BadInput(
            f"{cut} of {len(tokens)} pairs of {names} are over the max_length of "
            f"{limits.max_length} tokens and would be cut, more than half; raise it, or train on "
            "shorter texts."
        )
    return tokens, _counts(tokens, cut, responses_cut)


def tokenize_conversations(
    conversations: Sequence[Messages],
    tokenizer: Any,
    template: str | None = None,
    longest: int | None = None,
    date: str = DATE,
    places: Sequence[str] | None = None,
    broken: dict[int, str] | None = None,
) -> tuple[list[np.ndarray], int]:
    """Whole conversations as token ids (int32), with an end-of-text token where pairs have one.

    Args:
        longest: what is longer is cut at its end.
        date: what the template's clock says.
        places: where each stands, for messages.
        broken: gets those that the template cannot write, as in :func:`tokenize_pairs`.

    Returns:
        the ids, and how many conversations were cut.
    """
    chat = ChatTemplate(tokenizer, template, date)
    chat.teach_end()
    ending = chat.missing
    found: list[np.ndarray] = []
    cut = 0
    for start in range(0, len(conversations), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(conversations)))
        wanted = [
            (places[i] if places else "", partial(chat.conversation, conversations[i]))
            for i in chunk
        ]
        texts = dict(_written(wanted, start, broken))
        for ids in _encode(tokenizer, list(texts.values())):
            whole = [*ids, *ending]
            cut += longest is not None and len(whole) > longest
            found.append(np.asarray(whole[:longest], dtype=np.int32))
    return found, cut


def conversation_weights(
    tokenizer: Any, chat: ChatTemplate, said: Messages, segments: Segments, count: int
) -> list[float] | None:
    """Of the first tokens of a conversation: 1 before its last answer; None where all are 1.

    Args:
        chat: the template that it was written with.
        segments: of the last answer.
        count: how many tokens it was cut to; what was added behind it weighs as its end.
    """
    text, weights = chat.weighed(said, segments)
    found = token_weights(text, weights, _offsets(tokenizer, text, []) or [])
    found = (found + [weights[-1]] * count)[:count]
    return None if all(one == 1 for one in found) else found


def _written(
    wanted: Sequence[tuple[str, Callable[[], T]]], first: int, broken: dict[int, str] | None
) -> Iterator[tuple[int, T]]:
    """Index and text of what the template can write; place and sentence of the rest."""
    for index, (where, write) in enumerate(wanted, start=first):
        try:
            yield index, write()
        except BadInput as error:
            _leave_out(broken, index, where, str(error), error)


def _leave_out(
    broken: dict[int, str] | None,
    index: int,
    where: str,
    why: str,
    error: BadInput | None = None,
) -> None:
    sentence = f"{where}: {why}" if where else why
    if broken is None:
        raise BadInput(sentence) from error
    broken[index] = sentence


def _encoded(rendered: Sequence[Rendered], tokenizer: Any) -> Iterator[Ids]:
    prompts = _encode(tokenizer, [texts.prompt for texts in rendered])
    texts_whole = [texts.prompt + text for texts in rendered for text in texts.responses if text]
    wholes = iter(_encode(tokenizer, texts_whole))
    for texts, prompt in zip(rendered, prompts, strict=True):
        responses: list[list[int]] = []
        for text in texts.responses:
            if not text:
                responses.append([])
                continue
            whole = next(wholes)
            begins = whole[: len(prompt)] == prompt
            responses.append(whole[len(prompt) :] if begins else _apart(tokenizer, text))
        yield Ids(prompt, *responses)


def _weights(
    tokenizer: Any, texts: Rendered, side: int, prompt: list[int], count: int
) -> list[float] | None:
    """Of the first `count` tokens of a response; what is added behind it weighs as its end."""
    text, weights = texts.responses[side], texts.weights[side]
    if weights is None:
        return None
    before = texts.prompt
    offsets = _offsets(tokenizer, before + text, prompt)
    if offsets is None:  # the response was tokenised apart
        before = tokenizer.eos_token or ""
        offsets = _offsets(tokenizer, before + text, _encode(tokenizer, [before])[0])
    inside = [(start - len(before), end - len(before)) for start, end in offsets or []]
    found = token_weights(text, weights, inside)
    found = (found + [weights[-1]] * count)[:count]
    return None if all(one == 1 for one in found) else found


def _offsets(tokenizer: Any, text: str, begin: list[int]) -> list[tuple[int, int]] | None:
    """Places of the tokens that follow those that a text begins with; None where it does not."""
    if not tokenizer.is_fast:
        raise BadInput(
            "this tokenizer does not tell which characters its tokens stand for, so segments of "
            "responses cannot be weighed; take its fast version, or leave the weights out."
        )
    made = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    if made["input_ids"][: len(begin)] != begin:
        return None
    found: list[tuple[int, int]] = made["offset_mapping"][len(begin) :]
    return found


def _apart(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that follows another one but is not joined with it.

    After a special token, which joins with nothing: at the start of a text SentencePiece
    tokenizers would put a blank before it.
    """
    mark = tokenizer.eos_token or ""
    before, ids = _encode(tokenizer, [mark, mark + text])
    return ids[len(before) :]


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    # Not verbose: it would warn of texts longer than the model's window, which are cut later.
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _counts(tokens: Sequence[TokenPair], cut: int, responses_cut: int) -> TokenCounts:
    responses = [len(pair.chosen) + len(pair.rejected) for pair in tokens]
    return TokenCounts(
        pairs=len(tokens),
        cut=cut,
        prompts_cut=sum(pair.cut > 0 for pair in tokens),
        responses_cut=responses_cut,
        prompt_tokens=sum(len(pair.prompt) for pair in tokens),
        response_tokens=sum(responses),
        longest=max(
            (len(pair.prompt) + more for pair, more in zip(tokens, responses, strict=True)),
            default=0,
        ),
    )
