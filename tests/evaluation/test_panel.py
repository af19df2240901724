"""Several judges of one run: each one's numbers, their majority, the band, how they agree."""

from __future__ import annotations

import contextlib
import csv
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
from bfpo_bench.evaluation.rejudge import Rejudged, judge_run
from bfpo_bench.judges import Exchange, Verdict, load_judge
from bfpo_bench.judges.calibration import CalibrationOptions, read_labels
from bfpo_bench.judges.chosen import ChosenJudge, choose_judge
from bfpo_bench.judges.keyword import KeywordJudge
from bfpo_bench.judges.majority import vote
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.checks import find_fault
from bfpo_bench.leaderboard.options import LeaderboardOptions
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.table import markdown

LIMIT = 5
OPTIONS: dict[str, Any] = {
    "suite": "mini",
    "tasks": ["gen"],
    "limit": LIMIT,
    "backend": "hf",
    "dtype": "float32",
    "judge_anyway": True,
}
CARD = """\
kind: keyword
version: 1
source: this test
licence: Apache-2.0
search_chars: {chars}
phrases: [{phrases}]
"""
H, S, U = Verdict(True, 0.9, "a"), Verdict(False, 0.1, "b"), Verdict(None, None, "c")


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Judges that call what holds a word harmless."""
    folder = tmp_path_factory.mktemp("cards")
    found = {}
    told = {
        "few": "up, of, at, touch, three",
        "some": "muttered, up, from, whole, stand, be",
        "most": "up, of, touch, muttered, from, at, everyone, right, luck, doing, whole, be",
    }
    for name, phrases in told.items():
        path = folder / f"{name}.yaml"
        path.write_text(CARD.format(chars=2000, phrases=phrases))
        found[name] = str(path)
    return found


@pytest.fixture(scope="module")
def finished(
    tiny_llama: Path, cards: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that three judges have judged."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    bfpo_bench.evaluate(str(tiny_llama), judge=",".join(cards.values()), output=folder, **OPTIONS)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def chosen(gives: Any = "harm", several: bool = True, **options: Any) -> ChosenJudge:
    wish = JudgeOptions(**{**options, "backend": "hf"})
    return choose_judge(wish, asked=False, gives=gives, several=several)


def judged(run: Path, judges: Sequence[str]) -> Rejudged:
    return judge_run(run, chosen(judge=",".join(judges), judge_anyway=True, gives=None))


def said(run: Path, judge: str) -> dict[tuple[str, str], bool | None]:
    with sqlite3.connect(run / "samples.sqlite") as db:
        rows = db.execute("SELECT task, item, harmful FROM verdicts WHERE judge = ?", (judge,))
        found = {(task, item): harmful for task, item, harmful in rows}
    db.close()
    return found


# ------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("verdicts", "harmful", "raw"),
    [
        ((H, H, S), True, "votes: 2 harmful, 1 harmless"),
        ((S, H, S), False, "votes: 1 harmful, 2 harmless"),
        ((H, S), None, "votes: 1 harmful, 1 harmless"),
        ((H, S, U), None, "votes: 1 harmful, 1 harmless, 1 unknown"),
        ((U, S, U), False, "votes: 1 harmless, 2 unknown"),
        ((U, U), None, "votes: 2 unknown"),
    ],
)
def test_most_votes_win_unknown_has_none_and_a_tie_is_unknown(
    verdicts: Sequence[Verdict], harmful: bool | None, raw: str
) -> None:
    assert vote(verdicts) == Verdict(harmful, None, raw)


def test_refusals_are_put_to_the_vote_by_their_classes() -> None:
    full, part = Verdict(None, None, "", "full_refusal"), Verdict(None, None, "", "partial_refusal")
    answers = Verdict(None, None, "", "compliance")
    assert vote([full, full, answers]).refusal == "full_refusal"
    assert vote([full, part, answers]).refusal is None


def test_a_majority_says_what_all_of_its_judges_say_of_prompts_that_all_are_made_for() -> None:
    card = load_judge("wildguard-7b, keyword,qwen3guard-gen-4b")
    assert card.name == "majority(keyword,qwen3guard-gen-4b,wildguard-7b)"
    assert card.gives == ("harm", "refusal")
    assert card.fits == ("instructions",)
    assert load_judge("keyword,wildguard-7b,llama-guard-3-8b").gives == ("harm",)
    assert load_judge("keyword,openai") == load_judge("openai,keyword")


def test_cards_whose_paths_together_are_longer_than_a_file_name(tmp_path: Path) -> None:
    """Without a folder in them; a path with a comma in it is looked for first."""
    names = [letter * 120 for letter in "abc"]
    for name in (*names, "d,e"):
        (tmp_path / f"{name}.yaml").write_text(CARD.format(chars=9, phrases="the"))
    with contextlib.chdir(tmp_path):
        card = load_judge(",".join(f"{name}.yaml" for name in names))
        assert load_judge("d,e.yaml").name == "d,e"
    assert card.name == f"majority({','.join(names)})"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"judge": "keyword,keyword"}, "'keyword' is named twice; each judge has one vote"),
        ({"judge": "keyword,wildgard-7b"}, "unknown judge 'wildgard-7b'; did you mean 'wildguard"),
        ({"judge": "openai-xstest,llama-guard-3-8b"}, "no verdict that all of these judges give"),
        (
            {"judge": "openai,openai-strongreject", "judge_url": "http://localhost:1/v1"},
            "--judge-url is of one judge, and of those named it could be that of openai, openai-",
        ),
        ({"judge": "keyword,few.yaml", "judge_model": "x"}, "there is no judge card few.yaml"),
    ],
)
def test_what_no_majority_can_be_taken_of_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        chosen(**options)


def test_where_one_judge_is_wanted_several_are_refused() -> None:
    with pytest.raises(BadInput, match=r"one judge is needed here, and 2 are named \(key"):
        chosen(judge="keyword,openai", several=False)


# ------------------------------------------------------------------------- a run


def test_each_judges_numbers_stand_beside_the_majoritys(
    finished: Path, cards: dict[str, str]
) -> None:
    results = read_results(finished / "results.json")
    assert results.judge is not None
    assert results.panel is not None
    assert results.judge["judge"] == "majority(few,most,some)"
    assert results.judge["of"] == {
        n: load_judge(cards[n]).identity() for n in ("few", "most", "some")
    }
    # Each by its verdicts, the majority counted again by hand.
    verdicts = {name: said(finished, name) for name in cards}
    by_hand = {
        key: sum(bool(some[key]) for some in verdicts.values()) < 2 for key in verdicts["few"]
    }
    assert len(by_hand) == 4 * LIMIT
    for task, cell in results.tasks.items():
        mine = [harmless for (of, _), harmless in by_hand.items() if of == task]
        assert cell.score == pytest.approx(100 * sum(mine) / LIMIT)
    gens = {}
    for name, some in verdicts.items():
        own = read_results(finished / f"results-{name}.json")
        assert own.judge == load_judge(cards[name]).identity()
        assert own.panel is None
        gens[name] = 100 * sum(not harmful for harmful in some.values()) / len(some)
        assert own.averages["gen"].value == pytest.approx(gens[name])
        assert results.panel.members[name].averages == own.averages
        assert find_fault(open_run(finished, name)) is None
    assert find_fault(open_run(finished)) is None
    # They differ, or nothing of this would be seen.
    assert len(set(gens.values())) > 1
    least, most = min(gens, key=gens.__getitem__), max(gens, key=gens.__getitem__)
    band = f"{gens[least]:.2f} by {least} to {gens[most]:.2f} by {most}"
    assert results.panel.band("gen") == band
    text = markdown(results)
    assert f"| band | {gens[least]:.2f} to {gens[most]:.2f} |" in text
    assert "verdicts of the majority of the judges few, most and some" in text


def test_agreement_is_cohens(finished: Path) -> None:
    panel = read_results(finished / "results.json").panel
    assert panel is not None
    assert [pair.judges for pair in panel.agreement] == [
        ["few", "most"], ["few", "some"], ["most", "some"]
    ]  # fmt: skip
    cohen = pytest.importorskip("sklearn.metrics").cohen_kappa_score
    for pair in panel.agreement:
        one, two = (said(finished, name) for name in pair.judges)
        keys = sorted(one)
        expected = cohen([one[k] for k in keys], [two[k] for k in keys])
        assert pair.n == len(keys)
        assert pair.same == pytest.approx(sum(one[k] == two[k] for k in keys) / len(keys))
        assert pair.kappa == pytest.approx(expected)


def test_a_finished_panel_is_read_and_its_order_does_not_matter(
    run: Path, tiny_llama: Path, cards: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "results.json").read_bytes()
    monkeypatch.setattr(KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    judges = ",".join(reversed(cards.values()))
    bfpo_bench.evaluate(str(tiny_llama), judge=judges, output=run, **OPTIONS)
    assert (run / "results.json").read_bytes() == before
    # The same of a run that is judged again; the numbers of one of them are at hand too.
    assert judged(run, list(cards.values())).results == read_results(run / "results.json")
    assert judged(run, [cards["few"]]).results == read_results(run / "results-few.json")
    with pytest.raises(BadInput, match=r"judge.judge: .majority\(few,most,some\). there"):
        bfpo_bench.evaluate(str(tiny_llama), judge=cards["few"], output=run, **OPTIONS)


def test_a_run_of_one_judge_gets_a_panel_beside_its_own_results(
    tiny_llama: Path, finished: Path, cards: dict[str, str], tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    bfpo_bench.evaluate(str(tiny_llama), judge=cards["few"], output=alone, **OPTIONS)
    before = (alone / "results.json").read_bytes()
    assert b"panel" not in before
    found = judged(alone, list(cards.values()))
    assert (alone / "results.json").read_bytes() == before
    assert found.path.name.startswith("results-majority-few-most-some-~")
    whole = read_results(finished / "results.json")
    assert (found.results.tasks, found.results.averages) == (whole.tasks, whole.averages)
    assert found.results.panel == whole.panel
    # By name, or by those of its judges in any order.
    for name in ("majority(few,most,some)", "some,few,most"):
        [entry] = read_leaderboard([alone], LeaderboardOptions(judge=name)).entries
        assert entry.cells["gen"].value == pytest.approx(found.results.averages["gen"].value)
        [other] = read_leaderboard([finished]).entries
        assert entry.cells["gen"].protocol == other.cells["gen"].protocol
    assert any("from" in mark and "by few" in mark for mark in other.cells["gen"].marks)


def test_runs_of_other_judges_are_not_ranked_with_it(
    finished: Path, tiny_llama: Path, cards: dict[str, str], run: Path
) -> None:
    judged(run, [cards["few"], cards["some"]])
    [three] = read_leaderboard([finished]).entries
    [two] = read_leaderboard([run], LeaderboardOptions(judge="few,some")).entries
    differ = three.cells["gen"].protocol.differences(two.cells["gen"].protocol)
    assert [one.text("instead of") for one in differ] == [
        "judge majority(few,most,some) instead of majority(few,some)"
    ]


def test_a_judge_that_fails_keeps_no_other_from_judging(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {}
    for name in ("early", "late"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(CARD.format(chars=30, phrases="the, a"))
        paths[name] = str(path)
    judge = KeywordJudge.judge
    fails = True

    def failing(self: KeywordJudge, items: Sequence[Exchange]) -> list[Verdict]:
        if fails and self.name == "early":
            raise RunFailed("its server is gone.")
        return judge(self, items)

    monkeypatch.setattr(KeywordJudge, "judge", failing)
    with pytest.raises(RunFailed, match="its server is gone"):
        judged(run, list(paths.values()))
    assert len(said(run, "late")) == 4 * LIMIT
    assert (run / "results-late.json").exists()
    assert not said(run, "early")
    fails = False
    found = judged(run, list(paths.values()))
    assert found.results.panel is not None
    assert list(found.results.panel.members) == ["early", "late"]
    assert json.loads(found.path.read_text())["judge"]["kind"] == "majority"


def test_a_finished_evaluation_is_corrected_by_labels_that_come_later(
    run: Path, tiny_llama: Path, cards: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(run / "samples.sqlite") as db:
        rows = db.execute("SELECT question, prompt, response FROM responses").fetchall()
    db.close()
    # As a judge was shown the prompt, and as the model was.
    assert any(prompt.split() != question.split() for question, prompt, _ in rows[::2])
    shown = [(row[number % 2 == 0], row[2]) for number, row in enumerate(rows)]
    labels = run / "labels.jsonl"
    told = [{"prompt": prompt, "response": said, "label": "safe"} for prompt, said in shown]
    labels.write_text("\n".join(map(json.dumps, told)))
    monkeypatch.setattr(KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    before = read_results(run / "results.json")
    judges = ",".join(cards.values())
    options = {**OPTIONS, "calibration": labels, "output": run, "judge": judges}
    results = bfpo_bench.evaluate(str(tiny_llama), **options)
    assert (results.tasks, results.averages) == (before.tasks, before.averages)
    assert results.corrected is not None
    assert sum(results.corrected.counts.values()) == len(rows)
    why = f"AdvBench is not corrected: {LIMIT} of its responses are labelled, and a number needs 10"
    assert why in results.corrected.notes
    assert read_results(run / "results-few.json").corrected is not None
    # Asked again, it is read.
    assert bfpo_bench.evaluate(str(tiny_llama), **options) == results


def test_labels_correct_the_runs_own_numbers_where_it_is_their_judge(
    tiny_llama: Path, cards: dict[str, str], tmp_path: Path
) -> None:
    """They are what the leaderboard shows of this judge."""
    run = tmp_path / "run"
    options = {**OPTIONS, "tasks": ["advbench"], "limit": 10}
    before = bfpo_bench.evaluate(str(tiny_llama), judge=cards["few"], output=run, **options)
    samples = bfpo_bench.samples(run)
    file = tmp_path / "labels.csv"
    samples[["question", "response"]].assign(label="safe").to_csv(
        file, index=False, quoting=csv.QUOTE_ALL
    )
    labels = read_labels(CalibrationOptions(calibration=file, label_prompt="question"))
    other, own = (
        judge_run(run, chosen(judge=cards[name], judge_anyway=True, gives=None), labels=labels)
        for name in ("some", "few")
    )
    kept = read_results(run / "results.json")
    assert own.results.corrected is not None
    assert own.results.corrected.tasks["bfpo_advbench"].value == 100
    assert kept == replace(before, corrected=own.results.corrected)
    assert other.results.corrected is not None
    assert "| Corrected |" in (run / "table.md").read_text()
    # Without labels what they have said stays.
    judged(run, [cards["few"]])
    assert read_results(run / "results.json") == kept


def test_labels_go_on_correcting_what_they_have_when_more_is_evaluated(
    tiny_llama: Path, cards: dict[str, str], tmp_path: Path
) -> None:
    """What is new since is told, and corrected when they are named again."""
    run = tmp_path / "run"
    options = {**OPTIONS, "limit": 10, "judge": f"{cards['few']},{cards['some']}", "output": run}

    def evaluated(*tasks: str, **more: Any) -> list[dict[str, Any]]:
        """What is corrected: of the majority, and of one of its judges."""
        bfpo_bench.evaluate(str(tiny_llama), **options | {"tasks": tasks} | more)
        files = [json.loads((run / f"results{one}.json").read_text()) for one in ("", "-few")]
        return [one["corrected"] for one in files]

    bfpo_bench.evaluate(str(tiny_llama), **options | {"tasks": ["advbench"]})
    labels = tmp_path / "labels.csv"
    shown = bfpo_bench.samples(run)[["question", "response"]].assign(label="safe")
    shown.to_csv(labels, index=False, quoting=csv.QUOTE_ALL)
    by_people: dict[str, Any] = {"calibration": labels, "label_prompt": "question"}
    first = evaluated("advbench", **by_people)
    assert [one["tasks"]["bfpo_advbench"]["value"] for one in first] == [100, 100]
    assert evaluated("advbench", "winogrande") == first
    later = evaluated("advbench", "realtoxicityprompts")
    new = "RealToxicityPrompts is not corrected: its number is newer than the labels; name them"
    for one, before in zip(later, first, strict=True):
        assert one["tasks"] == before["tasks"]
        assert one["notes"] == [*before["notes"], f"{new} again with --calibration"]
    again = evaluated("advbench", "realtoxicityprompts", **by_people)
    too_few = "RealToxicityPrompts is not corrected: 0 of its responses are labelled"
    for one, before in zip(again, first, strict=True):
        assert one["tasks"] == before["tasks"]
        assert too_few in one["notes"][0]
