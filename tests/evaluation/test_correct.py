"""Numbers corrected by people's labels: JailbreakBench's 300 responses as those of a run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.correct import still_corrected
from bfpo_bench.evaluation.rejudge import Rejudged, judge_run
from bfpo_bench.judges import Exchange, load_judge
from bfpo_bench.judges.calibration import CalibrationOptions, read_labels
from bfpo_bench.judges.chosen import choose_judge
from bfpo_bench.judges.human_labels import majority, read_table
from bfpo_bench.judges.keyword import KeywordJudge
from bfpo_bench.judges.options import JudgeOptions
from bfpo_bench.leaderboard.board import read_leaderboard
from bfpo_bench.leaderboard.checks import find_fault
from bfpo_bench.leaderboard.runs import open_run
from bfpo_bench.run.corrected import POWERED, ROGAN_GLADEN
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.table import markdown
from tests.leaderboard.judged import Said, judged_run

TASKS = tuple(
    f"bfpo_{name}" for name in ("advbench", "realtoxicityprompts", "alert", "alert_adversarial")
)


class Answer(NamedTuple):
    """A response, what three people say of it, and what HarmBench's classifier said."""

    prompt: str
    response: str
    harmless: bool
    called: bool


@pytest.fixture(scope="module")
def answers(data_dir: Path) -> list[Answer]:
    """In a random order, for the file has harmful and benign goals one after the other."""
    table = read_table(data_dir / "jailbreakbench" / "judge-comparison.csv", "mac-roman")
    people = majority(table, ["human1", "human2", "human3"], "harmful").values
    called = table.classes("harmbench_cf", "harmful")
    texts = zip(table.texts("prompt"), table.texts("target_response"), strict=True)
    rows = [
        Answer(*text, person == "harmless", judge == "harmless")
        for text, person, judge in zip(texts, people, called, strict=True)
    ]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def run_of(folder: Path, answers: Sequence[Answer]) -> Path:
    """A run of four judged tasks whose responses these are."""
    parts = np.array_split(np.arange(len(answers)), len(TASKS))
    said = {
        task: [
            Said(not answers[i].called, None, answers[i].prompt, answers[i].response) for i in part
        ]
        for task, part in zip(TASKS, parts, strict=True)
    }
    return judged_run(folder, said, suite="paper", harm="guard", refusal=None)


def labels_of(path: Path, answers: Sequence[Answer]) -> Path:
    """A labels file as a spreadsheet saves it: other line ends, a stray space."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "response", "human"])
        for one in answers:
            text = one.response.replace("\n", "\r\n") + " "
            writer.writerow([one.prompt, text, "safe" if one.harmless else "unsafe"])
    return path


def judged(run: Path, judges: str, labels: Path | None) -> Rejudged:
    options: dict[str, Any] = {"judge": judges, "backend": "hf", "judge_anyway": True}
    wish = JudgeOptions(**options)
    chosen = choose_judge(wish, gives=None, several=True)
    return judge_run(run, chosen, labels=read(labels) if labels else None)


def read(path: Path | None, **options: Any) -> Any:
    columns: dict[str, Any] = {"label_column": "human"} | options
    return read_labels(CalibrationOptions(calibration=path, **columns))


def keyword_passes(answers: Sequence[Answer]) -> list[bool]:
    judge = load_judge("keyword").open()
    verdicts = judge.judge([Exchange(one.prompt, one.response) for one in answers])
    return [verdict.harmful is False for verdict in verdicts]


def test_labels_of_a_part_of_the_runs_responses_find_what_people_say_of_all(
    answers: list[Answer], tmp_path: Path
) -> None:
    """`keyword` takes harmless answers for harmful ones: 31 % harmless by it, 63 % by people."""
    some = answers[::2]  # they are shuffled
    run = run_of(tmp_path / "run", answers)
    before = read_results(run / "results.json").averages
    results = judged(run, "keyword", labels_of(tmp_path / "labels.csv", some)).results
    corrected = results.corrected
    assert corrected is not None
    assert corrected.method == POWERED
    assert read_results(run / "results.json").averages == before
    # By hand: the shares that people find among what is called harmless, and among the rest.
    parts = np.array_split(np.arange(len(answers)), len(TASKS))
    values = []
    for task, part in zip(TASKS, parts, strict=True):
        passed = np.array(keyword_passes([answers[i] for i in part]))
        people = np.array([answers[i].harmless for i in part])
        known = np.array([i % 2 == 0 for i in part])
        rates = [people[known & (passed == kind)].mean() for kind in (True, False)]
        expected = 100 * (passed.mean() * rates[0] + (1 - passed.mean()) * rates[1])
        one = corrected.tasks[task]
        assert one.value == pytest.approx(expected)
        assert one.judged == results.tasks[task].score == pytest.approx(100 * passed.mean())
        assert one.low <= one.value <= one.high
        assert one.labelled == known.sum()
        values.append(expected)
    gen = corrected.averages["gen"]
    assert gen.value == pytest.approx(np.mean(values))
    assert gen.labelled == len(some)
    # What all 300 labels say is in its interval; the judge's own number is far off.
    truth = 100 * float(np.mean([one.harmless for one in answers]))
    assert gen.low < truth < gen.high
    assert gen.judged < gen.low - 10
    assert gen.high - gen.low < 20
    assert sum(corrected.counts.values()) == len(some)


def test_the_corrected_number_stands_beside_the_judges_own(
    answers: list[Answer], tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", answers)
    found = judged(run, "keyword", labels_of(tmp_path / "labels.csv", answers[::2]))
    assert read_results(found.path) == found.results
    gen = found.results.corrected.averages["gen"]  # type: ignore[union-attr]
    assert f"| Gen. | {gen.judged:.2f} | {gen.value:.2f} |" in markdown(found.results)
    assert find_fault(open_run(run, "keyword")) is None
    [entry] = read_leaderboard([run], judge_options("keyword")).entries
    cells = entry.cells
    assert cells["gen"].value == pytest.approx(gen.judged)
    cell = cells["gen_corrected"]
    assert (cell.value, cell.low, cell.high) == pytest.approx((gen.value, gen.low, gen.high))
    assert "prediction-powered" in cell.marks[0]


def test_what_labels_have_corrected_stays_as_long_as_the_numbers_do(
    answers: list[Answer], tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", answers)
    before = judged(run, "keyword", labels_of(tmp_path / "labels.csv", answers[::2])).results
    corrected = before.corrected
    assert corrected is not None
    now = replace(before, corrected=None)
    alert = before.tasks["bfpo_alert"]
    disc = replace(alert, task="bfpo_hhh", group="disc", metric="acc")
    assert still_corrected(now, before) == before
    more = still_corrected(replace(now, tasks=now.tasks | {"bfpo_hhh": disc}), before)
    assert more.corrected == corrected
    # Other items: neither they nor the average over them are what was corrected.
    other = still_corrected(
        replace(now, tasks=now.tasks | {"bfpo_alert": replace(alert, n=alert.n + 1)}), before
    ).corrected
    assert other is not None
    assert corrected.tasks.keys() - other.tasks.keys() == {"bfpo_alert"}
    assert (list(corrected.averages), list(other.averages)) == (["gen"], [])
    told = other.notes[len(corrected.notes) :]
    assert [note.split(" is not corrected")[0] for note in told] == ["ALERT", "Gen."]
    # Another judge's are not this one's.
    assert still_corrected(replace(now, judge={"judge": "guard"}), before).corrected is None


def judge_options(judge: str) -> Any:
    from bfpo_bench.leaderboard.options import LeaderboardOptions

    return LeaderboardOptions(judge=judge)


def test_labels_of_other_responses_give_the_judges_errors_and_are_asked_about_once(
    answers: list[Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others = answers[:160], answers[160:]
    run = run_of(tmp_path / "run", mine)
    labels = labels_of(tmp_path / "labels.csv", others)
    results = judged(run, "keyword", labels).results
    corrected = results.corrected
    assert corrected is not None
    assert corrected.method == ROGAN_GLADEN
    passed, people = np.array(keyword_passes(others)), np.array([o.harmless for o in others])
    sensitivity = (~passed[~people]).mean()
    specificity = passed[people].mean()
    for task, one in corrected.tasks.items():
        score = results.tasks[task].score
        assert score is not None
        harmful = (1 - score / 100 + specificity - 1) / (sensitivity + specificity - 1)
        assert one.value == pytest.approx(100 * (1 - min(max(harmful, 0), 1)))
        assert one.labelled == len(others)
    truth = 100 * float(np.mean([one.harmless for one in mine]))
    gen = corrected.averages["gen"]
    assert gen.low < truth < gen.high
    assert "holds where it errs as often on this run's responses" in corrected.notes[-1]
    # Their verdicts are kept, and are no part of the run.
    monkeypatch.setattr(KeywordJudge, "judge", lambda *_: pytest.fail("judged again"))
    assert judged(run, "keyword", labels).results == results
    assert find_fault(open_run(run, "keyword")) is None


def test_several_judges_that_differ_agree_when_they_are_corrected(
    answers: list[Answer], tmp_path: Path
) -> None:
    card = tmp_path / "short.yaml"
    card.write_text(
        "kind: keyword\nversion: 1\nsource: this test\nlicence: none\nsearch_chars: 400\n"
        "phrases: [the, to, you]\n"
    )
    run = run_of(tmp_path / "run", answers)
    results = judged(
        run, f"keyword,{card}", labels_of(tmp_path / "labels.csv", answers[::2])
    ).results
    assert results.panel is not None
    assert results.corrected is not None
    raw = results.panel.values("gen")
    corrected = {n: one.corrected["gen"].value for n, one in results.panel.members.items()}
    assert abs(raw["keyword"] - raw["short"]) > 40
    assert abs(corrected["keyword"] - corrected["short"]) < 5
    assert read_results(run / "results-short.json").corrected is not None
    assert "| Gen. corrected |" in markdown(results)
    # Without labels the same judges say nothing new, and what labels have said stays.
    files = {path: path.read_bytes() for path in run.glob("results*.json")}
    assert len(files) == 4
    judged(run, f"keyword,{card}", None)
    assert {path: path.read_bytes() for path in run.glob("results*.json")} == files


def test_a_judge_no_better_than_chance_and_too_few_labels_give_no_number(
    answers: list[Answer], tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", answers[:160])
    others = [one._replace(harmless=not one.harmless) for one in answers[160:]]
    found = judged(run, "keyword", labels_of(tmp_path / "wrong.csv", others)).results.corrected
    assert found is not None
    assert (found.tasks, found.averages) == ({}, {})
    assert "keyword tells harmful from harmless no better than chance" in found.notes[-1]
    harmless = [one for one in answers[160:] if one.harmless]
    found = judged(run, "keyword", labels_of(tmp_path / "one.csv", harmless)).results.corrected
    assert found is not None
    assert "people call 0 of the labelled responses harmful" in found.notes[-1]
    few = labels_of(tmp_path / "few.csv", answers[:9])
    found = judged(run, "keyword", few).results.corrected
    assert found is not None
    assert not found.averages
    assert (
        "AdvBench is not corrected: 9 of its responses are labelled, and a number needs 10"
        in (found.notes[0])
    )
    assert not any("corrected by prediction-powered" in note for note in found.notes)
    # A few that are the run's by chance keep the others from being used.
    mixed = labels_of(tmp_path / "mixed.csv", [*answers[:9], *answers[160:]])
    found = judged(run, "keyword", mixed).results.corrected
    assert found is not None
    assert found.notes[-1] == (
        "140 labelled responses are not this run's and are not used; a file of them alone would "
        "correct by the judge's errors on them"
    )


ROW = "prompt,response,human\nq,a,unsafe\n"


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        (ROW, {"label_column": "humam"}, "'humam'; did you mean 'human'?"),
        (ROW.replace("response", "answer"), {}, "unknown column of labels.csv: 'response'"),
        (ROW.replace("unsafe", "bad"), {}, "human is 'bad'; labels and verdicts are 1/0"),
        (ROW.replace("unsafe", "1"), {}, "row 2: human is '1', which can say that the response"),
        (ROW + "q,a,safe\n", {}, "row 3: the response is labelled harmless here and otherwise"),
        (ROW.replace("unsafe", ""), {}, "has no label in human; write harmful or harmless"),
        (ROW, {"label_means": "bad"}, "--label-means is either harmful or safe, not 'bad'"),
        (ROW.replace("a,", "\xe9,"), {}, "tell what it is with --label-encoding"),
        (ROW, {"path": None}, "--label-column is of the labels of --calibration; name"),
    ],
)
def test_labels_that_are_not_right_are_refused(
    tmp_path: Path, text: str, options: dict[str, Any], why: str
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text, "latin-1")
    with pytest.raises(BadInput) as refused:
        read(**({"path": file} | options))
    assert why in str(refused.value)


def test_labels_read_otherwise_are_other_labels(tmp_path: Path) -> None:
    """A finished run goes by it whether it has been corrected by them."""
    file = tmp_path / "labels.csv"
    file.write_text(ROW.replace("response", "response,answer").replace("a,", "a,b,"))
    changes = ({}, {"label_response": "answer"}, {"label_encoding": "cp1252"})
    told = [read(file, **change).about for change in changes]
    assert [one.get("response") for one in told] == [None, "answer", None]
    assert all(one not in told[:number] for number, one in enumerate(told))


@pytest.mark.parametrize("named", ["first, by A,second", ["first, by A", "second"]])
def test_columns_of_labels_may_have_commas(tmp_path: Path, named: str | list[str]) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('prompt,response,"first, by A",second\nq,a,unsafe,unsafe\n')
    assert read(file, label_column=named).about["columns"] == "first, by A, second"
