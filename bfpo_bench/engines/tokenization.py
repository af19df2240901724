"""Texts to token ids by lm-evaluation-harness' rules, the same for every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.protocol import GenerateRequest, Score, ScoreRequest
from bfpo_bench.models.template_files import read_chat_template

GUESS = 4
"""Characters per token where only a server knows the tokenizer."""


def encode(tokenizer: Any, text: str, add_special_tokens: bool = True) -> list[int]:
    """Token ids of `text`; a text that begins with the BOS token is not given a second one."""
    return encode_many(tokenizer, [text], add_special_tokens)[0]


def encode_many(
    tokenizer: Any, texts: Sequence[str], add_special_tokens: bool = True
) -> list[list[int]]:
    """Token ids of each text, as :func:`encode` finds them, in two calls of the tokenizer.

    A fast tokenizer spreads a list over all cores; text by text it would take ten times as long.
    """
    bos = getattr(tokenizer, "bos_token", None) or ""
    found: list[list[int]] = [[] for _ in texts]
    has_bos = [bool(bos) and text.startswith(bos) for text in texts]
    for special in (True, False):
        mine = [i for i, has in enumerate(has_bos) if (add_special_tokens and not has) is special]
        if mine:
            encoded = tokenizer([texts[i] for i in mine], add_special_tokens=special)["input_ids"]
            for index, ids in zip(mine, encoded, strict=True):
                found[index] = ids
    return found


def encode_prompts(tokenizer: Any, requests: Sequence[GenerateRequest]) -> list[list[int]]:
    """Token ids of each request's prompt: what the model is asked to go on from.

    Of a chat template's text they are those that ``apply_chat_template(tokenize=True)`` gives.
    """
    found: list[list[int]] = [[] for _ in requests]
    for special in (True, False):
        mine = [i for i, request in enumerate(requests) if request.special_tokens is special]
        ids = encode_many(tokenizer, [requests[i].prompt for i in mine], special) if mine else []
        for index, prompt in zip(mine, ids, strict=True):
            found[index] = prompt
    return found


def check_known(rows: Iterable[Sequence[int]], known: int) -> None:
    """Finds tokens that a model has no embedding of.

    Args:
        known: how many it has one of.

    Raises:
        BadInput: names the first that is not among them.
    """
    for tokens in rows:
        if tokens and not 0 <= min(tokens) <= max(tokens) < known:
            wrong = next(token for token in tokens if not 0 <= token < known)
            raise BadInput(
                f"the tokenizer made token {wrong}, the model knows tokens 0 to {known - 1}; they "
                "do not belong together (give the right one with --tokenizer)."
            )


def prefix_token(tokenizer: Any) -> int:
    """The token that stands in for an empty context: BOS, else EOS."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise BadInput(
        "the tokenizer has neither a BOS nor an EOS token, so a text without context cannot be "
        "scored; give another one with --tokenizer."
    )


def encode_pairs(
    tokenizer: Any, pairs: Sequence[tuple[str, str]]
) -> list[tuple[list[int], list[int]]]:
    """Token ids of contexts and of the continuations after them.

    The rules are those of lm-evaluation-harness 0.4: blanks at the end of the context move to
    the continuation; the context is tokenised alone, and the continuation's tokens are those of
    both as one text from the context's number of tokens on (where a token spans the border, the
    two do not add up to the text: lm-eval scores it so, and so do we); an empty context becomes
    one BOS token (or, where the continuation begins with that very token, the token itself).

    Raises:
        BadInput: a continuation has no token of its own.
    """
    moved = []
    for context, continuation in pairs:
        begin = context.rstrip()
        # A context of nothing but blanks is an empty one once they have moved.
        moved.append((begin, context[len(begin) :] + continuation))
    contexts = sorted({context for context, _ in moved if context})
    tokens = dict(zip(contexts, encode_many(tokenizer, contexts), strict=True))
    wholes = encode_many(tokenizer, [a + b for a, b in moved if a])
    bare = encode_many(tokenizer, [b for a, b in moved if not a], add_special_tokens=False)
    whole, contextless = iter(wholes), iter(bare)
    found = []
    for (context, _), (_, original) in zip(moved, pairs, strict=True):
        if context:
            alone = tokens[context]
            pair = alone, next(whole)[len(alone) :]
        else:
            ids = next(contextless)
            prefix = prefix_token(tokenizer)
            pair = (ids[:1], ids[1:]) if ids and ids[0] == prefix else ([prefix], ids)
        if not pair[1]:
            raise BadInput(
                f"the continuation {original!r} has no token of its own after its context; "
                "nothing can be scored."
            )
        found.append(pair)
    return found


Part = tuple[list[int], list[int], int]
"""Token ids of a context and of a continuation, and context tokens that were cut."""


def score_parts(
    tokenizer: Any, requests: Sequence[ScoreRequest], window: int
) -> tuple[list[Part], list[int]]:
    """What is computed for requests: each one pair, or the windows of a rolling text.

    The windows are lm-evaluation-harness 0.4's: disjoint ones of the whole text, the first after
    the token that stands in for an empty context, each other one after the token before it.

    Args:
        window: tokens that can be scored at once, as for :func:`fit_pair`.

    Returns:
        the parts, and which of the requests each belongs to, in the order of the requests.

    Raises:
        BadInput: there is nothing to score in a request.
    """
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    texts = [(r.context, r.continuation) for r in requests if not r.rolling]
    pairs = iter(encode_pairs(tokenizer, texts))
    whole = iter(encode_many(tokenizer, [r.continuation for r in requests if r.rolling]))
    parts: list[Part] = []
    owners: list[int] = []
    for index, request in enumerate(requests):
        if request.rolling:
            first = prefix_token(tokenizer)
            rolled = get_rolling_token_windows(next(whole), first, window, context_len=1)
            mine = [(*make_disjoint_window(one), 0) for one in rolled]
            if not mine:
                raise BadInput("a text whose likelihood is asked for is empty; mend the task.")
        else:
            mine = [fit_pair(*next(pairs), window)]
        parts += mine
        owners += [index] * len(mine)
    return parts, owners


class Whole:
    """Puts the scores of parts together, each request's when all its parts are there.

    Args:
        owners: the request that each part belongs to; None where the parts are the requests.
    """

    def __init__(self, owners: Sequence[int] | None) -> None:
        self._owners = owners
        self._counts = Counter(owners)
        self._found: dict[int, dict[int, Score]] = {}

    def add(self, batch: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """What a batch of numbered parts makes whole, by the numbers of the requests."""
        if self._owners is None:
            return batch
        whole = []
        for part, score in batch:
            owner = self._owners[part]
            mine = self._found.setdefault(owner, {})
            mine[part] = score
            if len(mine) == self._counts[owner]:
                del self._found[owner]
                whole.append((owner, _sum([mine[place] for place in sorted(mine)])))
        return whole


def joined_scores(
    batches: Iterable[list[tuple[int, Score]]], owners: Sequence[int]
) -> Iterator[list[tuple[int, Score]]]:
    """Batches of the parts' scores as batches of the requests', see :class:`Whole`."""
    whole = Whole(owners)
    for batch in batches:
        yield whole.add(batch)


def _sum(scores: Sequence[Score]) -> Score:
    if len(scores) == 1:
        return scores[0]
    return Score(
        sum(score.loglikelihood for score in scores),
        all(score.is_greedy for score in scores),
        sum(score.cut_tokens for score in scores),
    )


def fit_pair(
    context: list[int], continuation: list[int], max_length: int
) -> tuple[list[int], list[int], int]:
    """Cuts a context on the left until context + continuation fit the window.

    The model sees all tokens but the last, so ``max_length + 1`` tokens fit, as in lm-eval.

    Returns:
        context, continuation, number of context tokens cut.
    """
    if len(continuation) > max_length:
        raise BadInput(
            f"a continuation of {len(continuation)} tokens is longer than the context window of "
            f"{max_length}; nothing can be scored (raise --max-length if the model allows it)."
        )
    cut = max(0, len(context) + len(continuation) - (max_length + 1))
    return context[cut:], continuation, cut


def fit_prompt(prompt: list[int], max_new_tokens: int, max_length: int) -> tuple[list[int], int]:
    """Cuts a prompt on the left so that `max_new_tokens` more fit the window.

    Returns:
        the prompt, number of tokens cut.
    """
    room = max_length - max_new_tokens
    if room < 1:
        raise BadInput(
            f"{max_new_tokens} new tokens leave no room for a prompt in a context window of "
            f"{max_length}; raise --max-length if the model allows it, or lower --max-new-tokens."
        )
    cut = max(0, len(prompt) - room)
    return prompt[cut:], cut


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder.

    Raises:
        BadInput: transformers cannot read it.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise BadInput(
            f"the tokenizer in {folder} cannot be read "
            f"({reason[0] if reason else type(error).__name__}); give another with --tokenizer."
        ) from error
    if not found.chat_template:
        # transformers reads chat_template.json with processors only.
        found.chat_template = read_chat_template(folder)
    return found


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first stop string, and whether there was one."""
    places = [at for s in stop if s and (at := text.find(s)) >= 0]
    return (text[: min(places)], True) if places else (text, False)
