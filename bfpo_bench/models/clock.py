"""The clock of a chat template, stopped, so that what a model is asked does not change at midnight.

A template may ask for today's date (``strftime_now``: Llama 3.2, SmolLM3 and gpt-oss write it into
every system message). Every template that is rendered here, or handed to a library or a server that
renders it, is first given a clock that stands still: :func:`fixed_clock`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache

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


@lru_cache(maxsize=16)
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
