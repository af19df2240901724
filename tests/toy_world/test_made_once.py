"""A folder is made whole, once, and takes nothing of others away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.toy_world import made_once
from bfpo_bench.toy_world.made_once import MAKER, make_once, origin


def writes(text: str, calls: list[Path] | None = None) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        if calls is not None:
            calls.append(folder)
        (folder / "weights").write_text(text, encoding="utf-8")

    return build


def test_made_once_and_only_once(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    calls: list[Path] = []
    for _ in range(2):
        assert make_once(folder, {"seed": 1}, writes("one", calls)) == folder
    assert len(calls) == 1
    assert calls[0] != folder
    assert {p.name for p in folder.iterdir()} == {"weights", "made.json"}
    stamp = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    assert stamp == {"made_by": MAKER, "seed": 1, **origin()}


def test_other_settings_take_its_place(tmp_path: Path) -> None:
    make_once(tmp_path / "model", {"seed": 1}, writes("one"))
    make_once(tmp_path / "model", {"seed": 2}, writes("two"))
    assert (tmp_path / "model" / "weights").read_text(encoding="utf-8") == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_empty_folder_is_welcome(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert (make_once(tmp_path / "model", {}, writes("x")) / "weights").exists()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="not a model of the demo"):
        make_once(tmp_path, {}, writes("x"))
    (tmp_path / "made.json").write_text('{"made_by": "someone"}', encoding="utf-8")
    with pytest.raises(BadInput, match="not a model of the demo"):
        make_once(tmp_path, {}, writes("x"))
    with pytest.raises(BadInput, match="is a file; name a folder for the demo's model"):
        make_once(tmp_path / "notes.txt", {}, writes("x"))
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    make_once(tmp_path / "model", {"seed": 1}, writes("one"))

    def build(folder: Path) -> None:
        (folder / "weights").write_text("half", encoding="utf-8")
        raise error

    with pytest.raises(error):
        make_once(tmp_path / "model", {"seed": 2}, build)
    assert (tmp_path / "model" / "weights").read_text(encoding="utf-8") == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_winner_of_a_race_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "model"

    def build(_: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text("winner", encoding="utf-8")
        stamp = {"made_by": MAKER, "seed": 1, **origin()}
        (folder / "made.json").write_text(json.dumps(stamp), encoding="utf-8")

    assert make_once(folder, {"seed": 1}, build) == folder
    assert (folder / "weights").read_text(encoding="utf-8") == "winner"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_code_that_counts_exists() -> None:
    here = Path(made_once.__file__).parent
    assert all((here / name).is_file() for name in made_once._FILES)
