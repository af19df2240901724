"""A table inside a file is refreshed in place, and only when it has changed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.render.update import BEGIN, END, update_file


def test_a_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert update_file(file, "| a |\n")
    assert file.read_text() == f"# Leaderboard\n\n{BEGIN}\n\n| a |\n\n{END}\n"


def test_only_what_stands_between_the_markers_changes(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n\n{BEGIN}\nold\n{END}\nafter without end")
    assert update_file(file, "new\n")
    assert file.read_text() == f"before\n\n{BEGIN}\n\nnew\n\n{END}\nafter without end"


def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    update_file(file, "| a |\n")
    before = file.stat()
    assert not update_file(file, "| a |\n")
    after = file.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert update_file(file, "| b |\n")


def test_the_committed_page_is_up_to_date(tmp_path: Path) -> None:
    page = resources.files("bfpo_bench") / "leaderboard" / "README.md"
    file = tmp_path / "README.md"
    file.write_bytes(page.read_bytes())
    runs = [one for one in [Path(str(page)).with_name("runs")] if one.exists()]
    board = bfpo_bench.leaderboard(*runs, published=True)
    assert not update_file(file, board.render("markdown"))


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_bytes(f"a\r\n{BEGIN}\r\n{END}\r\n".encode())
    assert update_file(file, "x\ny")
    assert b"\r\nx\r\ny\r\n" in file.read_bytes()
    assert not update_file(file, "x\ny")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"# no markers\n", "does not have the markers of a leaderboard once each"),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n".encode(), "markers of a leaderboard once each"),
        (f"{END}\n{BEGIN}\n".encode(), "end of the leaderboard stands before its beginning"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_other_files_are_refused_and_left_alone(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "README.md"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        update_file(file, "| a |")
    assert file.read_bytes() == content
