"""A table inside a Markdown file, refreshed in place."""

from __future__ import annotations

from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_write

BEGIN = "<!-- bfpo-bench leaderboard: begin (generated; edit outside of these two lines) -->"
END = "<!-- bfpo-bench leaderboard: end -->"
_HEAD = "# Leaderboard\n\n"


def update_file(path: Path, table: str) -> bool:
    """Puts a table between the markers of a file; writes nothing when that changes nothing.

    A file that is not there is made, with a heading and the markers.

    Returns:
        whether the file was changed.

    Raises:
        BadInput: the file is not text, or does not have the two markers once each, in their order.
        RunFailed: it cannot be written.
    """
    try:
        before = path.read_bytes().decode("utf-8") if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path} cannot be read as text ({error}); name the Markdown file to refresh."
        ) from error
    content = before if before is not None else f"{_HEAD}{BEGIN}\n{END}\n"
    if content.count(BEGIN) != 1 or content.count(END) != 1:
        raise BadInput(
            f"{path} does not have the markers of a leaderboard once each; put the lines {BEGIN!r} "
            f"and {END!r} where the table belongs."
        )
    if content.index(END) < content.index(BEGIN):
        raise BadInput(
            f"in {path} the end of the leaderboard stands before its beginning; swap them."
        )
    newline = "\r\n" if "\r\n" in content else "\n"
    head, rest = content.split(BEGIN)
    tail = rest.split(END)[1]
    middle = f"\n\n{table.strip()}\n\n".replace("\n", newline)
    after = f"{head}{BEGIN}{middle}{END}{tail}"
    if after == before:
        return False
    atomic_write(path, after)
    return True
