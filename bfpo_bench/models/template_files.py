"""The chat templates in the folder of a tokenizer, wherever of four places they stand."""

from __future__ import annotations

from pathlib import Path

from bfpo_bench.common.errors import BadInput, why_unreadable
from bfpo_bench.common.foreign import MIB, foreign_json, foreign_text

MOST_BYTES = 64 * MIB
"""Longest file that is looked into for templates; some hold a vocabulary's own tokens too."""


def read_chat_template(folder: Path) -> str | None:
    """The chat template that a tokenizer folder means to be used; None where it has none.

    Raises:
        BadInput: a file that should hold it cannot be read, or none of several is the default.
    """
    named = chat_templates(folder)
    if named and "default" not in named:
        raise BadInput(
            f"{folder} has chat templates named {', '.join(map(repr, named))} and none named "
            "'default'; choose one of them with --chat-template NAME, or save the one that is "
            "meant as chat_template.jinja there."
        )
    return named.get("default")


def chat_templates(folder: Path) -> dict[str, str]:
    """All chat templates of a tokenizer folder by name, wherever of the four places they stand.

    ``chat_template.jinja`` comes before ``tokenizer_config.json``, as in transformers, and that
    before the ``chat_template.json`` of older processors.

    Raises:
        BadInput: a file that should hold one cannot be read.
    """
    found: dict[str, str] = {}
    for name in ("chat_template.json", "tokenizer_config.json"):
        for key, template in _stated(folder / name):
            found[key] = template
    files = {path.stem: path for path in (folder / "additional_chat_templates").glob("*.jinja")}
    for key, path in sorted({**files, "default": folder / "chat_template.jinja"}.items()):
        if path.is_file():
            found[key] = _template_text(path)
    return found


def _stated(path: Path) -> list[tuple[str, str]]:
    """The templates in a JSON file: under ``chat_template`` a text, or a list with names."""
    if not path.is_file():
        return []
    try:
        content = foreign_json(path, MOST_BYTES).get("chat_template")
        if not isinstance(content, list):
            content = [{"name": "default", "template": content}]
        named = [(entry.get("name"), entry.get("template")) for entry in content]
        "".join(template for _, template in named if isinstance(template, str)).encode()
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error
    return [(name, text) for name, text in named if isinstance(name, str) and isinstance(text, str)]


def _template_text(path: Path) -> str:
    try:
        return foreign_text(path, MIB)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(
        f"no chat template can be read from {path} ({why_unreadable(error)}); copy the file again, "
        "or name a template with --chat-template."
    )
