"""HTML from untrusted text: names of models, paths and settings come out as text and nothing else.

What a model wrote never passes through here; it travels as data (:mod:`.chunks`) and becomes text
nodes in the page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
)
"""Characters that show nothing or turn the direction of others; samples.js has the same list."""


def text(value: object) -> str:
    """A value as inline HTML, isolated from the direction of what surrounds it."""
    escaped = html.escape(_UNSEEN.sub(lambda match: f"U+{ord(match[0]):04X}", str(value)))
    return f"<bdi>{escaped}</bdi>"


def attribute(value: object) -> str:
    """A value for use between the double quotes of an attribute."""
    return html.escape(_UNSEEN.sub(lambda match: f"U+{ord(match[0]):04X}", str(value)))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A plain table of texts in a box of its own that scrolls sideways; empty without rows."""
    body = "".join(
        "<tr>" + f'<th scope="row">{text(row[0])}</th>' + _cells(row[1:]) + "</tr>" for row in rows
    )
    if not body:
        return ""
    heads = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f'<table class="plain"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def flat(content: Mapping[str, Any], at: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows: ``("model.name", "zephyr")``."""
    rows: list[tuple[str, str]] = []
    for name, value in content.items():
        path = f"{at}.{name}" if at else str(name)
        if isinstance(value, dict) and value:
            rows += flat(value, path)
        else:
            rows.append((path, shown(value)))
    return rows


def shown(value: Any) -> str:
    """A JSON value as a reader likes to see it."""
    if value is None or value in ({}, []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)


def _cells(values: Sequence[object]) -> str:
    return "".join(f"<td>{text(value)}</td>" for value in values)
