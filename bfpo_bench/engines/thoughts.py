"""A reasoning model's thought, told from its answer by its template's or tokenizer's own marks.

Most families write tags (``<think>…</think>``, ``[THINK]…[/THINK]``, ``<seed:think>…``), some
begin the tag in the prompt, so that only its end is generated, and gpt-oss and Gemma 4 write
channels. Which marks a model has is read from its chat template and its tokenizer's added tokens.
A model without any may have learned tags as plain text (distilled from R1): there a ``<think>``
that begins the response is a thought, and nothing else is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bfpo_bench.engines.protocol import GenerateRequest, Response


@dataclass(frozen=True)
class Marks:
    """What stands before and after a thought.

    Attributes:
        begin, end: regular expressions.
        tokens: the texts that they are made of: tokens that decoding must not drop.
        around: regular expression of what else is to go from an answer.
    """

    begin: str
    end: str
    tokens: tuple[str, ...]
    around: str = ""

    @cached_property
    def opened(self) -> re.Pattern[str]:
        """Where a prompt ends inside a thought."""
        return re.compile(rf"(?:{self.begin})\s*\Z")


def _tags(begin: str, end: str, label: str = "") -> Marks:
    label = rf"(?:{re.escape(label)})?" if label else ""
    return Marks(re.escape(begin) + label, re.escape(end), (begin, end))


HARMONY = Marks(
    # Every channel but the final one; cut off, even its name may be incomplete.
    r"<\|channel\|>(?!final)[^<]*(?:<\|constrain\|>[^<]*)?(?:<\|message\|>|\Z)",
    r"<\|end\|>",
    ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>"),
    r"<\|start\|>assistant|<\|channel\|>final|<\|(?:message|end)\|>",
)
"""gpt-oss."""

THINK = _tags("<think>", "</think>")

_OTHERS = (
    _tags("<|channel>", "<channel|>", "thought\n"),
    _tags("[THINK]", "[/THINK]"),
    _tags("<|START_THINKING|>", "<|END_THINKING|>"),
    _tags("<|begin_of_thought|>", "<|end_of_thought|>"),
    _tags("<|inner_prefix|>", "<|inner_suffix|>"),
    _tags("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    _tags("◁think▷", "◁/think▷"),
)
_TAG = re.compile(r"</((?:\w+:)?(?:think|thinking|thoughts?|reason|reasoning)(?:[:_]\w+)?)>")


def find_marks(template: str | None, tokens: Iterable[str]) -> Marks | None:
    """The marks of a model; None where its template and its tokens know none.

    Args:
        template: its chat template.
        tokens: texts of its tokenizer's added tokens.
    """
    known = "\n".join([template or "", *tokens])
    if "<|channel|>" in known and "<|message|>" in known:
        return HARMONY
    for marks in _OTHERS:
        if marks.tokens[-1] in known:
            return marks
    tag = _TAG.search(known)
    return None if tag is None else _tags(f"<{tag[1]}>", f"</{tag[1]}>")


def marks_of(tokenizer: Any, template: str | None = None) -> Marks | None:
    """The marks of the model that a tokenizer belongs to.

    Args:
        template: a chat template to go by instead of the tokenizer's own.
    """
    template = template or getattr(tokenizer, "chat_template", None)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    texts = [str(token) for token in added.values()]
    return find_marks(template if isinstance(template, str) else None, texts)


def split(
    text: str, prompt: str, marks: Marks | None, served: bool = False
) -> tuple[str | None, str]:
    """A thought, None where there is none, and the answer, empty where it never came.

    Args:
        prompt: what the response was generated after; it may end inside a thought.
        marks: the model's own; None where none are known.
        served: the prompt was written by a server, so that nobody knows how it ended: an end
            without a beginning is the end of a thought.
    """
    inside = _inside(prompt, marks)
    own = inside or marks
    used = own or THINK
    begin, end = re.compile(used.begin), re.compile(used.end)
    thoughts: list[str] = []
    rest = text
    first, last = begin.search(text), end.search(text)
    ended_first = last is not None and (first is None or last.start() < first.start())
    if inside is not None or (ended_first and (own is not None or served)):
        if last is None:
            return _without(begin, text), ""
        thoughts.append(_without(begin, text[: last.start()]))
        rest = text[last.end() :]
    # Tags of which neither template nor tokenizer knows are text, but where a response begins so.
    while found := begin.search(rest) if own else re.match(rf"\s*{used.begin}", rest):
        ended = end.search(rest, found.end())
        thoughts.append(rest[found.end() : ended.start() if ended else None])
        rest = rest[: found.start()] + (rest[ended.end() :] if ended else "")
        if ended is None:
            break
    if used.around:
        rest = re.sub(used.around, "", rest)
    if not thoughts:
        return None, rest
    thought = "\n\n".join(one.strip() for one in thoughts if one.strip())
    return thought, rest.lstrip() if rest.strip() else ""


def _inside(prompt: str, marks: Marks | None) -> Marks | None:
    """The marks of the thought that a prompt ends in; None where it ends in none."""
    return next((m for m in (marks, THINK, *_OTHERS) if m and m.opened.search(prompt)), None)


def _without(begin: re.Pattern[str], thought: str) -> str:
    """A thought without a mark that begins it once more."""
    found = begin.match(thought.lstrip())
    return (thought.lstrip()[found.end() :] if found else thought).strip()


def apart(response: Response, prompt: str, marks: Marks | None, served: bool = False) -> Response:
    """A response with the thought in its text told apart from the answer."""
    if response.thought is not None:
        # A server's own parser has done it.
        return response
    thought, answer = split(response.text, prompt, marks, served)
    return replace(response, text=answer, thought=thought)


def told_apart(response: Response, request: GenerateRequest, own: Decoder | None) -> Response:
    """The same for a server's response.

    Args:
        own: of the served model's tokenizer, where that is known; it also drops the special tokens
            that a server leaves in with the marks.
    """
    chat = request.messages is not None
    if own is not None:
        response = replace(response, text=own.cleaned(response.text))
    return apart(response, request.prompt, own.marks if own else None, served=chat)


class Decoder:
    """Turns generated tokens into responses; decoding leaves the marks of thoughts in place."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.marks = marks_of(tokenizer)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {int(i): str(t) for i, t in added.items() if getattr(t, "special", False)}
        names = set(self.marks.tokens) if self.marks else set()
        others = [re.escape(text) for text in special.values() if text not in names]
        self._others = re.compile("|".join(others)) if others else None
        self._kept = {i for i, text in special.items() if text in names}
        self._dropped = (special.keys() | set(tokenizer.all_special_ids)) - self._kept

    @property
    def special(self) -> bool:
        """Whether a mark is a special token, which decoding usually leaves out."""
        return bool(self._kept)

    def cleaned(self, text: str) -> str:
        """A text without special tokens, where a server was asked to leave them in."""
        return self._others.sub("", text) if self.special and self._others else text

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens: special ones are left out, but for the marks of thoughts."""
        marked = bool(self._kept.intersection(ids))
        text: str = self._tokenizer.decode(
            [i for i in ids if i not in self._dropped] if marked else list(ids),
            skip_special_tokens=not marked,
            clean_up_tokenization_spaces=False,
        )
        return text

    def within(self, ids: list[int], request: GenerateRequest) -> list[int]:
        """What the request gives room for: so many tokens of a thought, so many of an answer.

        A thought that has not ended by then is all there is. Without room of its own a thought
        shares that of the answer.
        """
        room, answer = request.thought_tokens, request.sampling.max_new_tokens
        if not room:
            return ids
        used = _inside(request.prompt, self.marks) or self.marks or THINK
        thought, _ = split(self.text(ids), request.prompt, self.marks)
        if thought is None:
            return ids[:answer]
        end = re.compile(used.end)
        lengths = range(len(ids) + 1)
        # The shortest beginning in which a thought has ended; none: all of it.
        length = bisect_left(lengths, True, key=lambda n: bool(end.search(self.text(ids[:n]))))
        return ids[:room] if length > min(room, len(ids)) else ids[: length + answer]
