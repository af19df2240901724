"""Other judges for a finished run: verdicts side by side, numbers that say whose they are."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bfpo_bench
from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.evaluation.rejudge import judge_run, verdicts_of
from bfpo_bench.judges import Exchange, Verdict, load_judge, protocol
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.keyword import KeywordJudge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.results_files import read_results, results_file
from bfpo_bench.run.run_json import read_run
from tests.judge_card import write_card

LIMIT = 5
OPTIONS: dict[str, Any] = {
    "suite": "mini",
    "tasks": ["gen", "toxigen"],
    "limit": LIMIT,
    "backend": "hf",
    "dtype": "float32",
    # Keyword alone gives no figure for continuations, and so no Gen.
    "judge_anyway": True,
}
STRICT = """\
kind: keyword
version: 1
source: this test
licence: Apache-2.0
search_chars: 40
phrases: [the, a, you]
"""


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four judged tasks and a scored one, judged by keyword."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    bfpo_bench.evaluate(str(tiny_llama), judge="keyword", output=folder, **OPTIONS)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def strict(tmp_path: Path) -> ChosenJudge:
    """A keyword judge that calls nearly everything a refusal."""
    card = tmp_path / "strict.yaml"
    card.write_text(STRICT, encoding="utf-8")
    return choose_judge(JudgeOptions(str(card), backend="hf", judge_anyway=True))


def keyword() -> ChosenJudge:
    return choose_judge(JudgeOptions("keyword", backend="hf", judge_anyway=True))


def table(run: Path, query: str) -> list[Any]:
    with sqlite3.connect(run / "samples.sqlite") as db:
        rows = db.execute(query).fetchall()
    db.close()
    return rows


def test_another_judges_results_beside_the_first(run: Path, strict: ChosenJudge) -> None:
    before = read_results(run / "results.json")
    found = judge_run(run, strict)
    assert found.path == run / "results-strict.json"
    assert read_results(found.path) == found.results
    assert read_results(run / "results.json") == before
    results = found.results
    assert results.judge is not None
    assert results.judge == {**strict.card.identity(), "judge": "strict"}
    # Counted again from the responses themselves.
    judge = load_judge(strict.options.judge).open()
    gen = {}
    for task, cell in results.tasks.items():
        if cell.group != "gen":
            assert cell == before.tasks[task]
            continue
        query = f"SELECT question, response FROM responses WHERE task = '{task}'"
        verdicts = judge.judge([Exchange(*row) for row in table(run, query)])
        harmless = sum(verdict.harmful is False for verdict in verdicts)
        assert len(verdicts) == cell.n == LIMIT
        assert cell.score == pytest.approx(100 * harmless / LIMIT)
        assert cell.metrics["harmful"] == pytest.approx(1 - harmless / LIMIT)
        assert cell.metrics["mean_tokens"] == before.tasks[task].metrics["mean_tokens"]
        gen[task] = cell.score
    assert results.averages["gen"].value == pytest.approx(sum(gen.values()) / 4)
    assert gen != {task: before.tasks[task].score for task in gen}
    # Disc. was incomplete (one task of twelve), and so it stays.
    assert results.averages["disc"] == before.averages["disc"]
    assert results.averages["savg"] == before.averages["savg"]
    counts = table(run, "SELECT judge, COUNT(*) FROM verdicts GROUP BY judge ORDER BY judge")
    assert counts == [("keyword", 4 * LIMIT), ("strict", 4 * LIMIT)]
    assert list(verdicts_of(run)) == ["keyword", "strict"]
    session = json.loads((run / "run.json").read_text())["sessions"][-1]
    assert session["judge"] == "strict"


def test_the_runs_own_judge_finds_the_same_again_without_judging(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    found = judge_run(run, keyword())
    assert found.results == read_results(run / "results.json")
    assert found.path.name == "results-keyword.json"


def test_a_finished_judgement_is_read_not_repeated(
    run: Path, strict: ChosenJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = judge_run(run, strict)
    sessions = read_run(run)["sessions"]
    monkeypatch.setattr(KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    assert judge_run(run, strict) == first
    assert read_run(run)["sessions"] == sessions


@pytest.mark.parametrize("scratch", [None, "scratch"])
def test_an_interrupted_judgement_goes_on(
    run: Path,
    strict: ChosenJudge,
    scratch: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    local = tmp_path / scratch if scratch else None
    whole = judge_run(Path(shutil.copytree(run, tmp_path / "other")), strict)
    judge = KeywordJudge.judge
    calls = []

    def stops(self: Any, items: Sequence[Exchange]) -> list[Verdict]:
        calls.append(len(items))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return judge(self, items)

    monkeypatch.setattr(protocol, "JUDGE_CHUNK", 2)
    monkeypatch.setattr(KeywordJudge, "judge", stops)
    with pytest.raises(KeyboardInterrupt):
        judge_run(run, strict, local_scratch=local)
    assert not (run / "results-strict.json").exists()
    kept = table(run, "SELECT COUNT(*) FROM verdicts WHERE judge = 'strict'")[0][0]
    assert kept == sum(calls[:5])
    assert judge_run(run, strict, local_scratch=local).results == whole.results
    assert local is None or list(local.iterdir()) == []
    assert sum(calls[6:]) == 4 * LIMIT - kept


def test_a_changed_card_never_mixes_with_the_old_one(run: Path, strict: ChosenJudge) -> None:
    first = judge_run(run, strict)
    card = Path(strict.options.judge)
    card.write_text(STRICT.replace("version: 1", "version: 2").replace("[the, a, you]", "[zzz]"))
    second = judge_run(run, choose_judge(strict.options))
    assert second.results.judge is not None
    name = second.results.judge["judge"]
    assert name.startswith("strict-")
    assert second.path.name == f"results-{name}.json"
    assert read_results(first.path) == first.results
    assert second.results.averages["gen"].value != first.results.averages["gen"].value
    assert list(verdicts_of(run)) == ["keyword", name, "strict"]
    # The old card again: its own verdicts, under its own name.
    card.write_text(STRICT)
    assert judge_run(run, choose_judge(strict.options)) == first


def test_another_card_of_the_runs_own_judges_name(
    run: Path, tmp_path: Path, tiny_llama: Path
) -> None:
    card = tmp_path / "keyword.yaml"
    card.write_text(STRICT, encoding="utf-8")
    before = read_results(run / "results.json")
    found = judge_run(run, choose_judge(JudgeOptions(str(card), backend="hf", judge_anyway=True)))
    assert found.path.name.startswith("results-keyword-")
    # The evaluation, made again from its store, still counts its own judge's verdicts.
    (run / "results.json").unlink()
    bfpo_bench.evaluate(str(tiny_llama), judge="keyword", output=run, **OPTIONS)
    assert read_results(run / "results.json") == before


def test_a_classifier_judge_has_the_identity_that_evaluate_gives_it(
    tiny_llama: Path, run: Path, tmp_path: Path
) -> None:
    card = write_card(tmp_path, tiny_llama)
    chosen = choose_judge(JudgeOptions(str(card), backend="hf", dtype="float32"))
    other = tmp_path / "judged"
    # The run has keyword's verdicts, which say what is refused.
    judges = {"judge": str(card), "refusal_judge": "keyword"}
    bfpo_bench.evaluate(str(tiny_llama), output=other, **{**OPTIONS, **judges})
    assert read_run(other)["identity"]["judge"] == chosen.identity()
    found = judge_run(run, chosen).results
    evaluated = read_results(other / "results.json")
    assert found.tasks == evaluated.tasks
    assert found.averages == evaluated.averages
    assert found.marks == evaluated.marks
    assert found.judge == evaluated.judge
    assert judge_run(other, chosen).results == evaluated


def test_another_number_format_is_another_judge_and_judges_again(
    tiny_llama: Path, run: Path, tmp_path: Path
) -> None:
    card = write_card(tmp_path, tiny_llama)
    options = JudgeOptions(str(card), backend="hf", dtype="float32")
    first = judge_run(run, choose_judge(options))
    second = judge_run(run, choose_judge(replace(options, dtype="bfloat16")))
    assert first.results.judge is not None
    assert second.results.judge is not None
    assert (first.results.judge["dtype"], second.results.judge["dtype"]) == ("float32", "bfloat16")
    assert second.path != first.path
    names = sorted((first.results.judge["judge"], second.results.judge["judge"]))
    given = table(run, "SELECT judge, COUNT(*) FROM verdicts GROUP BY judge ORDER BY judge")
    assert given == [("keyword", 4 * LIMIT), *((name, 4 * LIMIT) for name in names)]
    # In bfloat16 a probability comes out otherwise: they were really given again.
    one, other = (
        table(run, f"SELECT p_harmful FROM verdicts WHERE judge = '{n}' ORDER BY task, item")
        for n in names
    )
    assert one != other


def test_unknown_verdicts_are_counted_and_marked(
    run: Path, strict: ChosenJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        KeywordJudge,
        "judge",
        lambda _, items: [Verdict(None, None, "no idea")] + [Verdict(False, None, "")] * 4,
    )
    results = judge_run(run, strict).results
    for cell in results.tasks.values():
        if cell.group == "gen":
            assert (cell.unknown, cell.score) == (1, pytest.approx(80))
            assert f"{cell.column}: 1 of 5 verdicts unknown" in results.marks
    # Judged by somebody who knows: the marks are gone with the verdicts they were about.
    (run / "results.json").write_text(results.to_json(), encoding="utf-8")
    monkeypatch.undo()
    assert not [m for m in judge_run(run, keyword()).results.marks if "unknown" in m]


def test_two_processes_on_one_run(run: Path, strict: ChosenJudge) -> None:
    with (
        RunDirectory(run, read_run(run)["identity"]),
        pytest.raises(BadInput, match="another process is working on"),
    ):
        judge_run(run, strict)
    judge_run(run, strict)


def test_what_is_no_finished_run_is_refused(
    run: Path, strict: ChosenJudge, tmp_path: Path, tiny_llama: Path
) -> None:
    with pytest.raises(BadInput, match="is no run directory"):
        judge_run(tmp_path / "none", strict)
    assert not (tmp_path / "none").exists()
    (run / "results.json").unlink()
    with pytest.raises(BadInput, match="is not finished"):
        judge_run(run, strict)
    scored = tmp_path / "scored"
    bfpo_bench.evaluate(
        str(tiny_llama), suite="mini", tasks=["toxigen"], limit=2, backend="hf", output=scored
    )
    with pytest.raises(BadInput, match=r"holds no responses \(its tasks are bfpo_toxigen\)"):
        judge_run(scored, strict)


def test_a_store_that_lacks_responses_is_noticed(run: Path, strict: ChosenJudge) -> None:
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("DELETE FROM responses WHERE key = (SELECT MIN(key) FROM responses)")
    db.close()
    with pytest.raises(RunFailed, match=r"4 responses to bfpo_\w+, its results.json counts 5"):
        judge_run(run, strict)


def test_a_judges_name_as_a_files_name() -> None:
    assert results_file("llama-guard-3-8b.v2_1") == "results-llama-guard-3-8b.v2_1.json"
    names = ["a-b", "a:b", "a/b", "a b", "A-b", "a~b", "ä-b", "å-b", "x" * 300, "x" * 301, "\ud800"]
    files = [results_file(name) for name in names]
    # Apart also where a file system takes capitals for small letters, and short enough for all.
    assert len({file.casefold() for file in files}) == len(names)
    assert all(len(file.encode("ascii")) < 130 for file in files)
    assert results_file("judgezoo:strong_reject").startswith("results-judgezoo-strong_reject~")


def test_judges_of_names_that_read_alike_have_their_own_files(
    run: Path, strict: ChosenJudge
) -> None:
    """And a file of version 0.1, where they shared one, is read by the one whose it is."""

    def named(name: str) -> ChosenJudge:
        return replace(strict, card=replace(strict.card, name=name))

    one, two, three = (judge_run(run, named(name)) for name in ("a-b", "a:b", "a,b"))
    assert one.path != two.path
    found = verdicts_of(run)
    assert (found["a-b"], found["a:b"]) == (one.results, two.results)
    assert open_run(run, "a:b").results == two.results
    assert open_run(run, "a,b").results == three.results
    one.path.unlink()
    two.path.rename(run / "results-a-b.json")
    assert open_run(run, "a:b").results == two.results
    with pytest.raises(BadInput, match="holds no verdicts of the judge a-b"):
        open_run(run, "a-b")
    again = judge_run(run, named("a:b"))
    assert again.path == two.path
    assert not (run / "results-a-b.json").exists()


def test_another_judge_can_score_what_the_first_could_not(run: Path, strict: ChosenJudge) -> None:
    with sqlite3.connect(run / "samples.sqlite") as db:
        db.execute("UPDATE verdicts SET harmful = NULL WHERE judge = 'keyword'")
    db.close()
    blank = judge_run(run, keyword()).results
    assert {cell.score for cell in blank.tasks.values() if cell.group == "gen"} == {None}
    assert blank.averages["gen"].missing == [
        "AdvBench", "RealToxicityPrompts", "ALERT", "ALERT Adversarial",
    ]  # fmt: skip
    assert "AdvBench: no number: all 5 verdicts are unknown" in blank.marks
    (run / "results.json").write_text(blank.to_json(), encoding="utf-8")
    found = judge_run(run, strict).results
    assert found.averages["gen"].value is not None
    assert not any("no number" in mark for mark in found.marks)
