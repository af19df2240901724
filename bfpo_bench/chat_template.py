"""Messages written with a chat template: a program of its author's, in which all can go wrong.

A template may ask for today's date (``strftime_now``: Llama 3.2, SmolLM3 and gpt-oss write it into
every system message). What a model is asked would then change at midnight, so every template that
is rendered here, or handed to a library or a server that renders it, is first given a clock that
stands still: :func:`fixed_clock`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bfpo_bench.errors import BadInput

DATE = "2024-07-26"
"""What a template's clock says where nobody names another day: the day that Llama 3's templates
write where they find no clock, so that most of their prompts have held it already."""

_CLOCK = "strftime_now"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
_NUMBERS = "d -d e m -m y Y C j -j H -H k I -I l M -M S -S f U W u w G V D F T R"
"""strftime's codes that mean the same in every locale and time zone."""


def is_date(date: str) -> bool:
    """Whether a text is a day that exists, written YYYY-MM-DD."""
    try:
        return datetime.fromisoformat(date).date().isoformat() == date
    except ValueError:
        return False


def fixed_clock(template: str, date: str = DATE) -> str:
    """A template whose clock says midnight of one day, whoever renders it, whenever and wherever.

    The clock is written into the template itself, as a macro of the same name, so that it goes with
    the text to whatever renders it.

    Args:
        template: Jinja text; one without a clock comes back as it is.
        date: YYYY-MM-DD.
    """
    if _CLOCK not in template:
        return template
    return (
        f"{{%- macro {_CLOCK}(format) -%}}{{%- set ns = namespace(text=format) -%}}"
        f"{{%- for code, text in {json.dumps(_codes(date))} -%}}"
        "{%- set ns.text = ns.text.replace('%' ~ code, text) -%}{%- endfor -%}"
        # What follows a variable stays; a block would take the line break behind it.
        "{{- ns.text -}}{%- endmacro %}{{ '' }}" + template
    )


def told_date(template: str | None, date: str) -> dict[str, str]:
    """The part of an identity that a date is: nothing where the template has no clock."""
    return {"date": date} if template is not None and _CLOCK in template else {}


def _codes(date: str) -> list[tuple[str, str]]:
    """What strftime's codes stand for at that midnight, in the C locale, without a time zone."""
    now = datetime.fromisoformat(date)
    codes = {code: now.strftime(f"%{code}") for code in _NUMBERS.split()}
    day, month = _DAYS[now.weekday()], _MONTHS[now.month - 1]
    codes |= {"a": day[:3], "A": day, "b": month[:3], "h": month[:3], "B": month}
    codes |= {"p": "AM", "P": "am", "r": "12:00:00 AM", "x": codes["D"], "X": codes["T"]}
    codes["c"] = f"{day[:3]} {month[:3]} {codes['e']} {codes['T']} {codes['Y']}"
    codes["s"] = str(int(now.replace(tzinfo=UTC).timestamp()))
    return list({**codes, "z": "", "Z": "", "n": "\n", "t": "\t", "%": "%"}.items())


class Chat:
    """A chat template at work; called with messages, it writes them.

    Args:
        template: Jinja text to use instead of the tokenizer's own.
        date: what the template's clock says.
        instead: what to do where the template cannot be used, for messages.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str | None = None,
        date: str = DATE,
        instead: str = "give another one with --chat-template FILE, or never",
    ) -> None:
        own = template if template is not None else tokenizer.chat_template
        self._tokenizer = tokenizer
        self._template = own
        self._date = date
        self._instead = instead

    def __call__(
        self, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages as one text.

        Raises:
            BadInput: the template refuses them, or writes nothing.
        """
        return self._write(messages, add_generation_prompt, self._date)

    def date(self, system_prompt: str | None = None) -> str | None:
        """The date that prompts hold; None where they hold none.

        Found by asking on other days: many templates have a clock for a system message of their
        own, and leave it alone where another one is given.
        """
        asked = with_system("What day is it?", system_prompt)
        texts = {self._write(asked, True, day) for day in (self._date, "1987-10-13", "2041-02-03")}
        return self._date if len(texts) > 1 else None

    def _write(self, messages: Sequence[dict[str, str]], ask: bool, date: str) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=ask,
                chat_template=fixed_clock(self._template, date),
            )
        except Exception as error:  # whatever a template can raise
            hint = (
                "it may not take a system prompt: leave --system-prompt out"
                if any(m["role"] == "system" for m in messages)
                else self._instead
            )
            raise BadInput(f"the chat template refuses the messages ({error}); {hint}.") from error
        if not text:
            raise BadInput(f"the chat template writes nothing at all; {self._instead}.")
        return text


def with_system(prompt: str, system_prompt: str | None) -> list[dict[str, str]]:
    """A user's turn as messages, the system prompt before it where there is one."""
    before = [{"role": "system", "content": system_prompt}] if system_prompt is not None else []
    return [*before, {"role": "user", "content": prompt}]
