"""A table inside a Markdown file, refreshed in place."""

from __future__ import annotations

from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.files import atomic_write, owned
from bfpo_bench.common.foreign import foreign_bytes

BEGIN = "<!-- bfpo-bench leaderboard: begin (generated; edit outside of these two lines) -->"
END = "<!-- bfpo-bench leaderboard: end -->"
_HEAD = "# Leaderboard\n\n"


def update_file(path: Path, table: str) -> bool:
    """Puts a table between the markers of a file; writes nothing when that changes nothing.

    A file that is not there is made, with a heading and the markers.

    Returns:
        whether the file was changed.

    Raises:
        BadInput: the file is not text, or does not have the two markers once each, in their order,
            or another process is writing the file.
        RunFailed: it cannot be written.
    """
    with owned(path) as place:
        after = _refreshed(path, table)
        if after is None:
            return False
        atomic_write(place, after)
        return True


def _refreshed(path: Path, table: str) -> str | None:
    """The file with this table in it; None where it has it."""
    try:
        before = foreign_bytes(path).decode("utf-8") if path.exists() else None
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
    return None if after == before else after
