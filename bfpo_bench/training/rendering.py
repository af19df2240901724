"""A pair in the words of a chat template: what the model is asked with, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from bfpo_bench.chat_template import DATE, fixed_clock
from bfpo_bench.errors import BadInput
from bfpo_bench.training.pairs import Pair
from bfpo_bench.training.records import Messages

_QUESTION = "What is asked here?"
_ANSWER = "What is answered there."


class Rendered(NamedTuple):
    """Texts of a pair.

    Attributes:
        prompt: the conversation up to the generation prompt, which is its end.
        responses: what follows the prompt for the chosen and for the rejected response, up to the
            end of the rendered conversation.
    """

    prompt: str
    responses: tuple[str, str]


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
        self._tokenizer = tokenizer
        own = template if template is not None else tokenizer.chat_template
        self._template = fixed_clock(own, date)
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
        that opens a line of thought, say), a response is its own text and the ending, after the
        prompt: that is what the model will be asked with.

        Raises:
            BadInput: the template refuses these roles, or changes a response's text as well.
        """
        self._check((*pair.prompt, ("", pair.chosen), ("", pair.rejected)))
        prompt = self.write(pair.prompt, True)
        chosen, rejected = (
            self._response(prompt, pair.prompt, text) for text in (pair.chosen, pair.rejected)
        )
        return Rendered(prompt, (chosen, rejected))

    def _response(self, prompt: str, messages: Messages, text: str) -> str:
        whole = self.write((*messages, ("assistant", text)), False)
        if whole.startswith(prompt) and whole[len(prompt) :].strip():
            return whole[len(prompt) :]
        response = text.strip() + self.ending
        if not whole.endswith(response):
            raise BadInput(
                "the chat template neither begins a conversation with its prompt nor ends it with "
                f"the answer as it is (found at the end: {whole[-60:]!r}); give another template."
            )
        return response

    def conversation(self, messages: Messages) -> str:
        """A conversation that ends in the assistant's answer.

        Raises:
            BadInput: the template cannot write it, or one of its texts holds the template's marks.
        """
        self._check(messages)
        return self.write(messages, False)

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
            text = self._tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in messages],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=ask,
            )
        except Exception as error:  # a template may raise anything
            lines = str(error).strip().splitlines() or [type(error).__name__]
            roles = ", ".join(role for role, _ in messages)
            raise BadInput(
                f"the chat template cannot write a conversation of {roles} ({lines[0]}); give a "
                "template that can, or leave out the set that has it."
            ) from error
        return str(text)


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
