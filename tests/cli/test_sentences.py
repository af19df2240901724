"""What a user reads after a wrong option, asked for within the process: no start-up to wait for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bfpo_bench.cli import main


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["train"],
            "give either --method or --recipe; see bfpo-bench train --help.",
        ),
        (
            ["train", "--method", "bfpp"],
            "unknown recipe 'mistral/bfpp'; did you mean 'mistral/bfpo'?",
        ),
        (
            ["train", "--method", "bfpo", "--limit", "3", "--eval-seed", "1"],
            "--eval-seed and --limit would change the evaluation, and none is asked for; add "
            "--evaluate, or say with --set what the training is to be like.",
        ),
        (
            ["train", "--method", "bfpo", "--evaluate", "--backend", "openai"],
            "the trained model is in no server; --backend is hf or vllm here.",
        ),
        (
            ["train", "--method", "bfpo", "--evaluate", "--eval-batch-size", "many"],
            "--eval-batch-size is auto or a number, not 'many'.",
        ),
        (
            ["demo", "--seeds", "3"],
            "--seeds, --trials, --methods and --regimes are for --study, which begins at seed 0; "
            "--seed and --toy-only are for the tour.",
        ),
        (
            ["evaluate", "--model", "m", "--measure"],
            "--measure goes with --dry-run: together they time a short sample and store nothing; "
            "leave --measure out to evaluate.",
        ),
        (
            ["evaluate", "--model", "m", "--log-level", "loud"],
            "unknown log level 'loud'; there are: debug, error, info, warning.",
        ),
        (
            ["evaluate", "--model", "m", "--batch-size", "many"],
            "--batch-size is auto or a number, not 'many'.",
        ),
        (
            ["evaluate", "--model", "m", "--variant", "crows_pairs"],
            "--variant 'crows_pairs' should be SOURCE=NAME, e.g. crows_pairs=original.",
        ),
        (["judge", "--judge", "keyword"], "name either a run directory or a file with --samples."),
        (
            ["judge", "run", "--judge", "keyword", "--prompt-field", "q"],
            "--prompt-field and --response-field go with --samples.",
        ),
        (
            ["judges", "check", "--labels", "l.csv", "--label-column", "l"],
            "name either a judge with --judge or a column with --verdict-column.",
        ),
        (
            [
                *("judges", "check", "--labels", "l.csv", "--label-column", "l"),
                *("--verdict-column", "v", "--output", "nowhere/out.json"),
            ],
            "there is no folder nowhere for --output; make it first.",
        ),
        (
            # Its 13 B weights are not looked for.
            [
                *("judges", "check", "--labels", "l.csv", "--label-column", "l"),
                *("--verdict", "refusal", "--judge", "harmbench-llama2-13b"),
            ],
            "judge 'harmbench-llama2-13b' says nothing of refusals; name one that does, such as "
            "keyword or wildguard-7b.",
        ),
        (
            [
                *("judges", "check", "--labels", "l.csv", "--label-column", "l"),
                *("--verdict-column", "v", "--output", "."),
            ],
            ". is a folder; give --output the name of a file.",
        ),
    ],
)
def test_wrong_options_are_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bfpo-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"bfpo-bench: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_wherever_it_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from the midst of somebody else's code, which hides it in an error of its own."""
    from bfpo_bench.cli import app

    def full() -> None:
        try:
            raise OSError(28, "No space left on device", "page.html")
        except OSError:
            raise RuntimeError("cannot go on") from None

    monkeypatch.setattr(app, "app", full)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "bfpo-bench: a disk is full (cannot go on); free some and run this again.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("compare a b --gate FILE --junit FILE --force", "junit"),
        ("compare a b --gate FILE --output LINK --force", "output"),
        ("leaderboard a --judge-check FILE --format json --output FILE --force", "output"),
        ("leaderboard a --judge-check FILE --update LINK", "update"),
        ("judges check --labels FILE --label-column x --verdict-column y --output LINK", "output"),
        (
            "judges check --labels labels.csv --label-column x --judge FILE --output FILE",
            "output",
        ),
    ],
)
def test_no_output_takes_the_place_of_what_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    option: str,
) -> None:
    file, link = tmp_path / "file.yaml", tmp_path / "link"
    file.write_text("columns: {ALERT: }\n")
    link.symlink_to(file)
    words = [{"FILE": str(file), "LINK": str(link)}.get(one, one) for one in arguments.split()]
    monkeypatch.setattr(sys, "argv", ["bfpo-bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    named = link if "LINK" in arguments else file
    said = f"{named} is read by this command; give --{option} another name.\n"
    assert capsys.readouterr().err.endswith(said)
    assert file.read_text() == "columns: {ALERT: }\n"
