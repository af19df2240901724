"""A key that can be used but is not shown."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from bfpo_bench.common.errors import BadInput

SHORTEST_KEY = 12
"""Shorter ones stand in for a key where none is needed (``x``, ``EMPTY``, ``secret``): no secrets,
and hiding them would hide words."""


class Secret:
    """An API key. Printed, logged, formatted or rendered in a traceback it reads ``***``.

    It cannot be pickled, so it does not get into a file or another process by accident; copies of
    whatever holds it hold the same object.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def from_environment(cls, name: str) -> Secret | None:
        """The key in an environment variable; None where it is unset or empty.

        Raises:
            BadInput: it holds characters that cannot be sent.
        """
        value = os.environ.get(name, "").strip()
        # Checked here because the HTTP library's own complaint would quote the key.
        if any(not "!" <= character <= "~" for character in value):
            # Not among the locals of the frames that a traceback renders.
            del value
            raise BadInput(
                f"the key in {name} holds blanks, line breaks or other characters that no key "
                "has; set it again."
            )
        return cls(value) if value else None

    def reveal(self) -> str:
        """The key itself. Only for the line that sends it."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` with the key blotted out: servers quote it in their complaints."""
        for form in self._forms():
            text = text.replace(form, "***")
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for what came over the line."""
        for form in self._forms():
            data = data.replace(form.encode("ascii"), b"***")
        return data

    def _forms(self) -> tuple[str, ...]:
        """The key as it stands in a text; JSON may write a slash in two ways."""
        if len(self._value) < SHORTEST_KEY:
            return ()
        return (self._value, self._value.replace("/", "\\/"))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
