"""A pair in the words of a chat template: what the model is asked with, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

from bfpo_bench.common.errors import BadInput
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.models.clock import DATE
from bfpo_bench.training.data.preferences import Messages, Pair, Segments
from bfpo_bench.training.data.segments import written_weights

_QUESTION = "What is asked here?"
_ANSWER = "What is answered there."
_END_OF_THOUGHT = re.compile(r"(?:<[^<>\s]+>|\[/[^\[\]\s]+\]|◁[^▷]*▷)\s*\Z")
_TAG_AT_END = re.compile(r"(<[^<>\s]+>|\[[^\[\]\s]+\])\s*\Z")


class Rendered(NamedTuple):
    """Texts of a pair.

    Attributes:
        prompt: the conversation up to the generation prompt, which is its end.
        responses: what follows the prompt for the chosen and for the rejected response, up to the
            end of the rendered conversation; empty for one that is not there.
        weights: of the characters of each response; None where all weigh 1.
    """

    prompt: str
    responses: tuple[str, str]
    weights: tuple[list[float] | None, list[float] | None] = (None, None)


class ChatTemplate:
    """A tokenizer's chat template, or another one in its place.

    Attributes:
        header: what opens the assistant's turn; empty where the template writes nothing for it.
        ending: what closes it, the end-of-turn token included; empty where nothing does.
        ends: the tokens of the ending that stand for no text: any of them ends an answer.
        missing: what has to follow the ending so that an answer has an end: the EOS token where
            the template writes none.

    Raises:
        BadInput: there is no template, or it does not write an assistant's turn.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, date: str = DATE) -> None:
        if template is None and not tokenizer.chat_template:
            raise BadInput(
                "the base model's tokenizer has no chat template and the recipe gives none; give "
                "the one that the model is to be trained and evaluated with."
            )
        self._chat = Chat(tokenizer, template, date)
        question = (("user", _QUESTION),)
        asked, bare = self.write(question, True), self.write(question, False)
        self.header = asked.removeprefix(bare) if asked.startswith(bare) else ""
        answered = self.write((*question, ("assistant", _ANSWER)), False)
        _, found, self.ending = answered.rpartition(_ANSWER)
        if not found:
            raise BadInput(
                "the chat template leaves out what the assistant says, so there is nothing to "
                "train on; give another one."
            )
        before, _, _ = bare.partition(_QUESTION)
        self._marks = _marks(tokenizer, before, self.header)
        ids = tokenizer(self.ending, add_special_tokens=False)["input_ids"]
        marks = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}
        self.ends = [token for token in ids if token in marks]
        eos = tokenizer.eos_token_id
        self.missing = [] if self.ends or eos is None else [eos]

    def teach_end(self) -> None:
        """Asks for an end of an answer that a model can learn to stop at.

        Raises:
            BadInput: there is none.
        """
        if self.ends or (self.missing and not self.ending.strip()):
            return
        raise BadInput(
            f"the chat template ends an answer with {self.ending!r}, of which nothing is a special "
            "token of this tokenizer, so a model trained with it would never stop; write "
            "{{ eos_token }} there (tokens.chat_template in the recipe), or take the tokenizer "
            "that has that token."
        )

    def render(self, pair: Pair) -> Rendered:
        """The texts of a pair.

        Where the rendered prompt does not begin the rendered conversation (a generation prompt
        that opens a line of thought, say), or leaves the thought out of an answer, a response is
        its own text and the ending, after the prompt: that is what the model will be asked with.

        Raises:
            BadInput: the template refuses these roles, or changes a response's text as well.
        """
        self._check((*pair.prompt, ("", pair.chosen), ("", pair.rejected)))
        prompt = self.write(pair.prompt, True)
        chosen, rejected = (
            self._response(prompt, pair.prompt, text) if text else ""
            for text in (pair.chosen, pair.rejected)
        )
        one, two = (
            written_weights(text, written, segments) if text and segments else None
            for text, written, segments in zip(
                (pair.chosen, pair.rejected), (chosen, rejected), pair.weights, strict=True
            )
        )
        return Rendered(prompt, (chosen, rejected), (one, two))

    def _response(self, prompt: str, messages: Messages, text: str) -> str:
        whole, said = self.write((*messages, ("assistant", text)), False), text.strip()
        rest = whole[len(prompt) :] if whole.startswith(prompt) else ""
        if rest.strip() and "".join(said.split()) in "".join(rest.split()):
            return rest
        written = whole.removesuffix(self.ending).rstrip()
        kept = len(commonprefix([written[::-1], said[::-1]]))  # noqa: RUF071  (characters are meant)
        left_out = said[: len(said) - kept]
        if left_out and not _END_OF_THOUGHT.search(left_out):
            if rest.strip():
                return rest
            raise BadInput(
                "the chat template neither begins a conversation with its prompt nor ends it with "
                f"the answer as it is (found at the end: {whole[-60:]!r}); give another template."
            )
        # The prompt may begin a thought that the answer begins as well.
        begun = _TAG_AT_END.search(prompt)
        if begun and said.startswith(begun[1]):
            said = said.removeprefix(begun[1]).lstrip()
        return said + self.ending

    def conversation(self, messages: Messages) -> str:
        """A conversation whose last answer stands as in a pair, with the thought before it.

        Templates of reasoning models leave thoughts out of what was said before, and so of all that
        is said in a conversation that goes no further.

        Raises:
            BadInput: the template cannot write it, or one of its texts holds the template's marks.
        """
        self._check(messages)
        *before, (role, text) = messages
        if role != "assistant" or not before:
            return self.write(messages, False)
        prompt = self.write(before, True)
        return prompt + self._response(prompt, tuple(before), text)

    def weighed(self, messages: Messages, segments: Segments) -> tuple[str, list[float]]:
        """A conversation, and the weights of its characters: 1 before its last answer.

        Args:
            segments: of that answer.
        """
        text = self.conversation(messages)
        *before, (_, answer) = messages
        prompt = self.write(before, True)
        return text, [1.0] * len(prompt) + written_weights(answer, text[len(prompt) :], segments)

    def question(self, messages: Messages) -> str:
        """A conversation with the assistant's turn opened at its end.

        Raises:
            BadInput: as :meth:`conversation`.
        """
        self._check(messages)
        return self.write(messages, True)

    def _check(self, messages: Sequence[tuple[str, str]]) -> None:
        for _, text in messages:
            found = self._marks.search(text)
            if found is not None:
                raise BadInput(
                    f"a text holds {found[0].strip()!r}, which this chat template and its "
                    "tokenizer take for a mark of theirs; take it out of the data."
                )

    def write(self, messages: Sequence[tuple[str, str]], ask: bool) -> str:
        """A conversation in the template's words; `ask` opens the assistant's next turn.

        Raises:
            BadInput: the template cannot write it.
        """
        try:
            return self._chat.write([{"role": r, "content": c} for r, c in messages], ask)
        except TemplateFault as fault:
            roles = ", ".join(role for role, _ in messages)
            raise BadInput(
                f"the chat template cannot write a conversation of {roles} (it {fault}); give a "
                "template that can, or leave out the set that has it."
            ) from fault

    def for_texts(self) -> str:
        """See :meth:`bfpo_bench.models.chat.Chat.for_texts`."""
        return self._chat.for_texts()


def _marks(tokenizer: Any, opening: str, header: str) -> re.Pattern[str]:
    """What finds the template's marks, and the tokenizer's special tokens, in a text.

    Words without a sign (``user:``) are marks at the beginning or end of a text only. Marks of a
    thought belong to what a model says.

    Args:
        opening: what the template writes before the user's first words.
        header: what opens the assistant's turn.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {*tokenizer.all_special_tokens, *(str(one) for one in added if one.special)}
    marks = [re.escape(one) for one in special if one.strip() and "think" not in one]
    opening = opening.removeprefix(tokenizer.bos_token or "")
    for text, edge in ((opening, r"\A\s*{}"), (header, r"{}\s*\Z")):
        line = (text.strip().splitlines() or [""])[-1].strip()
        plain = re.fullmatch(r"[\w\s:]*", line) is not None
        if len(line) > 2 and (not plain or line.endswith(":")):
            marks.append((edge if plain else "{}").format(re.escape(line)))
    return re.compile("|".join(sorted(marks, key=len, reverse=True)) or r"(?!)")
