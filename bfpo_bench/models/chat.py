"""Messages written with a chat template: a program of its author's, in which all can go wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.limits import Limits
from bfpo_bench.models.clock import DATE, fixed_clock

AS_WRITTEN = "as the chat template writes them"
"""What identities say of special tokens where version 0.1 let the tokenizer add some."""

Messages = Sequence[Mapping[str, str]]
"""A conversation: ``role`` and ``content`` of each message."""

Turns = tuple[tuple[str, str], ...]
"""The same as (role, content) of each message, for what must not change."""

_PART = re.compile(r"""["']type["']: *["']text["']""")
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\s*\(")

SECONDS, MEMORY = 5.0, 4 << 30
"""What a template may take to write a conversation; a usual one takes a tenth of a millisecond."""

MOST_ADDED = 1_000_000
"""Characters that a template may add to four times the messages."""


class TemplateFault(Exception):
    """Why a chat template cannot write some messages, as a clause after "the chat template"."""


class Overrun(TemplateFault):
    """It takes too long or too much, and nothing is gained by trying it otherwise."""


class Chat:
    """A chat template at work; called with messages, it writes them as one text.

    Some templates take a message's content as a list of parts (those of models that see images),
    some only the system's or only the others'; which one it is, is found out by trying.

    Args:
        template: Jinja text to use instead of the tokenizer's own.
        date: what the template's clock says.
        instead: what to do where the template cannot be used, for messages.
        variables: what else the template is told.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str | None = None,
        date: str = DATE,
        instead: str = "give another one with --chat-template FILE, or never",
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        own = template if template is not None else tokenizer.chat_template
        if isinstance(own, dict):
            own = tokenizer.get_chat_template()
        self.tokenizer = tokenizer
        self._template = own
        self._date = date
        self._instead = instead
        self._parts: dict[bool, set[str]] = {}
        self._variables = dict(variables or {})
        self._limits = Limits(SECONDS, MEMORY)

    def __call__(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """The messages as one text.

        Raises:
            BadInput: the template refuses them, or leaves out what the user or the system says.
        """
        try:
            return self.write(messages, add_generation_prompt)
        except TemplateFault as fault:
            hint = self._instead
            overrun = isinstance(fault, Overrun)
            if not overrun and any(message["role"] == "system" for message in messages):
                try:
                    self.write([m for m in messages if m["role"] != "system"])
                    hint = "it may not take a system prompt: leave --system-prompt out"
                except TemplateFault:
                    pass
            raise BadInput(f"the chat template {fault}; {hint}.") from fault

    def write(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """The same, for callers with words of their own.

        Raises:
            TemplateFault: see :meth:`__call__`.
        """
        parts = self._taken_as_parts("system" in (m["role"] for m in messages))
        text = self._rendered(messages, add_generation_prompt, parts, self._date)
        _check_said(messages, text)
        return text

    def for_texts(self) -> str:
        """The template as a text that takes every content as a text, its clock stopped: for what
        renders by itself.

        Raises:
            TemplateFault: see :meth:`__call__`.
        """
        parts = self._taken_as_parts(False)
        with suppress(TemplateFault):
            parts = parts | self._taken_as_parts(True)
        return _parted(fixed_clock(self._template, self._date), parts)

    def date(self, system_prompt: str | None = None) -> str | None:
        """The date that prompts hold; None where they hold none.

        Found by asking on other days: many templates have a clock for a system message of their
        own, and leave it alone where another one is given.

        Raises:
            BadInput: the template cannot be used.
        """
        asked = with_system("What day is it?", system_prompt)
        text = self(asked)
        parts = self._taken_as_parts(system_prompt is not None)
        others = (self._rendered(asked, True, parts, day) for day in ("1987-10-13", "2041-02-03"))
        return self._date if any(other != text for other in others) else None

    def adds_tokens(self, system_prompt: str | None = None) -> bool:
        """Whether the tokenizer would put special tokens around what the template writes.

        They are left out here: a template writes all that belongs to a conversation. Version 0.1
        let the tokenizer add them to a text that does not begin with the BOS token.
        """
        text = self(with_system("What day is it?", system_prompt))
        bos = self.tokenizer.bos_token
        if bos and text.startswith(bos):
            return False
        ids = [self.tokenizer(text, add_special_tokens=add)["input_ids"] for add in (True, False)]
        return bool(ids[0] != ids[1])

    def _taken_as_parts(self, system: bool) -> set[str]:
        """Roles whose content the template takes as parts; tried once without and once with a
        system message."""
        if system in self._parts:
            return self._parts[system]
        probe = with_system("How deep is Lake 5309?", "Answer in rhyme, 1847." if system else None)
        others = {"user", "assistant"}
        first: TemplateFault | None = None
        for parts in (set(), others, {*others, "system"}, {"system"}):
            try:
                text = self._rendered(probe, True, parts, self._date)
                _check_said(probe, text, quote=False)
                if _PART.search(text):  # the list itself, where a text was wanted
                    raise TemplateFault("writes parts of messages as lists")
            except Overrun:
                raise
            except TemplateFault as fault:
                first = first or fault
            else:
                self._parts[system] = parts
                return parts
        assert first is not None
        raise first

    def _rendered(self, messages: Messages, ask: bool, parts: set[str], date: str) -> str:
        by_chance = _CHANCE.search(self._template)
        if by_chance:
            raise TemplateFault(f"draws by chance ({by_chance[0].strip()})")
        template = _parted(fixed_clock(self._template, date), parts)
        try:
            with self._limits:
                text = str(
                    self.tokenizer.apply_chat_template(
                        list(messages),
                        tokenize=False,
                        add_generation_prompt=ask,
                        chat_template=template,
                        **self._variables,
                    )
                )
                text.encode()
            most = MOST_ADDED + 4 * sum(len(message["content"]) for message in messages)
            if len(text) > most:
                raise Overrun(f"writes {len(text):,} characters, more than {most:,}")
            return text
        except TimeoutError:
            raise Overrun(f"goes on for more than {SECONDS:g} s of computing") from None
        except MemoryError:
            raise Overrun("takes gigabytes of memory") from None
        except Overrun:
            raise
        except Exception as error:  # whatever a template can raise
            first = first_line(error)
            raise TemplateFault(f"refuses the messages ({first})") from error


def _parted(template: str, roles: set[str]) -> str:
    """The template with these roles' texts made lists of one part before it sees them."""
    if not roles:
        return template
    return (
        "{%- set parted = namespace(all=[]) -%}{%- for message in messages -%}"
        f"{{%- if message['role'] in {sorted(roles)} and message['content'] is string -%}}"
        "{%- set part = {'type': 'text', 'text': message['content']} -%}"
        "{%- set parted.all = parted.all + [dict(message, content=[part])] -%}"
        "{%- else -%}{%- set parted.all = parted.all + [message] -%}{%- endif -%}"
        "{%- endfor -%}{%- set messages = parted.all %}{{ '' }}" + template
    )


def _check_said(messages: Messages, text: str, quote: bool = True) -> None:
    """What the user and the system say stands in a text, but for blanks around it.

    What the assistant says does not count here: many templates leave out earlier thoughts.
    """
    if not text:
        raise TemplateFault("writes nothing at all")
    for message in messages:
        said = message["content"].strip()
        if message["role"] in ("user", "system") and said not in text:
            shown = f" ({said if len(said) <= 60 else said[:59] + '…'!r})" if quote else ""
            raise TemplateFault(f"leaves out or changes what the {message['role']} says{shown}")


def with_system(prompt: str, system_prompt: str | None) -> Messages:
    """A user's turn as messages, the system prompt before it where there is one."""
    before = [{"role": "system", "content": system_prompt}] if system_prompt is not None else []
    return [*before, {"role": "user", "content": prompt}]


# --------------------------------------------- messages for a server that writes the prompt


def write_messages(messages: Messages, add_generation_prompt: bool = True) -> str:
    """Messages as a text, in the place of a chat template: one JSON list.

    Takes what a chat renderer takes, so that it can be handed to lm-eval as one. The text is what
    the run directory shows as the prompt, and what the key of the answer is made of.
    """
    return json.dumps(
        [{"role": m["role"], "content": m["content"]} for m in messages], ensure_ascii=False
    )


def read_messages(text: str) -> Turns:
    """The messages in a text that :func:`write_messages` wrote."""
    return tuple((message["role"], message["content"]) for message in json.loads(text))
